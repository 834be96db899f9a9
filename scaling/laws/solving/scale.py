"""The width of the Huber loss tied to the noise: scale and parameters estimated together.

With delta = c s and s the standard deviation of the residuals by Huber's proposal 2 (Huber 1981, "Robust
Statistics", section 7.8), c = 1.345 has 95% of the efficiency of least squares under normal noise, and
bounded influence under any. A fixed delta of 1e-3 (Hoffmann et al. 2022) is nearly the absolute value where
the noise is larger, with 64% of that efficiency.
"""

from statistics import NormalDist

import numpy as np

from scaling.laws.forms.form import Floats
from scaling.laws.solving.optimise import refits
from scaling.laws.solving.problem import Problem

PAPER = 1e-3  # Hoffmann et al. 2022, section 3.3
TUNING = 1.345  # c: Huber 1981, section 7.10
EXACT = 1e-8  # smaller residuals are rounding, and every delta has the same optimum
SAME = 1e-3  # relative change of the scale that ends the search
ROUNDS = 20

# E[psi_c(z)^2] of a standard normal z: the scale of normal noise is its standard deviation.
_TAIL, _DENSITY = NormalDist().cdf(-TUNING), NormalDist().pdf(TUNING)
_NORMAL = 1 - 2 * _TAIL - 2 * TUNING * _DENSITY + 2 * TUNING**2 * _TAIL


def proposal_2(residuals: Floats, weight: Floats, parameters: int, start: float) -> float:
    """The scale s of residuals (n,) that solves sum_i w_i psi_c(r_i / s)^2 = (n - P) E[psi_c(z)^2].

    Args:
        residuals: (n,) after fitting `parameters`.
        weight: (n,) of the points, of any scale.
        parameters: how many were fitted.
        start: positive, where the iteration begins.
    """
    w, s = weight / weight.mean(), start
    wanted = (len(residuals) - parameters) * _NORMAL
    for _ in range(200):
        got = float((w * np.clip(residuals / s, -TUNING, TUNING) ** 2).sum())
        before, s = s, s * np.sqrt(got / wanted)
        if s < EXACT or abs(s / before - 1) < 1e-6:
            break
    return float(s)


def rescaled(problem: Problem) -> Problem:
    """The problem with the delta of its own points, if its delta is tied to the noise."""
    return problem.with_delta(joint_delta(problem)[0]) if problem.tied else problem


def joint_delta(problem: Problem) -> tuple[float, float | None]:
    """(delta, s) with delta = 1.345 s at the joint optimum of parameters and scale.

    The search starts from a fit to nearly absolute values, which outliers hardly move. The paper's delta and
    no scale where the residuals are rounding, or where the parameters fit every point.
    """
    fitted = int(problem.form.free.sum())
    if len(problem.x) <= fitted:
        return PAPER, None
    start = problem.form.starts(problem.x, problem.log_target, problem.reference)[0]
    theta = refits(problem.with_delta(PAPER), problem.weight[None], start).theta[0]
    off = problem.residuals(theta)
    s = 1.4826 * float(np.median(np.sort(np.abs(off))[fitted:]))
    for _ in range(ROUNDS):
        if s < EXACT:
            return PAPER, None
        theta = refits(problem.with_delta(TUNING * s), problem.weight[None], theta, spread=0).theta[0]
        before, s = s, proposal_2(problem.residuals(theta), problem.weight, fitted, s)
        if abs(s / before - 1) < SAME:
            break
    delta = float(f"{TUNING * s:.3g}")  # few digits, so that it can be given again
    return delta, delta / TUNING
