"""One task, metric and number of examples over scale, ready to fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.metric_names import SHARE, metric_named
from scaling.laws.emergence.score_table import Key, ScoreTable
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]
Z = 1.96  # of a 95% interval
NOTHING = 1e-9  # a smaller range of log scale counts as a single scale


@dataclass(frozen=True)
class Series:
    """n points of one curve; arrays are (n,), in the order of the source.

    Attributes:
        key: task, metric, shots.
        size: parameters of the one model whose checkpoints these are, if the scale is the step; else None.
        against: name of the scale.
        scale: in its own unit.
        score: as measured.
        items: number of items of each score; NaN if unknown.
        chance: the score of guessing; 0 if unknown.
        x: log of scale, stretched to [-1, 1], increasing with better models (the sign of a loss is reversed).
        y: the fitted value: a bounded score itself, any other stretched to [-1, 1] so that more is better.
        trials: items if the noise is binomial (for a share of tokens, independent trials), else 0.
        bounded: whether the score is a share between 0 and 1.
        least, most: y at the limits of the metric's range, infinite if it has none (a log-probability is at
            most 0).
    """

    key: Key
    size: float | None
    against: str
    group: tuple[str, ...]
    scale: Floats
    score: Floats
    items: Floats
    chance: float
    answer_tokens: float
    x: Floats
    y: Floats
    trials: Floats
    bounded: bool
    least: float
    most: float
    _log: tuple[float, float]  # centre and half width of the log of scale
    _score: tuple[float, float, bool]  # centre, half width (negative if less is better), logged

    def __len__(self) -> int:
        return len(self.score)

    @property
    def name(self) -> str:
        """As in a table: task, metric, shots, and the size if there is one."""
        task, metric, shots = self.key
        size = "" if self.size is None else f", N = {self.size:.3g}"
        return f"{task}, {metric}, {shots}-shot{size}"

    @property
    def levels(self) -> Floats:
        """Distinct values of x, increasing."""
        return np.unique(np.round(self.x, 9))

    def scale_of(self, x: Floats | float) -> Floats:
        """x in the unit of the scale."""
        middle, half = self._log
        sign = -1.0 if self.against == "loss" else 1.0
        value = np.clip(sign * (middle + half * np.asarray(x, float)), -700, 700)
        result: Floats = np.exp(value) - (1.0 if self.against == "step" else 0.0)
        return np.maximum(result, 0.0)

    def x_of(self, scale: Floats | float) -> Floats:
        """The inverse."""
        middle, half = self._log
        result: Floats = (log_scale(np.asarray(scale, float), self.against) - middle) / half
        return result

    def place(self, y: Floats) -> Floats:
        """x of a series over another metric (see `over_metric`), from that metric's own y."""
        middle, half = self._log
        result: Floats = (_unfolded(y, self.against == "share") - middle) / half
        return result

    def decades(self, width: float) -> float:
        """A width in x as decades of scale."""
        return width * self._log[1] / float(np.log(10))

    def score_of(self, y: Floats | float) -> Floats:
        """y in the unit of the score."""
        middle, half, logged = self._score
        value: Floats = middle + half * np.asarray(y, float)
        return np.exp(np.clip(value, -700, 700)) if logged else value

    def y_of(self, score: Floats) -> Floats:
        """The inverse of `score_of`."""
        middle, half, logged = self._score
        value = np.log(np.maximum(score, 1e-300)) if logged else np.asarray(score, float)
        result: Floats = (value - middle) / half
        return result


def log_scale(scale: Floats, against: str) -> Floats:
    """Log of scale, increasing with better models; steps count from 1, so that step 0 has a logarithm."""
    if against == "loss":
        return -np.log(scale)
    return np.log(scale + 1.0) if against == "step" else np.log(scale)


def series_of(scores: ScoreTable, against: str) -> tuple[Series, ...]:
    """A series for each task, metric and shots (and each size, if the scale is the step).

    Raises:
        BadInputError: rows lack the scale, or a series has only one value of it.
    """
    scores.scale(against)
    found = []
    for key in scores.combinations():
        rows = scores.of(key)
        if against == "step" and np.isfinite(rows.params).all():
            sizes: Sequence[float | None] = [float(v) for v in np.unique(rows.params)]
        else:
            sizes = [None]
        for size in sizes:
            of_size = rows if size is None else rows.subset(rows.params == size)
            found.append(one_series(of_size, key, against, size))
    return tuple(found)


def one_series(rows: ScoreTable, key: Key, against: str, size: float | None = None) -> Series:
    """The rows of one key as a series."""
    scale, score, metric = rows.scale(against), rows.score, key[1]
    log = log_scale(scale, against)
    middle, half = (log.max() + log.min()) / 2, (log.max() - log.min()) / 2
    if not half > NOTHING:
        raise BadInputError(
            f"{rows.source}: {', '.join(map(str, key))}: {len(rows)} row(s) at one value of {against}; "
            "emergence needs scores at several"
        )
    items = rows.n
    counted = bool(np.isfinite(items).all())
    # A column that is just called `score` is a share if it counts items.
    known = SHARE if metric == "score" and counted else metric_named(metric)
    bounded = known.fraction
    binomial = known.share and counted
    trials = items.copy() if binomial else np.zeros(len(score))
    tokens = float(np.nanmean(rows.answer_tokens)) if np.isfinite(rows.answer_tokens).any() else np.nan
    if binomial and known.smooth and np.isfinite(tokens):
        trials = trials * _per_item(rows, max(tokens, 1.0))
    logged = known.logged and bool((score > 0).all())
    value = np.log(score) if logged else score
    centre, width = 0.0, 1.0
    if not bounded:
        centre = (value.max() + value.min()) / 2
        width = max((value.max() - value.min()) / 2, 1e-12) * (-1.0 if known.less else 1.0)
    limits = _limit(known.low, logged, -1), _limit(known.high, logged, 1)
    ends = sorted((limit - centre) / width for limit in limits)
    chance = float(np.nanmax(rows.chance)) if np.isfinite(rows.chance).any() else 0.0
    return Series(
        key=key,
        size=size,
        against=against,
        group=rows.group,
        scale=scale,
        score=score,
        items=items,
        chance=chance if bounded else 0.0,
        answer_tokens=tokens,
        x=(log - middle) / half,
        y=(value - centre) / width,
        trials=trials,
        bounded=bounded,
        least=float(ends[0]),
        most=float(ends[1]),
        _log=(float(middle), float(half)),
        _score=(float(centre), float(width), logged),
    )


def _per_item(rows: ScoreTable, tokens: float) -> float:
    """Independent trials per item of a share of tokens, from 1 to the number of tokens.

    The tokens of one answer are right or wrong together, so that items are the clusters. The interval of a
    score, which resamples items, has the width of p (1 - p) / trials. The median over scores that have an
    interval is used; without any an item is one trial, the most that tokens can depend on each other.
    """
    share, wide = rows.score, (rows.high - rows.low) / (2 * Z)
    known = np.isfinite(wide) & (wide > 0) & (share > 0) & (share < 1)
    if not known.any():
        return 1.0
    effective = share[known] * (1 - share[known]) / wide[known] ** 2 / rows.n[known]
    return float(np.clip(np.median(effective), 1.0, tokens))


def _limit(end: float | None, logged: bool, sign: int) -> float:
    if end is None:
        return sign * np.inf
    return float(np.log(end)) if logged else end


def over_metric(sharp: Series, smooth: Series) -> Series | None:
    """One metric over another of the same runs; None if the other one is constant.

    For a share p the axis is -log(-log p), on which exact match p^L is a power law with slope 1 for every L.
    """
    value = _unfolded(smooth.y, smooth.bounded)
    middle, half = (value.max() + value.min()) / 2, (value.max() - value.min()) / 2
    if not half > NOTHING:
        return None
    kind = "share" if smooth.bounded else "metric"
    return replace(
        sharp, against=kind, scale=smooth.score, x=(value - middle) / half, _log=(float(middle), float(half))
    )


def _unfolded(y: Floats, share: bool) -> Floats:
    return -np.log(-np.log(np.clip(y, 1e-4, 1 - 1e-4))) if share else y
