"""Keys for rows."""

from collections.abc import Callable

import numpy as np
import pytest

from scaling.objectives.draws import mix_seed, row_keys


@pytest.fixture(scope="session")
def keys() -> Callable[[int], np.ndarray]:
    return lambda count: row_keys(mix_seed(0, stream=3), np.arange(count))
