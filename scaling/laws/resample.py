"""Resamples: which runs a bootstrap draws, and the interval its estimates give."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95


def run_counts(run: NDArray[np.int64], resamples: int, random: np.random.Generator) -> Floats:
    """(resamples, n) how often each of n points is drawn when whole runs are, with replacement.

    `run` (n,) is the number of each point's run, from 0.
    """
    runs = int(run.max()) + 1
    return random.multinomial(runs, np.full(runs, 1 / runs), size=resamples)[:, run].astype(np.float64)


def percentiles(draws: Floats, level: float = LEVEL) -> Interval | None:
    """The middle `level` of the draws that are numbers; None where fewer than half are."""
    known = draws[np.isfinite(draws)]
    if len(known) < 2 or len(known) < len(draws) / 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
