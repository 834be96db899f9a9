"""Profile and Hessian intervals against closed forms, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from scaling.laws import LAWS, fit_points
from scaling.laws.forms.quantities import quantities
from scaling.laws.solving.optimise import BestFit
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.solver import solve
from scaling.laws.uncertainty.curvature import curvature, curvature_intervals
from scaling.laws.uncertainty.noise import CHOSEN, t_quantile
from tests.laws.known import TRUE, few_starts, ladder, points_of

LEVEL = 0.95


def line(n=12, noise=0.02, seed=0, weight=None):
    """Points of a pure power law of N, and x, y of its straight line in logs."""
    random = np.random.default_rng(seed)
    params = np.geomspace(1e6, 1e10, n)
    loss = (1e13 / params) ** 0.08 * np.exp(noise * random.normal(size=n))
    points = points_of(params, 20 * params, loss)
    if weight is not None:
        points.weight[:] = weight
    return points, np.log(params), np.log(loss)


@pytest.mark.parametrize("freedom", [1, 2, 5, 30, 400])
def test_the_quantile_is_that_of_students_t(freedom):
    assert t_quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_least_squares_of_a_line_has_the_t_intervals_of_ordinary_least_squares():
    points, x, y = line()
    fit = fit_points(points, "params-power", delta=10.0, holdout=None, profile=True)
    ols = stats.linregress(x, y)
    half = stats.t.ppf(0.975, len(x) - 2) * ols.stderr
    assert fit.parameters["alpha_N"] == pytest.approx(-ols.slope, rel=1e-6)
    for ends in (fit.hessian.intervals["alpha_N"], fit.profile["alpha_N"].interval):
        assert ends == pytest.approx((-ols.slope - half, -ols.slope + half), rel=2e-4)
    # Nc is where the line is 0: the profile's ends solve a quadratic (Fieller 1954), the Hessian's do not.
    n, t, s2 = len(x), stats.t.ppf(0.975, len(x) - 2), ((y - ols.intercept - ols.slope * x) ** 2).sum()
    s2 /= n - 2
    spread = ((x - x.mean()) ** 2).sum()
    a = ols.slope**2 - t * t * s2 / spread
    b = ols.slope * y.mean()
    c = y.mean() ** 2 - t * t * s2 / n
    roots = np.sort((-b + np.array([-1, 1]) * np.sqrt(b * b - a * c)) / a) + x.mean()
    assert np.log(fit.profile["Nc"].interval) == pytest.approx(roots, rel=1e-4)
    assert fit.profile["Nc"].identified


def test_weights_scale_out_of_both_intervals():
    one = fit_points(line()[0], "params-power", delta=0.01, holdout=None, profile=True)
    seven = fit_points(line(weight=7.0)[0], "params-power", delta=0.01, holdout=None, profile=True)
    assert seven.hessian.intervals["alpha_N"] == pytest.approx(one.hessian.intervals["alpha_N"], rel=1e-6)
    assert seven.profile["alpha_N"].interval == pytest.approx(one.profile["alpha_N"].interval, rel=1e-4)


def all_at_once(form, x, observed, start, delta):
    """(sets, P) fits of data sets (sets, n): the points of all stand in a row, and weights pick one's."""
    sets, n = observed.shape
    problem = Problem(
        form, np.tile(x, (sets, 1)), observed.ravel(), np.ones(sets * n), np.zeros(x.shape[1]), delta
    )
    weights, starts = np.kron(np.eye(sets), np.ones(n)), np.tile(start, (sets, 1))
    return solve(problem, weights, np.arange(sets), starts, np.full(sets, 0.05)).theta


@pytest.mark.parametrize(
    ("law", "delta", "kind"),
    [
        ("chinchilla", 1e-3, "normal"),
        pytest.param("chinchilla", 10.0, "normal", marks=pytest.mark.slow),
        ("params-power", 1e-3, "student"),
    ],
)
def test_hessian_intervals_hold_the_truth_as_often_as_they_say(law, delta, kind):
    """150 data sets each; of 95% intervals between 90 and 99.5 in a hundred hold it."""
    form, sets = LAWS[law], 150
    points = ladder(sizes=12, multiples=(5, 20, 80))
    if law == "params-power":
        params = np.geomspace(1e6, 1e10, 30)
        points = points_of(params, params, (1e13 / params) ** 0.08)
    truth = TRUE if law == "chinchilla" else {"Nc": 1e13, "alpha_N": 0.08}
    random = np.random.default_rng(7)
    size = (sets, len(points))
    draw = {"normal": random.normal, "laplace": random.laplace}.get(kind)
    error = random.standard_t(3, size) if draw is None else draw(size=size)
    observed = np.log(points.loss) + 0.004 * error
    columns = np.log(np.stack([points.column(name) for name in form.variables], axis=1))
    reference = columns.mean(axis=0)
    x, start = columns - reference, form.theta(truth, reference)
    thetas = np.concatenate([all_at_once(form, x, y, start, delta) for y in np.split(observed, 3)])
    asked = quantities(form, reference, float(points.flops.max()))
    true = dict(zip(asked.names, asked.scaled(start), strict=True))
    held = dict.fromkeys(asked.names, 0)
    for theta, y in zip(thetas, observed, strict=True):
        best = BestFit(Problem(form, x, y, np.ones(len(y)), reference, delta), theta, 0.0, 0.0, 1, 1)
        ends, _ = curvature_intervals(curvature(best), asked, theta, LEVEL)
        for name, (low, high) in ends.items():
            held[name] += low <= asked.reported(true[name], name) <= high
    assert {k: v / sets for k, v in held.items() if not 0.9 <= v / sets <= 0.995} == {}


def test_profile_and_hessian_agree_where_the_fit_is_well_held():
    with few_starts():
        fit = fit_points(ladder(0.003, 1, sizes=10), holdout=None, profile=True)
    assert set(fit.profile) == {*fit.parameters, "a", "tokens_per_param"}
    for name, one in fit.profile.items():
        assert one.identified
        assert list(one.grid) == sorted(one.grid)
        assert min(one.objective) == pytest.approx(fit.objective.value, rel=1e-9)
        widths = [np.log(high) - np.log(low) for low, high in (one.interval, fit.hessian.intervals[name])]
        assert 0.6 < widths[0] / widths[1] < 1.6
    assert fit.hessian.condition > 1
    assert "log A/N^alpha" in fit.hessian.flattest


def test_what_the_points_do_not_hold_is_unidentified():
    """Tokens that vary by 2% say nothing of beta: the loss barely depends on them."""
    random = np.random.default_rng(0)
    params = np.tile(np.geomspace(1e7, 1e10, 10), 3)
    tokens = np.repeat([1e11, 1.01e11, 1.02e11], 10)
    loss = TRUE["E"] + TRUE["A"] / params ** TRUE["alpha"] + TRUE["B"] / tokens ** TRUE["beta"]
    points = points_of(params, tokens, loss * np.exp(0.003 * random.normal(size=30)))
    with few_starts():
        fit = fit_points(points, holdout=None, profile=True)
    beta = fit.profile["beta"]
    assert not beta.identified
    assert None in beta.interval
    assert beta.flat_range[0] < 0.28 < beta.flat_range[1]
    assert fit.profile["alpha"].identified
    assert any("beta is unidentified" in warning for warning in fit.warnings)


def test_a_perfect_fit_has_no_noise_to_measure_by():
    with few_starts():
        fit = fit_points(ladder(), holdout=None, profile=True)
    assert fit.profile == {}
    assert set(fit.hessian.intervals.values()) == {None}
    assert fit.hessian.reason


@pytest.mark.parametrize("law", ["compute-power", "compute-envelope"])
def test_a_law_of_the_points_of_low_loss_has_no_intervals(law):
    """Of 48 runs on a power law of compute, the hull is those that are low by chance."""
    compute = np.geomspace(1e17, 1e22, 48)
    exact = 1.7 * (law == "compute-envelope") + (1e19 / compute) ** 0.15
    params = np.sqrt(compute / 120)
    off = []
    for seed in range(8):
        noise = 0.005 * np.random.default_rng(seed).normal(size=48)
        points = points_of(params, compute / 6 / params, exact * np.exp(noise))
        off.append(np.log(fit_points(points, law, holdout=None).predict(flops=compute) / exact).mean())
    assert np.mean(off) < -0.5 * 0.005  # the fit is too low
    fit = fit_points(points, law, bootstrap=20, holdout=0.2, profile=True, rolling=4)
    assert fit.bootstrap_refused == CHOSEN and fit.hessian.reason == CHOSEN and CHOSEN in fit.warnings
    assert fit.intervals == fit.profile == {} and set(fit.hessian.intervals.values()) == {None}
    assert fit.interval(flops=1e23) is None
    assert {one.interval for one in fit.holdout.predictions} == {None}
