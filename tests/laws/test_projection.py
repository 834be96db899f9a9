import numpy as np
import pytest
from scipy.optimize import least_squares, nnls

from scaling.laws.frontier.projection import fit_projected, non_negative
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, ladder, points_of
from tests.laws.valleys import exponent, valleys


def test_coefficients_are_scipys_non_negative_ones():
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 12, 3))
    y = random.normal(size=(200, 12))
    ours = non_negative(np.swapaxes(X, 1, 2) @ X, (np.swapaxes(X, 1, 2) @ y[..., None])[..., 0])
    theirs = np.array([nnls(rows, target)[0] for rows, target in zip(X, y, strict=True)])
    np.testing.assert_allclose(ours, theirs, atol=1e-10)
    assert 0 < (ours == 0).mean() < 1


@pytest.mark.parametrize("points", [ladder(), valleys(), valleys(span=16, skew=3)])
def test_exact_points_give_the_law_back(points):
    fit = fit_projected(points)
    for name, value in TRUE.items():
        assert fit.parameters[name] == pytest.approx(value, rel=1e-6)
    assert fit.optimum.a == pytest.approx(exponent(), abs=1e-8)
    assert fit.at_bound == ()
    assert fit.rms_error < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_objective_is_the_least_that_scipy_finds_in_all_five(seed):
    points = ladder(0.01, seed) if seed % 2 else valleys(noise=0.003, seed=seed)
    fit = fit_projected(points)
    x, z = np.log(points.params / 5e8), np.log(points.tokens / 1e10)

    def error(t):
        return (np.exp(t[0]) + np.exp(t[1] - t[3] * x) + np.exp(t[2] - t[4] * z)) / points.loss - 1

    starts = [[0.5, s, s, e, f] for s in (-2.0, -0.5) for e in (0.2, 0.6) for f in (0.2, 0.6)]
    best = min(2 * least_squares(error, s, xtol=1e-14, ftol=1e-14, gtol=1e-14).cost for s in starts)
    assert fit.objective <= best * (1 + 1e-9)


@pytest.mark.slow
def test_resamples_are_fits_and_their_intervals_cover():
    hits = []
    for seed in range(20):
        fit = fit_projected(ladder(0.004, seed, sizes=12), bootstrap=100, seed=seed)
        hits += [fit.intervals[k][0] <= v <= fit.intervals[k][1] for k, v in TRUE.items()]
    assert 0.8 <= np.mean(hits) <= 1.0
    assert fit.samples_S5.shape == (100, 5)
    assert fit.intervals["a"][0] < fit.optimum.a < fit.intervals["a"][1]


def test_an_exponent_the_points_do_not_hold_is_named():
    points = ladder()
    flat = points_of(points.params, points.tokens, TRUE["E"] + TRUE["A"] / points.params**0.34)
    fit = fit_projected(flat)
    assert "beta" in fit.at_bound or fit.parameters["B"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (ladder().subset(slice(0, 5)), "needs at least 6"),
        (ladder().subset(slice(0, 8)), "2 different values of params"),
        (ladder(sizes=12, multiples=(20,)), "tokens follow params exactly"),
        (valleys(budgets=np.array([1e19])), "tokens follow params exactly"),
    ],
)
def test_points_that_do_not_determine_it_are_refused(points, words):
    with pytest.raises(BadInputError, match=words) as error:
        fit_projected(points)
    assert "\n" not in str(error.value)
