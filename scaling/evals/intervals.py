"""95% intervals of means over items: Wilson's for a share, exact at 0 and 1, the bootstrap otherwise."""

import math

import numpy as np

from scaling.config.record import Interval, Score

_Z = 1.959963984540054  # the 97.5% point of the normal distribution
_RESAMPLES = 2000


def wilson(successes: int, n: int) -> Interval:
    """The score interval of a share (Wilson 1927, equation 4; two-sided, 95%)."""
    share, z2 = successes / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def zero_bound(n: int) -> float:
    """The share that 0 of n items leaves possible: the p with (1 - p)^n = 5%.

    The one-sided bound of Clopper and Pearson (1934), about 3 / n: the rule of three (Hanley,
    Lippman-Hand 1983).
    """
    return 1.0 - 0.05 ** (1.0 / n)


def share(successes: int, n: int) -> Score:
    """`successes` of `n` items: Wilson's interval, and of none or all of them the exact one-sided bound."""
    if successes == 0:
        return Score(value=0.0, interval=(0.0, zero_bound(n)), kind="exact")
    if successes == n:
        return Score(value=1.0, interval=(1.0 - zero_bound(n), 1.0), kind="exact")
    return Score(value=successes / n, interval=wilson(successes, n), kind="wilson")


def mean(values: np.ndarray, seed: int = 0) -> Score:
    """A mean over items (n,), with the percentile bootstrap over them (Efron 1979).

    Where all values are equal there is nothing to resample, and the interval is null: it would say that
    nothing else is possible.
    """
    values = np.asarray(values, np.float64)
    centre = float(values.mean())
    if len(values) < 2 or np.all(values == values[0]):
        return Score(value=centre, interval=None, kind="none")
    rng = np.random.default_rng((seed, len(values)))
    means = np.empty(_RESAMPLES)
    block = max(1, 2**22 // len(values))
    for start in range(0, _RESAMPLES, block):
        rows = min(block, _RESAMPLES - start)
        means[start : start + rows] = values[rng.integers(0, len(values), (rows, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Score(value=centre, interval=(float(low), float(high)), kind="bootstrap")


def summary(values: np.ndarray, seed: int = 0) -> Score:
    """Of values that are all 0 or 1 their share, of others their mean."""
    values = np.asarray(values, np.float64)
    if np.all((values == 0) | (values == 1)):
        return share(int(values.sum()), len(values))
    return mean(values, seed)
