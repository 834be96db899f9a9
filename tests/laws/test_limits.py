"""Where a parameter runs to its limit: the limiting form is fitted, compared and reported."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from scaling.api.text.blocks import text_of
from scaling.api.text.laws import law_blocks
from scaling.estimate.loss_law import read_loss_law
from scaling.laws import LAWS, fit_points, read_law
from scaling.laws.forms.limiting import limiting_form
from scaling.laws.uncertainty.noise import drop_quantile
from scaling.plots.report_law import law_section
from scaling.plots.report_runs import summary
from tests.laws.known import TRUE, few_starts, ladder, points_of
from tests.laws.test_forms import TRUTH, grid

NO_E = {"E": 0.0, "A": 150.0, "B": 100.0, "alpha": 0.28, "beta": 0.22}


def small_ladder(truth=NO_E, noise=0.004, seed=0):
    """Seven sizes up to 10M, as a demo trains them: small enough that E is a small part of the loss."""
    params = np.repeat(np.geomspace(1e5, 1e7, 7), 4)
    tokens = params * np.tile([5, 10, 20, 40], 7)
    loss = truth["E"] + truth["A"] / params ** truth["alpha"] + truth["B"] / tokens ** truth["beta"]
    return points_of(params, tokens, loss * np.exp(noise * np.random.default_rng(seed).normal(size=28)))


def strict(fit):
    """The document as JSON that has no NaN and no infinity."""
    return json.loads(fit.model_dump_json(), parse_constant=lambda word: pytest.fail(f"{word} in law.json"))


@pytest.fixture(scope="module")
def without_e():
    with few_starts():
        return fit_points(
            small_ladder(), delta="paper", bootstrap=100, profile=True, rolling=2, sensitivity=True
        )


def test_e_at_zero_is_absent_and_called_unidentified_everywhere(without_e, capsys, tmp_path):
    fit, document = without_e, strict(without_e)
    assert fit.equation == "L(N, D) = A / N^alpha + B / D^beta"
    assert document["parameters"]["E"] == 0.0
    assert document["unidentified"] == ["E"]
    (limit,) = fit.limits
    assert (limit.parameter, limit.limit, limit.adopted) == ("E", 0.0, True)
    assert limit.statistic < limit.threshold
    assert abs(limit.rise) < 1e-6
    assert limit.other["alpha"] == pytest.approx(fit.parameters["alpha"], abs=1e-3)  # of the full form
    for low, high in (fit.intervals["E"], fit.profile["E"].interval):
        assert low is None
        assert 0.01 < high < 1.0
    assert not fit.profile["E"].identified
    assert fit.hessian.intervals["E"] is None
    assert any(w.startswith("E is unidentified") for w in fit.warnings)
    assert "unidentified: E" in text_of(law_blocks(fit))
    section = law_section(fit)
    assert "not identified" in section
    assert "below 0." in section
    assert "not identified by these runs" in summary(small_ladder(), fit, ())
    fit.write(tmp_path / "law.json")
    again = read_law(tmp_path / "law.json")
    assert again == fit
    assert again.form is fit.form
    plan = read_loss_law(tmp_path / "law.json")
    assert plan.loss(1e8, 2e9) == pytest.approx(float(fit.predict(params=1e8, tokens=2e9)))


def test_the_others_have_the_limiting_forms_intervals(without_e):
    fit = without_e
    for name in ("A", "B", "alpha", "beta"):
        for low, high in (fit.intervals[name], fit.profile[name].interval, fit.hessian.intervals[name]):
            assert low < NO_E[name] * 1.02
            assert NO_E[name] * 0.98 < high
    # Without noise in E the exponents are known to a few hundredths; with E free they are not.
    assert fit.hessian.intervals["alpha"][1] - fit.hessian.intervals["alpha"][0] < 0.04
    assert fit.optimum.a == pytest.approx(0.22 / 0.5, abs=0.03)
    truth = LAWS["chinchilla"].predict(NO_E, params=1e8, tokens=2e9)
    low, high = fit.interval(params=1e8, tokens=2e9)
    assert low < truth < high
    assert all(row.parameters["E"] == 0 for row in (*fit.rolling, *fit.sensitivity) if row.parameters)


def test_an_identified_e_stays(tmp_path):
    with few_starts():
        fit = fit_points(ladder(0.003, 1, sizes=10), bootstrap=40, holdout=None)
    assert fit.limits == ()
    assert fit.unidentified == ()
    assert fit.equation == LAWS["chinchilla"].equation
    assert fit.intervals["E"][0] < TRUE["E"] < fit.intervals["E"][1]


def test_an_e_that_may_be_zero_has_a_one_sided_interval_in_the_full_form():
    """Noise of 2% on a short ladder: E is estimated, and 0 is not excluded."""
    truth = NO_E | {"E": 0.3}
    with few_starts():
        fits = [fit_points(small_ladder(truth, 0.01, s), holdout=None, bootstrap=60) for s in range(4)]
    kept = [fit for fit in fits if fit.limits and not fit.limits[0].adopted]
    assert kept
    for fit in kept:
        assert fit.parameters["E"] > 0
        assert fit.equation == LAWS["chinchilla"].equation
        assert "E" in fit.unidentified
        assert fit.intervals["E"][0] is None
        assert fit.hessian.intervals["E"] is None
        assert fit.limits[0].other["E"] == 0


def test_a_term_that_the_points_do_not_need_is_absent():
    """Where tokens change nothing B is 0, beta means nothing, and there is no compute optimum."""
    points = ladder(0.003)
    noise = points.loss / ladder().loss
    loss = (TRUE["E"] + TRUE["A"] / points.params ** TRUE["alpha"]) * noise
    with few_starts():
        fit = fit_points(
            points_of(points.params, points.tokens, loss), holdout=None, bootstrap=30, profile=True
        )
    document = strict(fit)
    if any(limit.adopted for limit in fit.limits):
        assert fit.equation == "L(N, D) = E + A / N^alpha"
        assert document["parameters"]["B"] == 0
        assert document["parameters"]["beta"] is None
        assert fit.optimum is None
        assert fit.frontier() is None
    assert {"B", "beta"} <= set(fit.unidentified)
    assert fit.hessian.intervals["beta"] is None
    assert fit.parameters["alpha"] == pytest.approx(TRUE["alpha"], abs=0.02)
    assert float(fit.predict(params=1e9, tokens=1e10)) == pytest.approx(
        TRUE["E"] + TRUE["A"] / 1e9 ** TRUE["alpha"], rel=0.01
    )


def repeated(truth, noise=0.002):
    points, law = grid(), LAWS["repeated-data"]
    loss = law.predict(truth, **{v: points.column(v) for v in law.variables})
    return replace(points, loss=loss * np.exp(noise * np.random.default_rng(7).normal(size=len(points))))


@pytest.mark.slow
def test_infinite_half_lives_of_repeated_data():
    """R_N and R_D without a limit: no bound bends alpha, and where they are finite they are found."""
    truth = TRUTH["repeated-data"]
    found = fit_points(repeated(truth), "repeated-data", delta=1e-2, holdout=None, profile=True)
    assert found.unidentified == ()
    for name in ("R_N", "R_D"):
        assert found.parameters[name] == pytest.approx(truth[name], rel=0.1)
        low, high = found.profile[name].interval
        assert low < truth[name] < high
    without = truth | {"R_N": np.inf, "R_D": np.inf}
    fit = fit_points(repeated(without), "repeated-data", delta=1e-2, holdout=None, profile=True, bootstrap=20)
    document = strict(fit)
    assert {"R_N", "R_D"} == set(document["unidentified"])
    assert document["parameters"]["R_D"] is None
    for name in ("R_N", "R_D"):
        low, high = fit.profile[name].interval
        assert low > 50
        assert high is None
        assert fit.intervals[name][1] is None
    for name in ("E", "A", "B", "alpha", "beta"):
        low, high = fit.hessian.intervals[name]
        assert low < truth[name] < high
    place = {"params": 1e9, "tokens": 1e11, "unique_tokens": 1e9}
    exact = LAWS["repeated-data"].predict(without, **place)
    assert float(fit.predict(**place)) == pytest.approx(float(exact), rel=0.005)


@pytest.mark.slow
def test_half_lives_without_repetition_are_unidentified_on_both_sides():
    points = repeated(TRUTH["repeated-data"])
    points = replace(points, unique_tokens=points.tokens)
    fit = fit_points(points, "repeated-data", delta=1e-2, holdout=None)
    assert fit.parameters["R_D"] is None
    both = [limit.limit for limit in fit.limits if limit.parameter == "R_D"]
    assert sorted(both, key=str) == [0.0, None]
    assert "R_D" in fit.unidentified


@pytest.mark.slow
def test_a_break_that_is_none_is_absent():
    size = np.geomspace(1e7, 1e11, 40)
    points = points_of(size, 20 * size, np.ones(40))
    loss = 1.5 + 50 * points.flops**-0.08
    noise = np.exp(0.002 * np.random.default_rng(1).normal(size=40))
    fit = fit_points(replace(points, loss=loss * noise), "broken-compute", delta=0.3, holdout=None)
    document = strict(fit)
    assert fit.equation.startswith("L(C) = a + b C^-c0") or fit.equation.startswith("L(C) = b C^-c0")
    assert "d1" not in fit.equation
    assert {"c1", "d1", "f1"} <= set(document["unidentified"])
    assert document["parameters"]["d1"] is None
    np.testing.assert_allclose(fit.predict(flops=points.flops), loss, rtol=0.003)


@pytest.mark.parametrize("law", ["params-floor", "tokens-floor"])
def test_a_pure_power_law_has_no_floor(law):
    size = np.geomspace(1e7, 1e11, 30)
    points = points_of(size, size[::-1] * 3, np.ones(30))
    x = points.column(LAWS[law].variables[0])
    loss = (8.8e13 / x) ** 0.076 * np.exp(0.002 * np.random.default_rng(0).normal(size=30))
    fit = fit_points(replace(points, loss=loss), law, holdout=None, bootstrap=50)
    assert fit.unidentified == ("E",)
    if fit.limits[0].adopted:
        assert fit.parameters["E"] == 0
        assert list(fit.parameters.values())[2] == pytest.approx(0.076, abs=0.002)
    assert fit.intervals["E"][0] is None
    assert fit.intervals["E"][1] < 2


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if law.limits])
def test_every_limit_is_the_law_without_its_parameter(name):
    """The equation changes, the held entries are not fitted, and what is reported translates back."""
    law = LAWS[name]
    reference = np.full(len(law.variables), 1.0 if "loss" in law.variables else 20.0)
    x = np.random.default_rng(0).normal(size=(6, len(law.variables)))
    start = law.starts(x, np.full(6, 1.0), reference)[-1]
    sets = [(limit,) for limit in law.limits]
    sets += [
        p for p in combinations(law.limits, 2) if not {i for i, _ in p[0].held} & {i for i, _ in p[1].held}
    ]
    for limits in sets:
        form = limiting_form(law, limits)
        held = {i for limit in limits for i, _ in limit.held}
        assert form.free.tolist() == [i not in held for i in range(len(law.theta_names))]
        assert form.min_points == law.min_points - len(held)
        low, high = np.array(form.bounds).T
        theta = np.clip(start, low, high)
        named = dict(zip(form.parameter_names, form.parameters(theta, reference), strict=True))
        np.testing.assert_allclose(form.theta(named, reference), theta, rtol=1e-9, atol=1e-9)
        for limit in limits:
            assert named[limit.parameter] == (np.inf if limit.value is None else limit.value)
            assert np.isnan([named[other] for other in limit.absent]).all()
            for old, _ in limit.rewrite:
                assert old in law.equation
        assert form.equation != law.equation
        assert form.program is law


def test_the_threshold_is_that_of_f():
    for held, freedom in ((1, 7), (2, 20), (3, 100)):
        assert drop_quantile(0.95, held, freedom) == pytest.approx(
            held * stats.f.ppf(0.95, held, freedom), rel=1e-5
        )
