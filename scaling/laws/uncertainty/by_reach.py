"""Errors of a rolled hold-out by reach: pooled over its cut-offs, with what they have in common.

Cut-offs share points: a run is predicted from several, and those fitted below one are among those fitted
below the next. Each error is linear in the noise of the points, to first order: that of the points fitted,
through the parameters, and that of the point predicted. From these coefficients follow the standard errors
of any mean of errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.config.reach_errors import ErrorsByReach, ReachBin
from scaling.laws.forms.form import Floats, Form
from scaling.laws.points import Points

EDGES = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0)
FOLDED = float(np.sqrt(2 / np.pi))  # mean size of a standard normal
MOST_SHARED = 0.95  # of the variance, by the points of a run


@dataclass(frozen=True)
class Predictions:
    """m predictions from one cut-off.

    Attributes:
        point: (m,) number of the point predicted.
        reach: (m,) its measure over the largest fitted.
        error: (m,) log(predicted / measured).
        variance: (m,) of the error, by the fit's own uncertainty and the noise of a run; None if not known.
        noise: (m, n) coefficients of the error in the noise of all n points; None if not known.
        inside: (m,) whether the measured value is in the prediction interval; None without one.
    """

    point: NDArray[np.int64]
    reach: Floats
    error: Floats
    variance: Floats | None = None
    noise: Floats | None = None
    inside: NDArray[np.bool_] | None = None


def measure_of(form: Form) -> str:
    """What reach is a ratio of: the variable of a law of one size, otherwise compute."""
    return form.variables[0] if form.variables in (("params",), ("tokens",)) else "flops"


def by_reach(
    form: Form,
    points: Points,
    rows: Sequence[Predictions],
    scale: float = 0.0,
    shared: float = 0.0,
    outlying: Floats | None = None,
) -> ErrorsByReach:
    """The table of errors by reach and their growth.

    Args:
        form: the law.
        points: all n points.
        rows: predictions of each cut-off.
        scale: standard deviation of a point's noise.
        shared: correlation of the noise of points that share a run.
        outlying: (n,) weights of the points in the growth, below 1 for outliers of the fit to all.
    """
    rows = [row for row in rows if (row.reach > 1 + 1e-9).any()]
    none = ErrorsByReach(measure=measure_of(form))
    if not rows:
        return none
    point = np.concatenate([row.point for row in rows])
    reach = np.concatenate([row.reach for row in rows])
    error = np.concatenate([row.error for row in rows])
    ahead = (reach > 1 + 1e-9) & np.isfinite(error)
    if not ahead.any():
        return none
    point, reach, error = point[ahead], reach[ahead], error[ahead]
    run = points.group_index()
    loadings = _joined([row.noise for row in rows], ahead)
    variance = _joined([row.variance for row in rows], ahead)
    unknown = [np.full(len(row.point), np.nan) if row.inside is None else row.inside for row in rows]
    inside = np.concatenate(unknown).astype(float)[ahead]
    same_run = run[:, None] == run

    def standard_error(average_of: Floats) -> float | None:
        if loadings is None:
            return None
        one = average_of @ loadings
        return float(scale * np.sqrt((1 - shared) * one @ one + shared * one @ same_run @ one))

    bins = []
    for low, high in zip(EDGES, (*EDGES[1:], np.inf), strict=True):
        mine = (reach > low) & (reach <= high)
        if not mine.any():
            continue
        each = np.unique(point[mine])
        once = np.array([mine & (point == one) for one in each]).astype(float)
        once /= once.sum(axis=1, keepdims=True)
        mean = once.mean(axis=0)
        expected = None if variance is None else float(FOLDED * mean @ np.sqrt(variance))
        bins.append(
            ReachBin(
                low=low,
                high=float(high) if np.isfinite(high) else None,
                n_points=len(each),
                n_runs=len(set(run[each])),
                n_predictions=int(mine.sum()),
                mean_rel_error=float(mean @ np.expm1(error)),
                mean_abs_rel_error=float(mean @ np.abs(np.expm1(error))),
                standard_error=standard_error(mean),
                expected_abs_rel_error=expected,
                inside=_share(mean, inside),
            )
        )
    weight = np.log10(reach) / np.bincount(point)[point]
    if variance is not None:
        weight = weight / variance
    if outlying is not None:
        weight = weight * outlying[point]
    weight /= weight @ np.log10(reach)
    return ErrorsByReach(
        measure=measure_of(form),
        bins=tuple(bins),
        growth=float(weight @ error),
        growth_error=standard_error(weight),
        largest=float(reach.max()),
        n_points=len(set(point)),
        n_runs=len(set(run[point])),
        n_predictions=len(point),
        n_fits=len(rows),
        reaches=tuple(float(f"{one:.4g}") for one in reach),
        rel_errors=tuple(float(f"{one:.4g}") for one in np.expm1(error)),
    )


def shared_part(residuals: Floats, run: NDArray[np.int64], freedom: int) -> float:
    """The correlation of residuals (n,) that share a run, from their variance within runs; 0 if none do."""
    counts = np.bincount(run)
    within = len(run) - len(counts)
    if within < 1 or freedom < 1:
        return 0.0
    means = np.bincount(run, residuals) / np.maximum(counts, 1)
    inner = float(((residuals - means[run]) ** 2).sum()) / within
    total = float((residuals**2).sum()) / freedom
    return float(np.clip(1 - inner / total, 0.0, MOST_SHARED)) if total > 0 else 0.0


def _share(weight: Floats, inside: Floats) -> float | None:
    """The weighted mean of what is known; None if nothing is."""
    known = np.isfinite(inside) & (weight > 0)
    return float(weight[known] @ inside[known] / weight[known].sum()) if known.any() else None


def _joined(parts: Sequence[NDArray[np.generic] | None], chosen: NDArray[np.bool_]) -> Floats | None:
    """All parts in one array of the chosen rows; None if one is missing."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return np.concatenate(known)[chosen].astype(float)
