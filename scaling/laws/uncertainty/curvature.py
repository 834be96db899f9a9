"""Standard errors of a Huber regression from its curvature.

With psi the Huber loss's slope, M-estimates are normal with covariance
E[psi^2] / E[psi']^2 (J'WJ)^-1 J'W^2J (J'WJ)^-1, J the residuals' slopes in theta (Huber 1981, "Robust
Statistics", section 7.6; with weights its sandwich). For least squares this is s^2 (J'WJ)^-1; for the
absolute value, which delta = 1e-3 nearly is, E[psi'] is 2 delta f(0) with f the density of residuals
(Koenker and Bassett 1978, "Regression Quantiles", theorem 4.2); see `noise.residual_scale`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scaling.laws.forms.form import Floats
from scaling.laws.forms.quantities import Ends, Quantities
from scaling.laws.solving.optimise import BestFit
from scaling.laws.uncertainty.noise import Scale, residual_scale, t_quantile

STEP = 1e-4  # of central differences, on entries of order one
LARGEST_CONDITION = 1e12  # beyond, a direction of theta has no digits
TEXT = (
    "sandwich of M-estimation (Huber 1981, section 7.6), E[psi'] from a kernel density of the residuals, "
    "Student's t of n - P; points count as independent"
)


@dataclass(frozen=True)
class Curvature:
    """Covariance of theta (P, P), or the reason for none; `condition` is that of J'WJ in its free entries."""

    covariance: Floats | None
    condition: float | None
    flattest: str
    reason: str | None
    scale: Scale | None


def differences(function: Callable[[Floats], Floats], theta: Floats) -> Floats:
    """(..., P) central differences of a smooth function; theta is of order one, so nine digits are right."""
    steps = STEP * np.eye(len(theta))
    return np.stack([(function(theta + h) - function(theta - h)) / (2 * STEP) for h in steps], axis=-1)


def slopes(best: BestFit) -> Floats:
    """(n, P) derivatives of the residuals in theta, at the optimum."""
    return differences(best.problem.residuals, best.theta)


def curvature(best: BestFit, hits: tuple[str, ...] = ()) -> Curvature:
    """Covariance of theta at the optimum.

    `hits` names entries at a bound: there the objective is not flat, and a covariance has no meaning.
    """
    form, weight = best.form, best.problem.weight
    free = np.flatnonzero(form.free)
    J = slopes(best)[:, free]
    w = weight / weight.mean()
    gram = J.T @ (w[:, None] * J)
    sizes, vectors = np.linalg.eigh(gram)
    flattest = _in_words([form.theta_names[i] for i in free], vectors[:, 0])
    scale = residual_scale(best.residuals(), weight, best.problem.delta, len(free))
    if sizes[0] <= sizes[-1] / LARGEST_CONDITION:
        return Curvature(None, None, flattest, f"the points leave a direction free: {flattest}", scale)
    condition = float(sizes[-1] / sizes[0])
    if hits:
        return Curvature(None, condition, flattest, f"at a bound: {', '.join(hits)}", scale)
    if scale is None:
        why = "no residual is left to measure the noise with: every point is fitted exactly"
        return Curvature(None, condition, flattest, why, None)
    inverse = np.linalg.inv(gram)
    meat = J.T @ ((w**2)[:, None] * J)
    covariance = np.zeros((len(best.theta), len(best.theta)))  # what a limiting form holds does not vary
    covariance[np.ix_(free, free)] = scale.psi_squared / scale.psi_slope**2 * inverse @ meat @ inverse
    return Curvature(covariance, condition, flattest, None, scale)


def _in_words(names: Sequence[str], direction: Floats) -> str:
    """A direction of theta, largest entry first and positive."""
    order = np.argsort(-np.abs(direction))
    direction = direction * np.sign(direction[order[0]])
    shown = [i for i in order if abs(direction[i]) > 0.1]
    return ", ".join(f"{direction[i]:+.2f} {names[i]}" for i in shown)


def quantity_slopes(asked: Quantities, theta: Floats) -> Floats:
    """(Q, P) derivatives of the reported quantities, each on its scale."""
    return differences(asked.scaled, theta)


def curvature_intervals(
    found: Curvature, asked: Quantities, theta: Floats, level: float
) -> tuple[dict[str, Ends | None], dict[str, float | None]]:
    """Intervals of the reported quantities by the delta method, and standard errors on their scales."""
    if found.covariance is None or found.scale is None:
        return dict.fromkeys(asked.names), dict.fromkeys(asked.names)
    G = quantity_slopes(asked, theta)
    centre = asked.scaled(theta)
    t = t_quantile(level, found.scale.freedom)
    intervals: dict[str, Ends | None] = {}
    errors: dict[str, float | None] = {}
    for i, name in enumerate(asked.names):
        error = float(np.sqrt(max(G[i] @ found.covariance @ G[i], 0.0)))
        known = np.isfinite(error) and error > 0
        known = known and name not in asked.missing
        ends = asked.interval(centre[i] - t * error, centre[i] + t * error, name) if known else (None, None)
        intervals[name] = None if ends == (None, None) else ends
        errors[name] = error if known else None
    return intervals, errors
