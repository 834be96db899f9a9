"""Known shapes are called what they are, and no unit of compute changes the call."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.laws.emergence import emergence, read_scores
from scaling.laws.emergence.fits import fit_masks
from scaling.laws.emergence.score_table import as_scores
from scaling.laws.emergence.series import series_of
from scaling.laws.emergence.threshold import half_rises
from scaling.runtime.errors import BadInputError
from tests.laws.emergent import drawn, logistic

FAMILIES = ("flat", "smooth", "broken")
SHAPES = {
    "smooth": lambda x: logistic(2.5 * (x - 2.5)),
    "broken": lambda x: logistic(-4 + 5 * max(0, x - 2.2)),
    "flat": lambda x: 0.03,
    "u-shaped": lambda x: 0.1 + 0.5 * ((x - 2) / 2) ** 2,
    "inverse": lambda x: logistic(1.5 - 1.2 * x),
    "saturated": lambda x: 0.99,
}


@cache
def verdicts():
    answer = emergence(drawn(SHAPES, sizes=12, items=4000, seed=1))
    return {v.task: v for v in answer.document.verdicts}


@pytest.mark.parametrize("word", SHAPES)
def test_a_known_shape_is_called_what_it_is(word):
    assert verdicts()[word].word == word


def test_the_numbers_of_a_verdict_point_its_way():
    smooth, broken = verdicts()["smooth"], verdicts()["broken"]
    assert smooth.delta_aicc <= -2 < 2 <= broken.delta_aicc
    assert broken.delta_cv >= max(1.0, broken.delta_cv_error)
    assert broken.best_broken.startswith("flat, then")
    low, high = broken.changepoint.interval
    assert low < 1e18 * 10**2.2 < high < 2 * low
    low, high = smooth.half_rise.interval
    assert low < 1e18 * 10**2.5 < high < 1.5 * low
    # From a tenth to nine tenths: 2 ln 9 over a slope of 2.5 a decade.
    assert smooth.rise_decades == pytest.approx(2 * np.log(9) / 2.5, rel=0.06)


def test_flat_and_saturated_scores_have_no_threshold():
    for word in ("flat", "saturated"):
        assert verdicts()[word].half_rise is None
        assert verdicts()[word].changepoint is None


def test_noise_about_a_flat_score_is_seldom_a_break_by_aicc():
    """Of 40 flat scores at most two, before cross-validation has its say."""
    every = series_of(drawn({"t": SHAPES["flat"]}, repeats=40, sizes=12, seed=9), "flops")
    fits = fit_masks([(series, np.ones(len(series), bool)) for series in every])
    gains = []
    for fit in fits:
        of = {family: [i for i, s in enumerate(fit.shapes) if s.family == family] for family in FAMILIES}
        gains.append(min(map(fit.aicc, of["flat"] + of["smooth"])) - min(map(fit.aicc, of["broken"])))
    assert sum(gain >= 2 for gain in gains) <= 2


def test_few_sizes_leave_it_undecided_with_the_reason():
    scores = drawn({"t": SHAPES["broken"]}, sizes=4)
    (verdict,) = emergence(scores).document.verdicts
    assert verdict.word == "undecided"
    assert "4 sizes" in verdict.why


def test_scatter_between_runs_is_found_and_does_not_make_a_break():
    """Four seeds a size with a scatter of 0.4 in log odds: binomial noise alone would call for a break."""
    scores = drawn({"t": SHAPES["smooth"]}, sizes=8, items=4000, seeds=4, scatter=0.4, seed=3)
    (verdict,) = emergence(scores).document.verdicts
    assert 0.25 < verdict.scatter < 0.6
    assert verdict.word in ("smooth", "undecided")


def test_chance_is_a_floor_of_choices():
    curve = {"t": lambda x: 0.25 + 0.75 * logistic(3 * (x - 2.6))}
    (verdict,) = emergence(drawn(curve, chance=0.25, metric="choice_accuracy")).document.verdicts
    assert verdict.form == "smooth"
    assert "over" in verdict.best_smooth
    low, high = verdict.half_rise.interval
    assert low < 1e18 * 10**2.6 < high


# Exact match of one run per size, 500 items: nothing, and then all of it between two neighbouring sizes.
SIZES = (1524, 3816, 6876, 10704, 20664, 33696, 68976, 176400)
STEEP = (0.0, 0.0, 0.004, 0.996, 1.0, 1.0, 1.0, 1.0)


def _one_run_per_size(score, metric="exact_match"):
    rows = {
        "task": ["t"] * len(SIZES),
        "metric": [metric] * len(SIZES),
        "group": [str(size) for size in SIZES],
        "score": list(score),
        "params": list(SIZES),
        "n": [500] * len(SIZES),
    }
    (verdict,) = emergence(as_scores(rows, "drawn")).document.verdicts
    return verdict


def test_a_steep_sigmoid_that_its_lower_end_does_not_predict_is_unforeseen():
    verdict = _one_run_per_size(STEEP)
    assert verdict.form != "broken"
    assert verdict.word == "unforeseen"
    assert verdict.foresight.threshold == pytest.approx(10704)
    first = verdict.foresight.forecasts[0]
    assert first.measured == 0.996
    assert first.predicted < 0.2


def test_what_jumps_with_too_few_sizes_before_it_is_not_called_smooth():
    verdict = _one_run_per_size((0.0, 0.0, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert verdict.foresight.foreseen is None
    assert verdict.word not in ("smooth", "flat", "saturated")


def test_breaks_say_which_way():
    assert verdicts()["broken"].direction == "faster"
    assert verdicts()["smooth"].direction is None


def test_a_half_rise_is_averaged_over_shapes():
    """The interval is about as wide as the best shape's or wider, and holds the truth."""
    scores = drawn({"t": lambda x: np.exp(-np.log(2) * 10 ** (-0.5 * (x - 2.5)))}, sizes=8, items=200, seed=4)
    (verdict,) = emergence(scores).document.verdicts
    assert sum(verdict.half_rise_weights.values()) == pytest.approx(1)
    assert len(verdict.half_rise_weights) > 1
    (series,) = series_of(scores, "flops")
    (fit,) = fit_masks([(series, np.ones(len(series), bool))])
    index = [shape.name for shape in fit.shapes].index(verdict.best_smooth)
    (alone,) = half_rises([fit], [index])
    low, high = verdict.half_rise.interval
    assert (high or np.inf) / (low or 0.1) >= 0.9 * alone.interval[1] / alone.interval[0]
    assert low < 1e18 * 10**2.5 < high


def test_log_probabilities_stay_at_or_below_0():
    verdict = _one_run_per_size((-6.0, -4.0, -2.5, -1.2, -0.5, -0.1, 0.0, 0.0), "answer_log_prob")
    for forecast in (*verdict.forecasts, *verdict.foresight.forecasts):
        assert forecast.interval[0] <= forecast.predicted <= forecast.interval[1] <= 0


def test_log_probabilities_have_gaussian_noise_and_power_laws():
    random = np.random.default_rng(0)
    x = np.linspace(0, 4, 12)
    rows = {
        "task": ["t"] * 12,
        "metric": ["answer_log_prob"] * 12,
        "group": [str(v) for v in x],
        "score": list(-8 * 10 ** (-0.3 * x) + 0.05 * random.standard_normal(12)),
        "flops": list(1e18 * 10**x),
    }
    (verdict,) = emergence(as_scores(rows, "drawn")).document.verdicts
    assert (verdict.noise, verdict.word, verdict.best_smooth) == ("gaussian", "smooth", "power law")
    (ahead,) = verdict.forecasts
    assert ahead.inside
    assert abs(ahead.error) < 0.3


def test_a_sigmoid_is_fitted_as_scipy_fits_it():
    """The least binomial deviance of level and slope, from SciPy's own minimiser."""
    from scipy.optimize import minimize
    from scipy.special import xlogy

    (series,) = series_of(drawn({"t": SHAPES["smooth"]}, seed=7), "flops")
    (fit,) = fit_masks([(series, np.ones(len(series), bool))])
    index = [s.name for s in fit.shapes].index("sigmoid")

    def deviance(theta):
        p = 1 / (1 + np.exp(-theta[0] - theta[1] * series.x))
        y = series.y
        terms = xlogy(y, y) - xlogy(y, p) + xlogy(1 - y, 1 - y) - xlogy(1 - y, 1 - p)
        return 2 * (series.trials * terms).sum()

    theirs = minimize(deviance, [0.0, 1.0], method="BFGS").fun
    assert fit.deviance[fit.shape == index].min() == pytest.approx(theirs, rel=1e-4)


@settings(max_examples=8, deadline=None)
@given(unit=st.floats(1e-12, 1e12), power=st.floats(0.2, 5.0))
def test_no_unit_or_power_of_scale_changes_the_fit(unit, power):
    scores = drawn({"t": SHAPES["smooth"]}, sizes=8)
    other = dataclasses.replace(scores, flops=unit * (scores.flops / 1e18) ** power)
    series, moved = series_of(scores, "flops")[0], series_of(other, "flops")[0]
    mask = np.ones(len(series), bool)
    first, second = fit_masks([(series, mask), (moved, mask)])
    for i in range(len(first.shapes)):
        assert first.aicc(i) == pytest.approx(second.aicc(i), abs=1e-4)
    assert moved.scale_of(0.3) == pytest.approx(unit * (series.scale_of(0.3) / 1e18) ** power, rel=1e-6)


def test_over_steps_each_size_has_its_own_curve():
    rows = {name: [] for name in ("task", "metric", "group", "score", "params", "step", "n")}
    random = np.random.default_rng(0)
    for params in (1e6, 1e7):
        for step in (0, 10, 30, 100, 300, 1000, 3000):
            p = logistic(1.5 * (np.log10(step + 1) + np.log10(params) - 9))
            row = ("t", "exact_match", f"{params}", random.binomial(500, p) / 500, params, step, 500)
            for column, cell in zip(rows.values(), row, strict=True):
                column.append(cell)
    scores = as_scores(rows, "drawn")
    answer = emergence(scores, "step")
    assert [v.size for v in answer.document.verdicts] == [1e6, 1e7]
    assert all(v.n_points == 7 for v in answer.document.verdicts)
    with pytest.raises(BadInputError, match="one value of params"):
        emergence(scores.subset(scores.params == 1e6), "params")


def test_published_by_one_name():
    assert len(emergence(read_scores("gpt3"), tasks=["2D+"], shots=[0]).document.verdicts) == 1
