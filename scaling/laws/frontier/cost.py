"""c(N), the training FLOPs per token of the points, where their compute is not 6ND."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from scaling.config.compute_cost import ComputeCost
from scaling.laws.forms.form import Form
from scaling.laws.forms.quantities import EXPONENT_OF_PARAMS, RATIO, Ends
from scaling.laws.points import Points
from scaling.laws.sections import Hessian, Jackknife, Profile

SAME = 0.01  # of 6ND: as much as shapes and steps are rounded
EXACT = 1e-4  # relative error of c at the points below which no further power is added
MOST_POWERS = 3
LEAST_SLOPE = 0.1  # c must grow with N

Errors = TypeVar("Errors", Hessian, Jackknife)


def compute_cost(points: Points) -> ComputeCost | None:
    """log c as a polynomial in log N through log(C / D); None where C is 6ND, or does not grow with N.

    The degree is the least that reproduces c at every size, else the one with the least Bayesian information
    criterion (Schwarz 1978).
    """
    log_n, log_c = np.log(points.params), np.log(points.flops / points.tokens)
    if np.abs(log_c - np.log(6) - log_n).max() <= SAME:
        return None
    low, high = float(log_n.min()), float(log_n.max())
    u, sizes = log_n - 0.5 * (low + high), len(np.unique(log_n.round(9)))
    if sizes == 1:
        best = np.array([log_c.mean(), 1.0])
    else:
        best, least = np.empty(0), np.inf
        for degree in range(1, min(MOST_POWERS, sizes - 1) + 1):
            coefficients = np.polynomial.polynomial.polyfit(u, log_c, degree)
            residual = log_c - np.polynomial.polynomial.polyval(u, coefficients)
            criterion = len(u) * np.log(max(float((residual**2).mean()), EXACT**2)) + degree * np.log(len(u))
            grid = np.linspace(u.min(), u.max(), 100)
            slopes = np.polynomial.polynomial.polyval(grid, np.polynomial.polynomial.polyder(coefficients))
            if criterion < least and slopes.min() >= LEAST_SLOPE:
                best, least = coefficients, criterion
            if np.abs(residual).max() <= EXACT:
                break
        if not len(best):
            return None
    cost = ComputeCost(
        coefficients=tuple(map(float, best)),
        sizes=(np.exp(low), np.exp(high)),
        elasticity=1.0,
        max_rel_error=0.0,
    )
    span = high - low
    mean = float(cost.log_per_token(high) - cost.log_per_token(low)) / span if span > 0 else float(best[1])
    error = float(np.abs(np.expm1(cost.log_per_token(log_n) - log_c)).max())
    return cost.model_copy(update={"elasticity": mean, "max_rel_error": error})


# Profiles and Hessians are of the optimum under 6ND, unless it is numeric. Its exponent gives that under
# c(N) D, monotonically; the ratio of tokens to parameters does not, and has its interval from the bootstrap
# alone.


def in_counting(profiles: dict[str, Profile], cost: ComputeCost | None, form: Form) -> dict[str, Profile]:
    """Profiles with the exponent a of the points' own compute."""
    if cost is None:
        return profiles
    name, ends = _exponent_name(form), _converted(cost)
    out = {key: one for key, one in profiles.items() if key != RATIO}
    if name in out:
        one = out[name]
        changed = {
            "grid": tuple(cost.exponent(a) for a in one.grid),
            "interval": ends(one.interval),
            "flat_range": None if one.flat_range is None else ends(one.flat_range),
        }
        out[name] = one.model_copy(update=changed)
    return out


def errors_in_counting(found: Errors, cost: ComputeCost | None, form: Form) -> Errors:
    """The same for intervals with standard errors: of the curvature, or the jackknife."""
    name = _exponent_name(form)
    if cost is None or form.program.numeric_optimum or name not in found.intervals:
        return found
    intervals = {key: ends for key, ends in found.intervals.items() if key != RATIO}
    errors = {key: error for key, error in found.standard_errors.items() if key != RATIO}
    ends, error = intervals[name], errors[name]
    if ends is not None:
        low, high = _converted(cost)(ends)
        if error is not None and ends[0] is not None and ends[1] is not None:
            assert low is not None and high is not None
            errors[name] = error * (high - low) / (ends[1] - ends[0]) if ends[1] > ends[0] else error
        intervals[name] = (low, high)
    return found.model_copy(update={"intervals": intervals, "standard_errors": errors})


def _exponent_name(form: Form) -> str:
    names = form.program.parameter_names
    return EXPONENT_OF_PARAMS if EXPONENT_OF_PARAMS not in names else f"optimum {EXPONENT_OF_PARAMS}"


def _converted(cost: ComputeCost) -> Callable[[Ends], Ends]:
    return lambda ends: (
        None if ends[0] is None else cost.exponent(ends[0]),
        None if ends[1] is None else cost.exponent(ends[1]),
    )
