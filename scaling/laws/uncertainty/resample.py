"""Resamples: which runs a bootstrap draws, and the interval its estimates give."""

import numpy as np
from numpy.typing import NDArray

from scaling.laws.uncertainty.student import t_quantile

Floats = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
MIN_RUNS = 5  # for a jackknife: with fewer, one run carries most of the variance


def run_counts(run: NDArray[np.int64], resamples: int, random: np.random.Generator) -> Floats:
    """(resamples, n) how often each of n points is drawn when whole runs are, with replacement.

    `run` (n,) is the number of each point's run, from 0.
    """
    runs = int(run.max()) + 1
    return random.multinomial(runs, np.full(runs, 1 / runs), size=resamples)[:, run].astype(np.float64)


def leave_one_out(run: NDArray[np.int64]) -> Floats:
    """(R, n) which of n points are left when each of R runs is taken out in turn, as counts of 0 and 1."""
    return (run != np.arange(int(run.max()) + 1)[:, None]).astype(np.float64)


def jackknife(estimate: Floats, deleted_R: Floats, level: float = LEVEL) -> tuple[Floats, Floats] | None:
    """Delete-one-run jackknife interval with Student's t of R - 1 degrees of freedom.

    For few clusters (MacKinnon, Nielsen and Webb 2022, "Cluster-robust inference: a guide to empirical
    practice", section 5). None with fewer than `MIN_RUNS` runs, or where one of the estimates does not exist.

    Args:
        estimate: (...) from all runs.
        deleted_R: (R, ...) without each run.
        level: of the interval.
    """
    runs = len(deleted_R)
    if runs < MIN_RUNS or not np.isfinite(deleted_R).all():
        return None
    variance = (runs - 1) / runs * ((deleted_R - deleted_R.mean(axis=0)) ** 2).sum(axis=0)
    reach = t_quantile(level, runs - 1) * np.sqrt(variance)
    return estimate - reach, estimate + reach


def percentiles(draws: Floats, level: float = LEVEL) -> Interval | None:
    """The middle `level` of the draws that are numbers; None where fewer than half are."""
    known = draws[np.isfinite(draws)]
    if len(known) < 2 or len(known) < len(draws) / 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
