"""The optimum found is the best of any optimiser on the same objective, on data made to be hard."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import differential_evolution, minimize

from scaling.laws import LAWS
from scaling.laws.solving.huber import huber, residuals
from scaling.laws.solving.optimise import optimise
from scaling.laws.solving.problem import Problem
from tests.laws.known import points_of

DELTA = 1e-3  # nearly the absolute value: the objective has a corner at every point


def sweep(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and token budgets of thirty runs with no design to them."""
    random = np.random.default_rng(seed)
    return 10 ** random.uniform(7, 10, 30), 10 ** random.uniform(9, 11.5, 30)


# law, its true parameters, and the residual: noise of 2% with heavy tails leaves several minima
CASES = {
    "chinchilla": ({"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}, "log"),
    "over-training": ({"E": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136}, "plain"),
    "kaplan-tokens": ({"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}, "log"),
    "coupled": ({"E": 1.22, "A": 3355.0, "B": 18186.0, "alpha": 0.408, "beta": 0.431, "k": 0.452}, "log"),
    "tokens-floor": ({"E": 1.7, "Dc": 1e9, "alpha_D": 0.28}, "log"),
    "broken-params": ({"a": 1.5, "b": 5.0, "c0": 0.06, "c1": 0.25, "d1": 1e8, "f1": 0.4}, "log"),
    "repeated-data": (
        {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353, "R_N": 5.31, "R_D": 15.4},
        "log",
    ),
}


SLOW = ("coupled", "repeated-data", "broken-params", "over-training", "tokens-floor", "kaplan-tokens")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES],
)
def test_no_other_optimiser_finds_a_lower_objective(name):
    law, (truth, residual) = LAWS[name], CASES[name]
    params, tokens = sweep(5)
    points = replace(points_of(params, tokens, np.ones(30)), unique_tokens=tokens / np.tile([1, 4, 30], 10))
    exact = law.predict(truth, **{v: points.column(v) for v in law.variables})
    noisy = exact * np.exp(0.02 * np.random.default_rng(6).standard_t(2, 30))
    ours = optimise(Problem.of(law, replace(points, loss=noisy), DELTA, residual, 30), 0)
    problem = ours.problem
    assert ours.gradient <= 1e-7 * DELTA * 30

    def value(theta):
        off = residuals(residual, law.log_loss(theta, problem.x), problem.log_target)
        return float((problem.weight * huber(off, DELTA)).sum()) / DELTA

    least = value(ours.theta)
    assert least * DELTA == pytest.approx(ours.value, rel=1e-12)
    lower, upper = np.array(law.bounds).T
    starts = np.clip(law.starts(problem.x, problem.log_target, problem.reference), lower, upper)
    some = starts[np.random.default_rng(0).choice(len(starts), min(6, len(starts)), replace=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trial steps overflow: theirs to handle
        found = [minimize(value, start, method="L-BFGS-B", bounds=law.bounds) for start in some]
        found.append(differential_evolution(value, law.bounds, maxiter=100, popsize=6, rng=1, polish=False))
        best = min(found, key=lambda out: out.fun).x
        for start in (best, ours.theta):
            simplex = {"xatol": 1e-11, "fatol": 1e-13, "maxiter": 4000, "maxfev": 6000, "adaptive": True}
            found.append(minimize(value, start, method="Nelder-Mead", bounds=law.bounds, options=simplex))
            found.append(minimize(value, start, method="Powell", bounds=law.bounds, options={"ftol": 1e-13}))
    assert least <= min(out.fun for out in found) * (1 + 1e-7)
