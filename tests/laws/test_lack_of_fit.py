"""The F test of a law's form against the noise between seeds."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.api.text.blocks import text_of
from scaling.api.text.laws import law_blocks
from scaling.laws import LAWS, Points, fit_points
from scaling.laws.solving.optimise import BestFit
from scaling.laws.solving.problem import Problem
from scaling.laws.uncertainty.lack_of_fit import lack_of_fit, rejected_form
from tests.laws.known import TRUE, few_starts, points_of

TRUTH = {
    "chinchilla": TRUE,
    "coupled": {"E": 1.22, "A": 3355.0, "B": 18186.0, "alpha": 0.408, "beta": 0.431, "k": 0.452},
}


def repeated(law: str, noise: float, seed: int, seeds: int = 2) -> Points:
    """Five sizes by five token budgets, each with several seeds."""
    size, budget = np.geomspace(3e7, 3e9, 5), np.geomspace(1e9, 1e11, 5)
    params, tokens = np.repeat(np.repeat(size, 5), seeds), np.repeat(np.tile(budget, 5), seeds)
    exact = LAWS[law].predict(TRUTH[law], params=params, tokens=tokens)
    error = np.random.default_rng(seed).normal(size=len(params))
    points = points_of(params, tokens, exact * np.exp(noise * error))
    return replace(points, seeds=tuple(str(i % seeds) for i in range(len(params))))


def f_test(points: Points, law: str = "chinchilla"):
    """The test at the least squares fit, from near the truth."""
    form = LAWS[law]
    problem = Problem.of(form, points, 0.3, width=len(points))
    return lack_of_fit(BestFit(problem, form.theta(TRUTH[law], problem.reference), 0.0, 0.0, 0, 0), points)


def test_the_test_is_that_of_the_textbook():
    points = repeated("chinchilla", 0.004, 0)
    found = f_test(points)
    log_loss = np.log(points.loss)
    pure = (np.diff(log_loss.reshape(25, 2)) ** 2 / 2).sum()
    with few_starts():
        fit = fit_points(points, delta=10.0, holdout=None)
    residual = np.log(fit.predict(params=points.params, tokens=points.tokens)) - log_loss
    assert (found.dof, found.pure_dof, found.reason) == (20, 25, None)
    assert found.seeds_std == pytest.approx(np.sqrt(pure / 25), rel=1e-9)
    assert found.f == pytest.approx(((residual**2).sum() - pure) / 20 / (pure / 25), rel=1e-6)
    assert fit.lack_of_fit.f == pytest.approx(found.f, rel=1e-6)
    assert "lack of fit F(20, 25)" in text_of(law_blocks(fit))
    assert not [w for w in fit.warnings if "form does not hold" in w]


def test_its_size_is_nominal_and_a_coupled_truth_is_found():
    p = np.array([f_test(repeated("chinchilla", 0.004, s)).p for s in range(40)])
    assert (p < 0.01).sum() <= 2
    assert 2 <= (p < 0.2).sum() <= 15
    coupled = np.array([f_test(repeated("coupled", 0.004, s)).p for s in range(6)])
    assert (coupled < 0.01).all()


@pytest.mark.slow
def test_its_size_and_power_in_many_draws():
    p = np.array([f_test(repeated("chinchilla", 0.004, s)).p for s in range(1000)])
    assert abs((p < 0.01).mean() - 0.01) < 0.01
    assert abs((p < 0.05).mean() - 0.05) < 0.02
    right = np.array([f_test(repeated("coupled", 0.004, s), "coupled").p for s in range(200)])
    assert (right < 0.01).mean() < 0.04


def test_a_rejected_form_is_one_warning_that_names_what_to_do():
    points = repeated("coupled", 0.002, 1)
    with few_starts():
        fit = fit_points(points, holdout=None)
    assert fit.lack_of_fit.p < 1e-4
    (warning,) = [w for w in fit.warnings if "form does not hold" in w]
    assert "--law auto" in warning
    assert warning == rejected_form(fit.lack_of_fit)


def test_of_a_run_with_branches_the_longest_counts():
    """Branches of one trunk are no replicates, and share their noise."""
    points = repeated("chinchilla", 0.004, 3)
    doubled = points.subset(np.repeat(np.arange(len(points)), 2))
    shorter = replace(
        doubled,
        tokens=doubled.tokens * np.tile([0.5, 1.0], len(points)),
        groups=tuple(f"run {i // 2}" for i in range(2 * len(points))),
    )
    assert f_test(shorter).dof == 20
    assert f_test(shorter).f == pytest.approx(f_test(points).f, rel=1e-6)


def test_without_a_test_the_reason_is_given():
    points = repeated("chinchilla", 0.004, 0)
    assert f_test(replace(points, seeds=("0",) * len(points))).reason == "no runs differ only in their seed"
    single = f_test(points.subset(np.arange(0, len(points), 2)))
    assert (single.f, single.p, single.reason) == (None, None, "no runs differ only in their seed")
    assert rejected_form(single) is None
    exact = replace(points, loss=np.repeat(points.loss[::2], 2))
    assert f_test(exact).reason == "runs that differ only in their seed agree exactly"
    few = points.subset(np.array([0, 1, 12, 13, 24, 25, 36, 37, 48, 49]))
    assert f_test(few).reason == "too few different budgets to test the form with"
