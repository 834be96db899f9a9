"""The best optimum there is, and refits of the same form to other weightings of the points.

All starts are solved together; restarts from fits to randomly reweighted points then look for a lower
optimum.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scaling.laws.forms.form import Floats, Form
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.solver import Solutions, solve

WIDE = 0.3  # nats of log loss: all residuals of a sensible fit are inside a quadratic zone this wide
SAME_VALUE = 1e-7  # relative difference of objectives that count as the same optimum
RESTARTS = 128
ELSEWHERE = 20  # of the form's own starts, in addition to the optimum of the full data


@dataclass(frozen=True)
class BestFit:
    """The best optimum found, with how hard it was to find."""

    problem: Problem
    theta: Floats
    value: float
    gradient: float  # norm
    n_starts: int
    n_at_best: int

    @property
    def form(self) -> Form:
        """The form that was fitted."""
        return self.problem.form

    def parameters(self) -> Floats:
        """(P,) as reported."""
        out: Floats = self.form.parameters(self.theta, self.problem.reference)
        return out

    def residuals(self) -> Floats:
        """(n,) at the optimum."""
        return self.problem.residuals(self.theta)

    def with_form(self, form: Form) -> "BestFit":
        """The same optimum, read as that of another form."""
        return replace(self, problem=self.problem.with_form(form))

    def homotopy_from(self) -> float:
        """Where to begin a homotopy near the optimum: four median residuals, within reason."""
        delta = self.problem.delta
        return float(np.clip(4 * np.median(np.abs(self.residuals())), delta, max(WIDE, delta)))


def optimise(problem: Problem, seed: int) -> BestFit:
    """The lowest objective over all starts and restarts.

    All starts are first solved with a wide quadratic zone. Starts that meet there share the rest of the way;
    each distinct solution continues both by homotopy and directly.
    Restarts from fits to randomly reweighted points then look for a lower optimum until none is found.
    """
    delta, weight = problem.delta, problem.weight
    random = np.random.default_rng(seed)
    weights = np.stack([weight] * (RESTARTS + 1))

    def descend(starts: Floats, rows: Any, first: Any, final: float) -> Solutions:
        count = len(starts)
        rows, first = np.broadcast_to(rows, count), np.broadcast_to(np.asarray(first, float), count)
        return solve(replace(problem, delta=final), weights, rows, starts, first)

    starts = problem.form.starts(problem.x, problem.log_target, problem.reference)
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
    return BestFit(problem, theta, float(value), float(gradient), len(values), at_best)


def _best_of(s: Solutions) -> tuple[Floats, float, float]:
    """Theta, value and gradient norm of the lowest objective; of equal ones, the smallest gradient."""
    near = s.value <= s.value.min() * (1 + 1e-12) + 1e-300
    best = int(np.argmin(np.where(near, s.gradient, np.inf)))
    return s.theta[best], float(s.value[best]), float(s.gradient[best])


def refits(problem: Problem, weights_Rn: Floats, theta: Floats, spread: int = ELSEWHERE) -> Solutions:
    """(R, P) the best fit of `problem` to each row of weights; `theta` (P,) is the optimum of the full data.

    Searches start from that optimum, by homotopy and directly, and from `spread` of the form's own starts:
    without some of its points a law may have its optimum elsewhere.
    """
    grid = problem.form.starts(problem.x, problem.log_target, problem.reference)
    chosen = grid[np.unique(np.linspace(0, len(grid) - 1, spread).astype(int))]
    wide = max(WIDE, problem.delta)
    starts = np.concatenate([theta[None], theta[None], chosen])
    first = np.concatenate([[wide, problem.delta], np.full(len(chosen), wide)])
    R, K = len(weights_Rn), len(starts)
    rows = np.repeat(np.arange(R), K)
    out = solve(problem, weights_Rn, rows, np.tile(starts, (R, 1)), np.tile(first, R))
    pick = np.arange(R) * K + out.value.reshape(R, K).argmin(axis=1)
    return Solutions(*(part[pick] for part in out))


def boundary_hits(best: BestFit) -> tuple[str, ...]:
    """Entries of theta at a bound, or that could go there at no cost: the data do not determine them."""
    problem, form = best.problem, best.form
    here = problem.objective(best.theta)
    hits = []
    for i, name in enumerate(form.theta_names):
        if i in form.held:
            continue
        for bound, side in zip(form.bounds[i], ("lower", "upper"), strict=True):
            moved = best.theta.copy()
            moved[i] = bound
            # A perfect fit has an objective of rounding errors, below which nothing can be distinguished.
            if problem.objective(moved) <= here * (1 + 1e-9) + 1e-18 * problem.weight.sum():
                hits.append(f"{name} at its {side} bound {bound:g}")
    return tuple(hits)
