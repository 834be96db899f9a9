"""The hold-out rolled over cut-offs of compute: how the error grows with the reach of a prediction."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Form
from scaling.laws.forms.limiting import reported
from scaling.laws.points import Points
from scaling.laws.sections import CutOff
from scaling.laws.solving.objective import Residual, residuals
from scaling.laws.solving.optimise import Optimised, log_variables
from scaling.laws.solving.refits import refits
from scaling.laws.uncertainty.curvature import curvature, slopes
from scaling.laws.uncertainty.student import t_quantile

Floats = NDArray[np.float64]

LEAST = 0.35  # share of the points below the first cut-off


def roll(
    form: Form,
    points: Points,
    best: Optimised,
    delta: float,
    residual: Residual,
    cuts: int,
    level: float,
    width: int,
) -> tuple[CutOff, ...]:
    """The law fitted below each of the cut-offs of `splits`, and its errors beyond.

    The prediction interval has the law's uncertainty and the noise of a run in it, both from the runs below.
    """
    target = np.log(points.column(form.target))
    columns = log_variables(form, points)
    chosen = splits(form, points, form.select(columns, np.log(points.loss)), cuts)
    if not chosen:
        return ()
    x = columns - best.reference
    weights = np.stack([kept * points.weight for _, kept, _ in chosen])
    found = refits(form, x, target, weights, best, delta, residual, width)
    rows = []
    for theta, (cut, kept, ahead) in zip(found.theta, chosen, strict=True):
        below = replace(best, theta=theta, x=x[kept], log_loss=target[kept], weight=points.weight[kept])
        predicted = form.log_loss(theta, x[ahead])
        relative = np.exp(predicted - target[ahead]) - 1
        rows.append(
            CutOff(
                flops=cut,
                extrapolation=float(points.flops[ahead].max() / cut),
                n_fitted=int(kept.sum()),
                n=int(ahead.sum()),
                mean_abs_rel_error=float(np.abs(relative).mean()),
                max_abs_rel_error=float(np.abs(relative).max()),
                inside=_inside(form, below, x[ahead], target[ahead], delta, residual, level),
                parameters=reported(form, theta, best.reference),
            )
        )
    return tuple(rows)


def splits(
    form: Form, points: Points, envelope: NDArray[np.bool_], cuts: int
) -> list[tuple[float, NDArray[np.bool_], NDArray[np.bool_]]]:
    """At most `cuts` cut-offs of compute with the points fitted below (n,) and predicted beyond (n,).

    None where the points below would be too few for the law. A run whose points lie on both sides of a
    cut-off is neither fitted nor predicted: its points share their noise. `envelope` (n,) marks the points
    that the law speaks about.
    """
    flops, columns, log_loss = points.flops, log_variables(form, points), np.log(points.loss)
    run = points.group_index()
    largest = np.array([flops[run == g].max() for g in range(int(run.max()) + 1)])[run]
    found = []
    for cut in np.unique(flops[envelope])[:-1]:
        fitted = largest <= cut * (1 + 1e-9)
        ahead = envelope & (flops > cut * (1 + 1e-9)) & ~fitted
        kept = np.zeros(len(points), bool)
        if fitted.any():
            kept[np.flatnonzero(fitted)[form.select(columns[fitted], log_loss[fitted])]] = True
        enough = kept.sum() >= max(form.min_points + 1, LEAST * envelope.sum()) and all(
            len(np.unique(np.round(c[kept], 9))) >= form.min_levels for c in columns.T
        )
        if enough and ahead.any():
            found.append((float(cut), kept, ahead))
    if not found or cuts < 1:
        return []
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, cuts).round().astype(int))]


def _inside(
    form: Form, below: Optimised, x: Floats, target: Floats, delta: float, residual: Residual, level: float
) -> float | None:
    """Share of the points inside the prediction interval; None where the fit has no curvature."""
    found = curvature(form, below, delta, residual)
    if found.covariance is None or found.scale is None:
        return None
    at = replace(below, x=x, log_loss=target)
    G = slopes(form, at, residual)
    variance = np.einsum("np,pq,nq->n", G, found.covariance, G) + found.scale.noise**2
    off = residuals(residual, form.log_loss(below.theta, x), target)
    return float((np.abs(off) <= t_quantile(level, found.scale.freedom) * np.sqrt(variance)).mean())
