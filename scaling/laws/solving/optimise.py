"""The best optimum there is: all starts solved together, then restarts until none is lower."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Form
from scaling.laws.points import Points
from scaling.laws.solving.objective import Residual, huber, residuals
from scaling.laws.solving.solver import Solutions, solve

Floats = NDArray[np.float64]

WIDE = 0.3  # nats of log loss: residuals of a sensible fit all lie in a quadratic zone this wide
SAME_VALUE = 1e-7  # relative difference of objectives that count as the same optimum
RESTARTS = 128


@dataclass(frozen=True)
class Optimised:
    """The best optimum found, with how hard it was to find."""

    theta: Floats
    reference: Floats
    value: float
    gradient: float
    n_starts: int
    n_at_best: int
    x: Floats
    log_loss: Floats  # of the target
    weight: Floats


def log_variables(form: Form, points: Points) -> Floats:
    """(n, V) logs of the variables that the law reads."""
    return np.log(np.stack([points.column(name) for name in form.variables], axis=1))


def optimise(
    form: Form, points: Points, delta: float, seed: int, width: int, residual: Residual = "log"
) -> Optimised:
    """The lowest objective over all starts and restarts.

    All starts are first solved with a wide quadratic zone. Starts that meet there share the rest of the way,
    which is the same for all of them; each distinct solution goes on both by homotopy and directly.
    Restarts from fits to randomly reweighted points then look for a lower optimum until none is found.
    """
    columns = log_variables(form, points)
    chosen = form.select(columns, np.log(points.loss))
    log_loss, weight = np.log(points.column(form.target)[chosen]), points.weight[chosen]
    columns = columns[chosen]
    reference = form.reference(columns)
    x = columns - reference

    random = np.random.default_rng(seed)
    weights = np.stack([weight] * (RESTARTS + 1))

    def descend(starts: Floats, rows: Any, first: Any, final: float) -> Solutions:
        count = len(starts)
        rows, first = np.broadcast_to(rows, count), np.broadcast_to(np.asarray(first, float), count)
        return solve(form, x, log_loss, weights, rows, starts, first, final, width, residual)

    starts = form.starts(x, log_loss, reference)
    wide = max(WIDE, delta)
    met = descend(starts, 0, wide, wide)
    _, first, where = np.unique(np.round(met.theta, 5), axis=0, return_index=True, return_inverse=True)
    distinct = met.theta[first]
    ends = descend(np.concatenate([distinct, distinct]), 0, np.repeat([wide, delta], len(distinct)), delta)
    reached = ends.value[: len(distinct)][where.reshape(-1)]
    found = _best_of(ends)
    extra: list[Floats] = []
    for _ in range(3):
        weights[1:] = weight * random.exponential(size=(RESTARTS, len(weight)))
        away = descend(
            np.repeat(found[0][None], RESTARTS, axis=0),
            np.arange(1, RESTARTS + 1),
            min(WIDE, 30 * delta),
            delta,
        )
        back = descend(away.theta, 0, delta, delta)
        extra.append(back.value)
        before, found = found[1], min(found, _best_of(back), key=lambda item: item[1])
        if found[1] >= before * (1 - 1e-10):
            break
    theta, value, gradient = found
    values = np.concatenate([reached, *extra])
    at_best = int((values <= value * (1 + SAME_VALUE) + 1e-300).sum())
    return Optimised(
        theta, reference, float(value), float(gradient), len(values), at_best, x, log_loss, weight
    )


def _best_of(s: Solutions) -> tuple[Floats, float, float]:
    """Theta, value and gradient norm of the lowest objective; of equal ones, the smallest gradient."""
    near = s.value <= s.value.min() * (1 + 1e-12) + 1e-300
    best = int(np.argmin(np.where(near, s.gradient, np.inf)))
    return s.theta[best], float(s.value[best]), float(s.gradient[best])


def boundary_hits(form: Form, best: Optimised, delta: float, residual: Residual = "log") -> tuple[str, ...]:
    """Entries of theta at a bound, or that could go there at no cost: the data do not hold them."""

    def objective(theta: Floats) -> float:
        off = residuals(residual, form.log_loss(theta, best.x), best.log_loss)
        return float((best.weight * huber(off, delta)).sum())

    here = objective(best.theta)
    hits = []
    for i, name in enumerate(form.theta_names):
        if i in form.held:
            continue
        for bound, side in zip(form.bounds[i], ("lower", "upper"), strict=True):
            moved = best.theta.copy()
            moved[i] = bound
            # A perfect fit has an objective of rounding errors, below which nothing is told apart.
            if objective(moved) <= here * (1 + 1e-9) + 1e-18 * best.weight.sum():
                hits.append(f"{name} at its {side} bound {bound:g}")
    return tuple(hits)
