"""The delete-one jackknife against closed forms, and where it gives the intervals of a power law."""

import numpy as np
import pytest
from scipy import stats

from scaling.laws.frontier.power_law import fit_power_law
from scaling.laws.uncertainty.resample import expanded, jackknife, leave_one_out


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 9)
    deleted = leave_one_out(np.arange(9)) @ values / 8
    low, high = jackknife(values.mean(), deleted) or (np.nan, np.nan)
    expected = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    assert (float(low), float(high)) == pytest.approx(expected, rel=1e-7)


def test_few_runs_or_missing_estimates_have_no_jackknife() -> None:
    assert jackknife(np.array(1.0), np.ones(4)) is None
    assert jackknife(np.array(1.0), np.array([1.0, 1.1, 0.9, np.nan, 1.0])) is None


def test_whole_runs_are_left_out() -> None:
    assert leave_one_out(np.array([0, 0, 1])).tolist() == [[0, 0, 1], [1, 1, 0]]


def test_a_power_law_falls_back_on_the_jackknife() -> None:
    flops = np.array([1e18, 1e19, 1e20, 1e21])
    log_values = 2.0 + 0.5 * np.log(flops)
    noise = 0.1 * np.random.default_rng(1).standard_normal((6, 4))
    undetermined = np.full((10, 4), np.nan)
    law = fit_power_law(flops, np.exp(log_values), None, undetermined, log_values + noise)
    assert law.interval_method == "jackknife"
    low, high = law.exponent_interval or (np.nan, np.nan)
    assert low < 0.5 < high
    bottom, top = law.interval(flops) or (np.nan, np.nan)
    assert (bottom < law.predict(flops)).all() and (law.predict(flops) < top).all()
    # Where resamples determine the exponent, they give the interval.
    assert fit_power_law(flops, np.exp(log_values), None, log_values + noise).interval_method == "bootstrap"


def test_draws_are_widened_along_the_valley():
    """Of a straight model a factor of theta; of a curved one a factor of the predictions, not of theta."""
    random = np.random.default_rng(0)
    design, centre, draws = random.normal(size=(6, 3)), np.array([1.0, 2.0, -1.0]), random.normal(size=(5, 3))
    far = np.array([[-1e9] * 3, [1e9] * 3])
    straight = expanded(lambda theta: design @ theta, centre, draws, 1.3, far)
    np.testing.assert_allclose(straight, centre + 1.3 * (draws - centre), rtol=1e-6)

    def power(theta):
        return np.exp(theta[0] - np.exp(theta[1]) * np.array([0.0, 5.0]))

    best, draw = np.array([1.0, -1.5]), np.array([[1.1, -0.5]])
    moved = expanded(power, best, draw, 1.1, far[:, :2])[0]
    np.testing.assert_allclose(power(moved) - power(best), 1.1 * (power(draw[0]) - power(best)), rtol=1e-3)
    assert not np.allclose(moved, best + 1.1 * (draw[0] - best), rtol=1e-2)
