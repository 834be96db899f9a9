"""The mean of scores at each scale, with its interval over seeds and items."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.config.record import wilson
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.score_table import ScoreTable

Z = 1.96


@dataclass(frozen=True)
class Spread:
    """The scores at one scale: their mean, its 95% interval, and the score of each seed."""

    scale: float
    mean: float
    low: float
    high: float
    seeds: NDArray[np.float64]
    zero: bool  # all answers were wrong: `high` is the upper bound


def spreads(rows: ScoreTable, against: str) -> list[Spread]:
    """The spread at each scale; an interval over seeds is never narrower than that of the items.

    A single row keeps its given interval. Intervals stay within the range of the metric.
    """
    scale, found, known = rows.scale(against), [], metric_named(rows.metric[0])
    for at in np.unique(scale):
        here = rows.subset(scale == at)
        mean, items = float(here.score.mean()), here.n.sum()
        low, high = np.inf, -np.inf
        if len(here) == 1 and np.isfinite(here.low[0]) and np.isfinite(here.high[0]):
            low, high = float(here.low[0]), float(here.high[0])
        elif np.isfinite(items) and items > 0 and 0 <= mean <= 1:
            low, high = wilson(mean * float(items), float(items))
        if len(here) > 1:
            half = Z * here.score.std(ddof=1) / np.sqrt(len(here))
            low, high = min(low, mean - half), max(high, mean + half)
        low = max(low, -np.inf if known.low is None else known.low)
        high = min(high, np.inf if known.high is None else known.high)
        zero = mean == 0 and bool(np.isfinite(items)) and not known.smooth
        ends = (low, high) if low <= high else (np.nan, np.nan)
        found.append(Spread(float(at), mean, *ends, here.score, zero))
    return found
