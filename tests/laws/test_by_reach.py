"""Errors of the rolled hold-out by reach, and predictions widened by them."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.laws import fit_points
from scaling.laws.forms.laws import LAWS
from scaling.laws.points import Points
from scaling.laws.predict import predicted
from scaling.laws.solving.optimise import optimise, refits
from scaling.laws.solving.problem import Problem
from scaling.laws.uncertainty.by_reach import Predictions, by_reach, measure_of, shared_part
from scaling.laws.uncertainty.curvature import influence
from scaling.laws.uncertainty.holdout import corner_splits, splits
from tests.laws import known
from tests.laws.known import few_starts

CHINCHILLA = LAWS["chinchilla"]
TRUTH = dict(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)


def points_of(coupled: float, noise: float, seed: int = 0) -> Points:
    """Six sizes by six budgets, with a term coupled between N and D."""
    params, tokens = np.repeat(np.geomspace(2e7, 2e9, 6), 6), np.tile(np.geomspace(2e9, 2e11, 6), 6)
    extra = coupled * np.sqrt(406.4 * 410.7) * params**-0.17 * tokens**-0.14
    loss = CHINCHILLA.predict(TRUTH, params=params, tokens=tokens) + extra
    error = np.random.default_rng(seed).normal(size=36)
    return known.points_of(params, tokens, loss * np.exp(noise * error))


def test_a_point_predicted_twice_counts_once_and_so_does_its_noise() -> None:
    points = points_of(0.0, 0.0)
    noise = np.zeros((2, 36))
    noise[:, 5], noise[0, 4] = -1.0, -1.0
    rows = [
        Predictions(
            np.array([4, 5]), np.array([3.0, 3.0]), np.array([0.03, 0.01]), np.ones(2), noise[[0, 1]]
        ),
        Predictions(np.array([5, 6]), np.array([3.5, 1.0]), np.array([0.02, 9.0]), np.ones(2), noise[[1, 1]]),
    ]
    found = by_reach(CHINCHILLA, points, rows, scale=0.01)
    (one,) = found.bins
    assert (one.low, one.high, one.n_points, one.n_runs, one.n_predictions) == (2, 4, 2, 2, 3)
    assert one.mean_rel_error == pytest.approx(np.mean([np.expm1(0.03), np.mean(np.expm1([0.01, 0.02]))]))
    # The mean is half the error of point 4, which holds the noise of points 4 and 5, and half of point 5.
    assert one.standard_error == pytest.approx(0.01 * np.hypot(0.5, 1.0))
    assert (found.n_fits, found.n_points, found.largest) == (2, 2, 3.5)
    # Inside the data nothing is measured.
    nothing = by_reach(CHINCHILLA, points, [Predictions(np.array([1]), np.array([1.0]), np.array([1.0]))])
    assert nothing.growth is None and nothing.largest == 1 and not nothing.bins


def test_shared_noise_is_in_the_standard_error() -> None:
    run = np.repeat(np.arange(50), 4)
    random = np.random.default_rng(1)
    together = random.normal(size=50)[run] + 0.5 * random.normal(size=200)
    assert shared_part(together, run, 195) == pytest.approx(0.8, abs=0.08)
    assert shared_part(random.normal(size=200), run, 195) < 0.1
    assert shared_part(together, np.arange(200), 195) == 0


def test_corners_are_smaller_copies_of_a_grid() -> None:
    points = points_of(0.0, 0.0)
    found = corner_splits(CHINCHILLA, points, 4)
    assert [int(fitted.sum()) for fitted, _ in found] == [16, 25]
    for fitted, ahead in found:
        side = round(fitted.sum() ** 0.5)
        assert len(np.unique(points.params[fitted])) == len(np.unique(points.tokens[fitted])) == side
        assert not (fitted & ahead).any() and points.flops[ahead].min() > points.flops[fitted].max()
    # A run with a point beyond is neither fitted nor predicted in part.
    trunk = replace(points, groups=tuple(f"{n:.3g}" for n in points.params))
    assert corner_splits(CHINCHILLA, trunk, 4) == []
    assert corner_splits(LAWS["params-floor"], points, 4) == []
    assert measure_of(LAWS["params-floor"]) == "params" and measure_of(CHINCHILLA) == "flops"


def test_the_influence_of_a_point_is_the_derivative_of_the_fit() -> None:
    points = points_of(0.0, 0.002)
    with few_starts():
        best = optimise(Problem.of(CHINCHILLA, points, 10.0), 0)
        for moved in (0, 35):
            loss = points.loss.copy()
            loss[moved] *= np.exp(1e-4)
            other = Problem.of(CHINCHILLA, replace(points, loss=loss), 10.0)
            theta = refits(other, other.weight[None], best.theta, spread=0).theta[0]
            np.testing.assert_allclose(
                (theta - best.theta) / 1e-4, influence(best)[:, moved], rtol=0.05, atol=0.02
            )


def test_coupled_terms_in_the_truth_are_in_the_widened_interval_only() -> None:
    points = points_of(1.0, 0.002)
    place = {"params": 2e10, "tokens": 2e12}
    truth = float(points_at(1.0, **place))
    with few_starts():
        law = fit_points(points, holdout=None, rolling=4)
    plain = law.model_copy(update={"rolling_by_reach": None})
    found = predicted(law, place)
    assert found.interval is not None and not found.interval[0] < truth < found.interval[1]
    assert found.widened is not None and found.widened[0] < truth < found.widened[1]
    assert found.widened_run is not None and found.widened_run[0] < found.widened[0]
    assert "widened for a bias" in (found.widening or "") and law.rolling_by_reach.growth < -0.01
    assert found.interval == predicted(plain, place).interval  # the law's own is as it was
    alone = predicted(plain, place)
    assert alone.widened == alone.interval and alone.widening is None  # no rolled hold-out
    far = predicted(law, {"params": 2e12, "tokens": 2e14})
    assert far.interval is not None and far.widened is None and "no interval: 1e+06" in (far.widening or "")
    rows = {round(np.log10(row.flops)): row for row in law.optimum.budgets}
    inside, beyond = rows[21], rows[23]
    assert inside.loss_widened == inside.loss_interval and beyond.reach is not None


def points_at(coupled: float, params: float, tokens: float) -> float:
    extra = coupled * np.sqrt(406.4 * 410.7) * params**-0.17 * tokens**-0.14
    return CHINCHILLA.predict(TRUTH, params=params, tokens=tokens) + extra


@pytest.mark.slow
def test_the_true_form_is_hardly_widened() -> None:
    points = points_of(0.0, 0.002)
    with few_starts():
        law = fit_points(points, holdout=None, rolling=4)
    at = {"params": 6e9, "tokens": 6e11}
    (low, high), (wide_low, wide_high) = law.interval(**at), law.widened(**at)
    assert wide_low <= low and wide_high >= high
    assert (wide_high - wide_low) / (high - low) < 1.6
    assert abs(law.rolling_by_reach.growth) < 3 * law.rolling_by_reach.growth_error
    assert splits(CHINCHILLA, points, 4)
