"""IsoFLOP minima by windowed parabolas: little bias on uneven valleys, and intervals that hold."""

import numpy as np
import pytest

from scaling.laws import LAWS
from scaling.laws.frontier.approaches import BEYOND, compare_approaches
from scaling.laws.frontier.isoflop import fit_isoflops, isoflop_minima
from tests.laws.known import TRUE, points_of
from tests.laws.valleys import BUDGETS, exponent, valleys

SKEWED = {"E": 1.7, "A": 6000.0, "B": 300.0, "alpha": 0.5, "beta": 0.25}


def optimal(law, flops):
    return LAWS["chinchilla"].optimum(law).params(flops)


@pytest.mark.parametrize("law", [TRUE, SKEWED], ids=["chinchilla", "skewed"])
@pytest.mark.parametrize(
    "grid",
    [
        {"span": 4},
        {"span": 10},
        {"span": 10, "sizes": 6},
        {"span": 8, "skew": 2.5},  # from a third of the optimum to twenty times it
        {"span": 8, "skew": 0.4},
        {"span": 8, "drift": 0.1, "sizes": 11},
    ],
    ids=["narrow", "wide", "sparse", "large", "small", "drifting"],
)
def test_n_opt_of_exact_losses_is_within_two_percent_far_beyond_the_data(law, grid):
    """A parabola through all sizes is off by up to a third here."""
    points = valleys(law=law, **grid)
    fit = fit_isoflops(points)
    assert fit.params.exponent == pytest.approx(exponent(law), abs=2e-3)
    assert fit.params.predict(1e21) == pytest.approx(optimal(law, 1e21), rel=0.02)
    assert fit.params.predict(1e24) == pytest.approx(optimal(law, 1e24), rel=0.03)
    assert fit.tokens.predict(1e24) == pytest.approx(1e24 / 6 / optimal(law, 1e24), rel=0.03)


def test_it_is_less_biased_than_one_parabola_and_less_noisy_than_akima():
    methods = ("windowed", "parabola", "akima")
    errors = {method: [] for method in methods}
    for seed in range(25):
        points = valleys(law=SKEWED, span=8, skew=1.5, noise=2e-3, seed=seed, sizes=7)
        for method in methods:
            fit = fit_isoflops(points, method, bootstrap=40 if method == "akima" else 0, noise=5e-3)
            errors[method].append(np.log(fit.params.predict(1e22) / optimal(SKEWED, 1e22)))
    bias = {method: abs(np.mean(values)) for method, values in errors.items()}
    rms = {method: np.sqrt(np.mean(np.square(values))) for method, values in errors.items()}
    assert bias["windowed"] < 0.03 < bias["parabola"]
    assert rms["windowed"] < 0.6 * rms["akima"]


@pytest.mark.parametrize("law", [TRUE, SKEWED], ids=["chinchilla", "skewed"])
def test_intervals_hold_the_truth(law):
    """Five sizes per budget, rounded losses and compute that is only nearly equal."""
    held = []
    for seed in range(60):
        points = valleys(law=law, span=4, skew=1.2, noise=2e-3, seed=seed, sizes=5)
        points = points_of(points.params, points.tokens, points.loss.round(3))
        fit = fit_isoflops(points, bootstrap=100, seed=seed)
        low, high = fit.params.exponent_interval
        held.append([low < exponent(law) < high])
        for flops in (1e21, 1e22):
            (low, high), truth = fit.params.interval(flops), optimal(law, flops)
            held[-1].append(low < truth < high)
            (low, high), truth = fit.tokens.interval(flops), flops / 6 / truth
            held[-1].append(low < truth < high)
    assert (np.mean(held, axis=0) >= 0.9).all(), np.mean(held, axis=0)


def test_compute_that_drifts_with_size_inside_a_budget_does_not_move_the_minimum():
    """Tokens rounded up for large models: their compute is 4% more, and their loss less for it."""
    exact = valleys(span=4)
    tokens = exact.tokens * (exact.params / exact.params.min()) ** 0.01
    loss = LAWS["chinchilla"].predict(TRUE, params=exact.params, tokens=tokens)
    fit = fit_isoflops(points_of(exact.params, tokens, loss))
    assert len(fit.minima.minima) == len(BUDGETS)
    assert fit.params.predict(1e21) == pytest.approx(optimal(TRUE, 1e21), rel=0.02)
    cost = 6 * fit.params.predict(1e21) * fit.tokens.predict(1e21)
    assert cost == pytest.approx(1e21, rel=5e-3)


def test_trunks_that_reach_every_budget_are_one_run_each():
    """Branches of a trunk share its noise: five trunks say less than fifteen runs."""
    params = np.tile(np.geomspace(5e7, 1e9, 6), 4)
    budgets = np.repeat(np.geomspace(4e19, 1.2e20, 4), 6)
    loss = LAWS["chinchilla"].predict(TRUE, params=params, tokens=budgets / 6 / params)
    noise = np.exp(2e-3 * np.random.default_rng(0).normal(size=24))
    alone = points_of(params, budgets / 6 / params, loss * noise)
    trunks = points_of(alone.params, alone.tokens, alone.loss)
    object.__setattr__(trunks, "groups", tuple(f"trunk {i}" for i in np.tile(np.arange(6), 4)))
    widths = [
        np.diff(fit_isoflops(p, window=30, bootstrap=200).params.exponent_interval)[0]
        for p in (alone, trunks)
    ]
    assert widths[1] > widths[0]


def test_points_without_a_degree_of_freedom_have_no_interval():
    points = valleys(span=3, noise=1e-3, sizes=4, budgets=BUDGETS[:1])
    found = isoflop_minima(points, bootstrap=20)
    assert len(found.minima) == 1
    assert found.interval(0) is None


def test_every_approach_says_n_opt_and_d_opt_at_the_largest_budget_and_beyond():
    points = valleys(span=3, noise=1e-3)
    found = {one.name: one for one in compare_approaches(points, bootstrap=100)}
    for name in ("isoFLOP minima (windowed)", "variable projection"):
        one = found[name]
        largest, beyond = one.at
        assert largest.flops == points.flops.max()
        assert beyond.flops == BEYOND * largest.flops
        for place in one.at:
            truth = optimal(TRUE, place.flops)
            assert place.params_interval[0] < truth < place.params_interval[1]
            assert place.tokens_interval[0] < place.flops / 6 / truth < place.tokens_interval[1]
