import numpy as np
import pytest

from scaling.laws import LAWS
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.frontier.isoflop import fit_isoflops, isoflop_minima
from scaling.laws.frontier.power_law import fit_power_law
from scaling.laws.frontier.projection import fit_projected
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, ladder, points_of
from tests.laws.valleys import BUDGETS, exponent, valleys

# An unequal pair of exponents: the valley is steeper on one side.
SKEWED = {"E": 1.7, "A": 2000.0, "B": 60.0, "alpha": 0.46, "beta": 0.19}


@pytest.mark.parametrize("method", ["windowed", "parabola", "akima"])
def test_the_exponent_of_a_known_law_is_covered(method):
    points = valleys(span=3, noise=1e-3, seed=1)
    fit = fit_isoflops(points, method, bootstrap=400, noise=2e-3)
    low, high = fit.params.exponent_interval
    assert low < exponent() < high
    assert high - low < 0.15
    assert fit.params.exponent == pytest.approx(exponent(), abs=0.04)
    assert fit.tokens.exponent == pytest.approx(1 - fit.params.exponent, abs=1e-9)
    assert fit.params.n == len(BUDGETS)
    low, high = fit.params.interval(1e22)
    assert low < LAWS["chinchilla"].optimum(TRUE).params(1e22) < high


def test_intervals_cover_about_as_often_as_they_say():
    hits = []
    for seed in range(40):
        interval = fit_isoflops(
            valleys(span=3, noise=1e-3, seed=seed), bootstrap=200, seed=seed
        ).params.exponent_interval
        hits.append(interval[0] < exponent() < interval[1])
    assert 0.8 <= np.mean(hits) <= 1.0


@pytest.mark.parametrize(
    ("grid", "bias"),
    [
        # The same law, no noise at all. Narrow grids centred on the optimum: as good as exact.
        ({"span": 1.5}, (0.0, 1e-3)),
        # Wide, but centred everywhere alike: each minimum is off by nearly the same factor.
        ({"span": 8.0}, (0.0, 4e-3)),
        # Centres that drift from the optimum with compute, as a first guess of the exponent does: the
        # factor changes with the budget, and that is an error of the exponent.
        ({"span": 8.0, "skew": 0.4, "drift": 0.25}, (0.005, 0.2)),
    ],
    ids=["narrow", "wide", "drifting"],
)
def test_parabolas_are_biased_on_skewed_grids_and_projection_is_not(grid, bias):
    """Czech et al. 2026, arXiv:2603.22339: a parabola's bias needs no noise, only an uneven valley."""
    points = valleys(law=SKEWED, sizes=15, **grid)
    truth = exponent(SKEWED)
    parabola = fit_isoflops(points, "parabola")
    assert bias[0] <= abs(parabola.params.exponent - truth) <= bias[1]
    projected = fit_projected(points)
    assert projected.optimum.a == pytest.approx(truth, abs=1e-6)
    for name, value in SKEWED.items():
        assert projected.parameters[name] == pytest.approx(value, rel=1e-5)
    # Where the exponent survives the size itself may not: on the wide grid every N_opt is off.
    wrong = np.array([m.params for m in parabola.minima.minima]) / LAWS["chinchilla"].optimum(SKEWED).params(
        np.array([m.flops for m in parabola.minima.minima])
    )
    assert (np.abs(np.log(wrong)).max() > 0.1) == (grid["span"] > 2)


def test_parabola_is_numpys():
    points = valleys(noise=2e-3, budgets=BUDGETS[:1])
    (minimum,) = isoflop_minima(points, "parabola").minima
    c2, c1, c0 = np.polyfit(np.log(points.params), points.loss, 2)
    assert minimum.params == pytest.approx(np.exp(-c1 / 2 / c2), rel=1e-9)
    assert minimum.loss == pytest.approx(c0 - c1**2 / 4 / c2, rel=1e-12)
    assert minimum.tokens == pytest.approx(BUDGETS[0] / 6 / minimum.params, rel=1e-9)


def test_a_resample_is_a_fit_to_the_runs_it_drew():
    """A resample's counts are weights: repeating the points gives the same minimum."""
    points = valleys(noise=2e-3, seed=3, budgets=BUDGETS[:1])
    found = isoflop_minima(points, "parabola", bootstrap=5, seed=11)
    counts = np.random.default_rng([11, 2]).multinomial(len(points), np.full(len(points), 1 / len(points)), 5)
    for row, drawn in zip(counts, found.log_params_SG[:, 0], strict=True):
        again = np.repeat(np.arange(len(points)), row)
        c2, c1, _ = np.polyfit(np.log(points.params[again]), points.loss[again], 2)
        assert drawn == pytest.approx(-c1 / 2 / c2, rel=1e-7)


def test_power_law_is_numpys_weighted_least_squares():
    random = np.random.default_rng(0)
    flops, weight = np.geomspace(1e17, 1e20, 7), random.uniform(0.5, 4, 7)
    params = 0.1 * flops**0.5 * random.lognormal(0, 0.1, 7)
    slope, intercept = np.polyfit(np.log(flops), np.log(params), 1, w=np.sqrt(weight))
    fit = fit_power_law(flops, params, weight)
    assert fit.exponent == pytest.approx(slope, rel=1e-10)
    assert fit.k == pytest.approx(np.exp(intercept), rel=1e-8)
    # A resample without some of the minima is a line through the others.
    samples = np.log(np.stack([params, params]))
    samples[1, [0, 4]] = np.nan
    left = [1, 2, 3, 5, 6]
    drawn = fit_power_law(flops, params, weight, samples).samples_S2
    slope, _ = np.polyfit(np.log(flops[left]), np.log(params[left]), 1, w=np.sqrt(weight[left]))
    np.testing.assert_allclose(drawn[:, 1], [fit.exponent, slope])


def test_weighted_counts_uncertain_minima_less():
    points = valleys(span=3, noise=1e-4)
    points.loss[:9] *= np.exp(0.01 * np.random.default_rng(2).normal(size=9))
    plain, weighted = (fit_isoflops(points, bootstrap=200, weighted=w) for w in (False, True))
    assert abs(weighted.params.exponent - exponent()) < abs(plain.params.exponent - exponent())
    uncertainties = [m.log_uncertainty for m in plain.minima.minima]
    assert uncertainties[0] == max(uncertainties)


def test_groups_are_budgets_within_the_tolerance():
    points = valleys()
    jitter = np.random.default_rng(0).uniform(0.98, 1.02, len(points))
    points = points_of(points.params, points.tokens * jitter, points.loss)
    groups = isoflop_groups(points)
    np.testing.assert_allclose([budget for budget, _ in groups], BUDGETS, rtol=0.02)
    assert [len(members) for _, members in groups] == [9] * 6
    given = isoflop_groups(points, budgets=BUDGETS[[4, 1]], tolerance=0.03)
    assert [budget for budget, _ in given] == [BUDGETS[1], BUDGETS[4]]
    assert [list(m) for _, m in given] == [list(range(9, 18)), list(range(36, 45))]
    assert isoflop_minima(points, budgets=BUDGETS[[4, 1]]).unused == 36


@pytest.mark.parametrize(
    ("method", "chosen", "words"),
    [
        ("windowed", slice(3, 6), "3 sizes; windowed needs at least 4: add runs"),
        ("parabola", slice(3, 6), "3 sizes; parabola needs at least 4: add runs"),
        ("akima", slice(3, 5), "2 sizes; akima needs at least 3: add runs"),
        ("parabola", slice(5, 9), "least loss is at the smallest size, .*; add smaller sizes"),
        ("parabola", slice(0, 4), "least loss is at the largest size, .*; add larger sizes"),
        ("akima", slice(5, 9), "least loss is at the smallest size"),
    ],
)
def test_a_budget_without_a_minimum_says_what_it_needs(method, chosen, words):
    points = valleys(budgets=BUDGETS[:1]).subset(chosen)
    found = isoflop_minima(points, method, bootstrap=10)
    assert found.minima == ()
    (refusal,) = found.refused
    assert refusal.reason.startswith("1e+18 FLOPs: ")
    with pytest.raises(BadInputError, match=words):
        fit_isoflops(points, method)


def test_losses_that_are_no_valley_are_refused():
    params = np.geomspace(1e7, 1e8, 5)
    tokens = 1e18 / 6 / params
    hill = points_of(params, tokens, [3.0, 2.9, 3.4, 3.3, 3.2])
    assert "parabola" in isoflop_minima(hill).refused[0].reason
    flat = points_of(params, tokens, np.full(5, 3.0))
    assert len(isoflop_minima(flat).refused) == len(isoflop_minima(flat, "akima").refused) == 1
    noisy = points_of(params[1:4], tokens[1:4], [3.0001, 3.0, 3.0001])
    reason = isoflop_minima(noisy, "akima", bootstrap=400, noise=0.5).refused[0].reason
    assert "fewer than half of the resamples" in reason


def test_window_keeps_the_sizes_near_the_least_loss():
    points = valleys(span=16, sizes=17)
    narrow = isoflop_minima(points, "parabola", window=2.9)
    assert [m.sizes for m in narrow.minima] == [7] * 6
    truth = LAWS["chinchilla"].optimum(TRUE).params(BUDGETS)
    errors = [
        np.abs(np.log([m.params for m in found.minima] / truth)).max()
        for found in (narrow, isoflop_minima(points, "parabola"))
    ]
    assert errors[0] < 0.3 * errors[1]


def test_a_ladder_has_no_budgets():
    with pytest.raises(BadInputError, match=r"0 of \d+ compute budgets have a minimum .*train several sizes"):
        fit_isoflops(ladder())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "spline"}, "known: windowed, parabola, akima"),
        ({"tolerance": 1.5}, "between 0 and 1"),
        ({"tolerance": float("nan")}, "between 0 and 1"),
        ({"window": 0.5}, "factor above 1"),
        ({"bootstrap": 1}, "at least 2"),
        ({"noise": 0.0}, "positive number of nats"),
        ({"budgets": [1e18, -1]}, "positive numbers of FLOPs"),
        ({"budgets": []}, "positive numbers of FLOPs"),
    ],
)
def test_refused_arguments(change, words):
    with pytest.raises(BadInputError, match=words) as error:
        fit_isoflops(valleys(), **change)
    assert "\n" not in str(error.value)
