"""Points from a known law."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from scaling.laws import LAWS
from scaling.laws.points import Count, Points

TRUE = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}  # Hoffmann et al. 2022, equation 10


def points_of(params, tokens, loss, groups=None) -> Points:
    n = len(loss)
    return Points(
        params=np.asarray(params, float),
        tokens=np.asarray(tokens, float),
        flops=6.0 * np.asarray(params, float) * np.asarray(tokens, float),
        loss=np.asarray(loss, float),
        weight=np.ones(n),
        groups=tuple(groups or [f"run {i}" for i in range(n)]),
        labels=tuple(f"point {i}" for i in range(n)),
        dataset=("",) * n,
        unique_tokens=None,
        counts={"params": Count("total"), "flops": Count("6nd")},
        source="synthetic",
    )


def ladder(noise: float = 0.0, seed: int = 0, sizes: int = 7, multiples=(5, 10, 20, 40), heavy: bool = False):
    """Sizes 20M to 10B, each trained at several token multiples of one trunk, with log-normal noise."""
    random = np.random.default_rng(seed)
    size = np.geomspace(2e7, 1e10, sizes)
    params = np.repeat(size, len(multiples))
    tokens = params * np.tile(multiples, sizes)
    loss = TRUE["E"] + TRUE["A"] / params ** TRUE["alpha"] + TRUE["B"] / tokens ** TRUE["beta"]
    error = random.standard_t(2, len(loss)) if heavy else random.normal(size=len(loss))
    groups = [f"size {i}" for i in range(sizes) for _ in multiples]
    return points_of(params, tokens, loss * np.exp(noise * error), groups)


@contextmanager
def few_starts() -> Iterator[None]:
    """Every 47th start of the grid, for tests whose subject is not the search."""
    kind = type(LAWS["chinchilla"])
    full = kind.starts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kind, "starts", lambda form, *args: full(form, *args)[:: 47 if form.name == "chinchilla" else 1]
        )
        yield
