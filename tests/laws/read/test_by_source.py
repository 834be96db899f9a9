"""Laws of the loss on one source of a mixture, from a sweep directory."""

from pathlib import Path

import numpy as np
import pytest

from scaling.laws import parse_columns, read_points
from scaling.laws.read.inputs import Sources
from scaling.runtime.errors import BadInputError
from tests.plots.sweep_of import with_sources, write_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Losses on code are 0.5 below those on web, at 2 bytes per token instead of 4."""
    write_sweep(tmp_path)
    return with_sources(tmp_path)


def test_the_losses_of_one_source(sweep: Path) -> None:
    whole = read_points(sweep)
    code = read_points(sweep, parse_columns("loss=by_source.code"))
    np.testing.assert_allclose(code.loss, whole.loss - 0.5)
    np.testing.assert_array_equal(code.params, whole.params)
    np.testing.assert_allclose([one and one.bytes_per_token for one in code.tokenizers or ()], 2.0)
    assert set(code.dataset) == {"stdlib: code"}
    several = Sources((sweep, sweep), columns={"loss": "by_source.code"})
    np.testing.assert_allclose(several.points.loss[: len(whole)], code.loss)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("loss=by_source.math", "has no such loss; it has web, code"),
        ("loss=code", "is a directory of runs: .* loss=by_source.NAME"),
        ("loss=by_source.", "is a directory of runs"),
        ("loss=by_source.code,params=N", "is a directory of runs"),
    ],
)
def test_other_columns_are_refused(sweep: Path, columns: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        read_points(sweep, parse_columns(columns))


def test_a_run_on_one_corpus_has_no_sources(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    with pytest.raises(BadInputError, match="its data are one corpus"):
        read_points(tmp_path, {"loss": "by_source.code"})
