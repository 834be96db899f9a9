"""Seeds that have an ability and seeds that lack it: how often by scale, and how well they score with it.

A mean over seeds of 66% may be three runs at 66%, or two that are right and one that is not. If the scores of
one size are at both ends and not between, what grows with scale is the probability that a run breaks through.
It is modelled as a logistic curve in log scale with Jeffreys' prior (Firth 1993), under which the posterior
is proper even if every small run fails and every large one succeeds.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, expit, stdtrit

from scaling.config.record import wilson
from scaling.laws.emergence.document import Breakthrough, IntervalEstimate, Probability, ShareAbove, Threshold
from scaling.laws.emergence.series import Series

Floats = NDArray[np.float64]

DECISIVE = 1.92  # nats: half the 95% point of chi squared with one degree of freedom
LEAST = 4  # seeds at sizes with both outcomes; with fewer, nothing is said about two modes
REACH = 3.0  # as in `threshold`: one range of the data beyond either end
INTERCEPTS = np.linspace(-45.0, 45.0, 361)
SLOPES = 12.0 * np.sinh(np.linspace(-2.6, 2.6, 121))  # of log odds, per half the data's range of log scale
SHAPES = np.exp(np.linspace(math.log(0.02), math.log(50.0), 41))  # of a beta distribution
NEGLIGIBLE = 1e-7  # of the largest weight
ITEMS = 200.0  # assumed for a share whose number of items is unknown
CURVE = 41  # points of the curve


def breakthrough(series: Series, above: float | None = None) -> Breakthrough | None:
    """How often runs score above a level, by scale; None for an unbounded score.

    `above` is the level; half way from chance to 1 by default.
    """
    if not series.bounded:
        return None
    level = (1 + series.chance) / 2 if above is None else above
    has = series.y > level
    levels = series.levels
    at = [np.abs(series.x - x) < 1e-6 for x in levels]
    seeds = np.array([mask.sum() for mask in at])
    count = np.array([(has & mask).sum() for mask in at])
    shares = tuple(
        ShareAbove(
            scale=float(series.scale_of(x)), seeds=int(n), above=int(k), share=k / n, interval=wilson(k, n)
        )
        for x, n, k in zip(levels, seeds, count, strict=True)
    )
    mixed = [mask for mask, n, k in zip(at, seeds, count, strict=True) if 0 < k < n]
    evidence = _two_modes(series, mixed)
    posterior = _Posterior.of(levels, seeds, count)
    return Breakthrough(
        level=level,
        seeds=int(seeds.sum()),
        least_seeds=int(seeds.min()),
        shares=shares,
        bimodal=None if evidence is None or abs(evidence) < DECISIVE else evidence > 0,
        bimodal_evidence=evidence,
        mixed_sizes=len(mixed),
        grows=float(posterior.weight[posterior.slope > 0].sum()),
        even_odds=_even_odds(series, posterior),
        log_odds_per_decade=_slope(series, posterior),
        curve=_curve(series, posterior),
        level_before=_level(series, ~has),
        level_after=_level(series, has),
    )


def _two_modes(series: Series, mixed: list[NDArray[np.bool_]]) -> float | None:
    """Log likelihood of the best U-shaped beta distribution minus that of the best other one, in nats.

    Uses the seeds of sizes with some above the level and some not; each seed's items are binomial about its
    own share. Shares are measured from chance to the highest score.
    """
    pooled = np.any(mixed, axis=0) if mixed else np.zeros(len(series), bool)
    if pooled.sum() < LEAST:
        return None
    top = max(float(series.y.max()), series.chance + 1e-6)
    share = np.clip((series.y[pooled] - series.chance) / (top - series.chance), 0.0, 1.0)
    n = np.where(series.trials[pooled] > 0, series.trials[pooled], ITEMS)
    k = np.round(share * n)
    a, b = SHAPES[:, None, None], SHAPES[None, :, None]
    log = (betaln(k + a, n - k + b) - betaln(a, b)).sum(axis=2)
    u_shaped = (SHAPES[:, None] < 1) & (SHAPES[None, :] < 1)
    return float(log[u_shaped].max() - log[~u_shaped].max())


@dataclass(frozen=True)
class _Posterior:
    """Log odds intercept + slope x on a grid (G,), with weights that sum to 1."""

    intercept: Floats
    slope: Floats
    weight: Floats

    @classmethod
    def of(cls, x: Floats, seeds: NDArray[np.int64], count: NDArray[np.int64]) -> "_Posterior":
        """From the number of seeds at each x (L,), and of those that broke through."""
        intercept, slope = (part.ravel() for part in np.meshgrid(INTERCEPTS, SLOPES, indexing="ij"))
        log = np.log(np.tile(np.gradient(SLOPES), len(INTERCEPTS)))
        moments = np.zeros((3, len(log)))
        for place, n, k in zip(x, seeds, count, strict=True):
            eta = intercept + slope * place
            yes = -np.logaddexp(0, -eta)
            no = yes - eta
            log += k * yes + (n - k) * no
            information = n * np.exp(yes + no)
            moments += information * np.array([[1.0], [place], [place**2]])
        determinant = moments[0] * moments[2] - moments[1] ** 2
        log += 0.5 * np.log(np.maximum(determinant, 1e-300))
        weight = np.exp(log - log.max())
        kept = weight > NEGLIGIBLE
        return cls(intercept[kept], slope[kept], weight[kept] / weight[kept].sum())


def _quantiles(values: Floats, weight: Floats, at: tuple[float, ...]) -> list[float]:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    index = np.minimum(np.searchsorted(total, np.array(at) * total[-1]), len(order) - 1)
    return [float(v) for v in values[order][index]]


def _even_odds(series: Series, posterior: _Posterior) -> Threshold | None:
    """The scale at which half of the runs break through; None if the probability may fall with scale."""
    rising = posterior.slope > 0
    if posterior.weight[rising].sum() < 0.975:
        return None
    place = -posterior.intercept[rising] / posterior.slope[rising]
    low, middle, high = _quantiles(place, posterior.weight[rising], (0.025, 0.5, 0.975))
    ends = [float(series.scale_of(end)) if abs(end) <= REACH else None for end in (low, high)]
    if series.against == "loss":
        ends.reverse()
    return Threshold(
        kind="even odds",
        value=float(series.scale_of(middle)) if abs(middle) <= REACH else None,
        interval=(ends[0], ends[1]),
        beyond=not -1 <= middle <= 1,
    )


def _slope(series: Series, posterior: _Posterior) -> IntervalEstimate:
    slope = posterior.slope / series.decades(1.0)
    low, middle, high = _quantiles(slope, posterior.weight, (0.025, 0.5, 0.975))
    return IntervalEstimate(value=middle, interval=(low, high))


def _curve(series: Series, posterior: _Posterior) -> tuple[Probability, ...]:
    points = []
    for x in np.linspace(-1, 1, CURVE):
        eta = posterior.intercept + posterior.slope * x
        low, middle, high = (
            float(expit(end)) for end in _quantiles(eta, posterior.weight, (0.025, 0.5, 0.975))
        )
        points.append(Probability(scale=float(series.scale_of(x)), value=middle, interval=(low, high)))
    return tuple(points)


def _level(series: Series, chosen: NDArray[np.bool_]) -> IntervalEstimate | None:
    """Mean score of some runs and its 95% interval over runs, at least as wide as their items imply."""
    n = int(chosen.sum())
    if n == 0:
        return None
    y = series.y[chosen]
    mean = float(y.mean())
    error = float(y.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    half = float(stdtrit(n - 1, 0.975)) * error if n > 1 else 0.0
    low, high = mean - half, mean + half
    items = float(series.trials[chosen].sum())
    if items > 0:  # equal scores do not determine the level better than their items do
        least, most = wilson(mean * items, items)
        low, high = min(low, least), max(high, most)
    return IntervalEstimate(value=mean, interval=(max(0.0, low), min(1.0, high)))
