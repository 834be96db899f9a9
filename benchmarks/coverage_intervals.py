"""What one draw says about an interval, and how wide an ideal one is; for `coverage.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from scaling.laws.forms.laws import LAWS
from scaling.laws.points import Points

Floats = NDArray[np.float64]
Interval = tuple[float | None, float | None]
Places = Mapping[str, Mapping[str, float]]  # the variables of a law at which it is to predict, by a name


@dataclass(frozen=True)
class Outcome:
    """One interval: whether it contains the truth (a share, of several runs), and its width (`width_of`)."""

    held: float
    width: float = math.nan


Outcomes = dict[str, Outcome]  # by quantity; absent where there is no interval
Draw = Callable[[int, int], dict[str, Outcomes]]  # of a seed and a number of resamples, by method


@dataclass(frozen=True)
class Case:
    """A design whose intervals are measured: how to draw it, and the ideal widths where they are known."""

    draw: Draw
    ideal: Callable[[], dict[str, float]] | None = None


def width_of(low: float, high: float, truth: float) -> float:
    """Width in logarithms, or relative to the truth where an end is not of the truth's sign."""
    if low * truth > 0 and high * truth > 0:
        return abs(math.log(high / low))
    return (high - low) / abs(truth)


def outcome(interval: Interval | None, truth: float) -> Outcome | None:
    """None where there is no interval. An open end holds everything on its side."""
    if interval is None:
        return None
    low, high = interval
    held = (low is None or low <= truth) and (high is None or truth <= high)
    width = math.inf if low is None or high is None else width_of(float(low), float(high), truth)
    return Outcome(float(held), width)


def kept(outcomes: Mapping[str, Outcome | None]) -> Outcomes:
    """Without the quantities that have no interval."""
    return {name: value for name, value in outcomes.items() if value is not None}


def ideal_widths(
    name: str,
    truth: Mapping[str, float],
    points: Points,
    covariance: Floats,
    places: Places,
    budgets: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Widths (see `width_of`) of generalised least squares with the law and the noise known.

    Args:
        name: of the law.
        truth: its parameters.
        points: n runs.
        covariance: (n, n) of the logs of the targets.
        places: where to predict.
        budgets: FLOPs at which to give N_opt.
    """
    law, names = LAWS[name], list(truth)

    def quantities(parameters: Mapping[str, float]) -> tuple[Floats, dict[str, float]]:
        known = dict(parameters)
        optimum = law.optimum(dict(parameters), flops=float(points.flops.max()))
        if optimum is not None:
            known.setdefault("a", optimum.a)
            known |= {name: float(optimum.params(at)) for name, at in (budgets or {}).items()}
        known |= {place: float(law.predict(dict(parameters), **at)) for place, at in places.items()}
        exact = law.predict(dict(parameters), **{v: points.column(v) for v in law.variables})
        return np.log(exact), known

    at_truth = quantities(truth)[1]
    step = 1e-5  # relative
    logs, slopes = [], []
    for one in names:
        ends = [quantities({**truth, one: truth[one] * (1 + sign * step)}) for sign in (1, -1)]
        logs.append((ends[0][0] - ends[1][0]) / (2 * step))
        slopes.append([(ends[0][1][q] - ends[1][1][q]) / (2 * step) for q in at_truth])
    jacobian, gradient = np.stack(logs, 1), np.array(slopes)
    inverse = np.linalg.inv(jacobian.T @ np.linalg.solve(covariance, jacobian))
    errors = np.sqrt(np.einsum("pq,pr,rq->q", gradient, inverse, gradient))
    reach = 2 * float(ndtri(0.975))
    return {
        q: reach * float(error) / abs(at_truth[q]) for q, error in zip(at_truth, errors, strict=True) if error
    }
