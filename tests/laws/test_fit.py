import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from scaling.laws import LAWS, fit_points, read_law
from scaling.laws.solving.optimise import optimise
from scaling.laws.solving.problem import Problem
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, few_starts, ladder, points_of


@pytest.fixture
def quick():
    with few_starts():
        yield


def objective(points, log_theta, delta=1e-3):
    """Written apart from the package: E, A, B as logs (Hoffmann et al. 2022, equation 10)."""
    e, a, b, alpha, beta = log_theta
    predicted = np.logaddexp.reduce(
        [np.full(len(points), e), a - alpha * np.log(points.params), b - beta * np.log(points.tokens)]
    )
    size = np.abs(predicted - np.log(points.loss))
    huber = np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))
    return (points.weight * huber).sum()


def scipy_best(points, start, delta, seed=0):
    """The lowest value that BFGS and Nelder-Mead reach in turn, from near `start` and from elsewhere."""
    random = np.random.default_rng(seed)
    grid = [np.array([0.5, 5, 6, 0.3, 0.3]), np.array([0, 10, 10, 0.5, 0.5]), np.array([1, 5, 5, 0.3, 0.2])]
    starts = [start * (1 + 0.02 * random.normal(size=5)) for _ in range(2)]
    best = np.inf
    for x in [start, *starts, *grid]:
        for width in (0.1, 0.01, delta):
            x = minimize(lambda t, w=width: objective(points, t, w) / w, x, method="BFGS").x
        for method in ("Nelder-Mead", "L-BFGS-B", "Nelder-Mead"):
            options = {"xatol": 1e-13, "fatol": 1e-16, "maxfev": 4000} if method == "Nelder-Mead" else {}
            x = minimize(lambda t: objective(points, t, delta) / delta, x, method=method, options=options).x
        best = min(best, objective(points, x, delta))
    return best


def log_theta(fit):
    p = fit.parameters
    return np.array([np.log(p["E"]), np.log(p["A"]), np.log(p["B"]), p["alpha"], p["beta"]])


def test_noiseless_points_give_back_the_law():
    fit = fit_points(ladder(), holdout=None)
    assert {k: pytest.approx(v, rel=1e-5) for k, v in TRUE.items()} == fit.parameters
    assert fit.n_starts_at_best > 0.9 * fit.n_starts
    assert fit.boundary_hits == ()


@pytest.mark.parametrize("digits", [11, 14])
def test_the_rounding_of_a_table_is_not_noise(digits):
    points = ladder()
    points.loss[:] = [float(f"{loss:.{digits}g}") for loss in points.loss]
    fit = fit_points(points, holdout=None, profile=True)
    assert fit.unidentified == () and fit.warnings == () and fit.profile == {}
    assert (
        fit.hessian.reason == "no residual is left to measure the noise with: every point is fitted exactly"
    )


@pytest.mark.parametrize(
    ("noise", "delta", "seed"),
    [
        (0.01, 1e-3, 1),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in ((0.003, 1e-4, 2), (0.02, 1e-2, 3))),
    ],
)
def test_no_optimiser_finds_a_lower_value(noise, delta, seed):
    points = ladder(noise, seed, heavy=True)
    fit = fit_points(points, delta=delta, holdout=None)
    value = objective(points, log_theta(fit), delta)
    assert fit.objective.value == pytest.approx(value, rel=1e-9)
    assert value <= scipy_best(points, log_theta(fit), delta) * (1 + 1e-7)
    assert fit.gradient_norm < 1e-7 * delta * len(points)


@pytest.mark.usefixtures("quick")
def test_order_of_points_and_scale_of_weights_change_nothing():
    points = ladder(0.01, 4)
    random = np.random.default_rng(0)
    fit = fit_points(points, holdout=None)
    shuffled = fit_points(points.subset(random.permutation(len(points))), holdout=None)
    heavier = points_of(points.params, points.tokens, points.loss, points.groups)
    heavier.weight[:] = 7.0
    heavy = fit_points(heavier, holdout=None)
    assert shuffled.objective.value == pytest.approx(fit.objective.value, rel=1e-9)
    assert heavy.objective.value == pytest.approx(7 * fit.objective.value, rel=1e-9)
    for name, value in fit.parameters.items():
        assert shuffled.parameters[name] == pytest.approx(value, rel=1e-5)
        assert heavy.parameters[name] == pytest.approx(value, rel=1e-5)


@pytest.mark.usefixtures("quick")
def test_a_point_twice_is_a_point_of_weight_two():
    points = ladder(0.01, 5, sizes=5)
    twice = points.subset([*range(len(points)), 3])
    points.weight[3] = 2.0
    one, other = (fit_points(one, delta="paper", holdout=None) for one in (points, twice))
    assert one.objective.value == pytest.approx(other.objective.value, rel=1e-9)


def test_exact_derivatives_of_terms_equal_automatic_ones():
    import jax
    import jax.numpy as jnp

    from scaling.laws.solving import solver

    points, law = ladder(0.01), LAWS["chinchilla"]
    x = np.log(np.stack([points.params, points.tokens], 1))
    x -= x.mean(0)
    theta = np.random.default_rng(0).normal(size=(3, 5))
    weights, delta = np.ones((3, len(points))), np.full(3, 0.5)
    with solver.float64_on_host():
        y = jnp.log(points.loss)
        fast = jax.jit(solver.objective_from_terms(law.terms(jnp.asarray(x), jnp), y))(theta, weights, delta)
        plain = jax.jit(solver.objective_from_form(law, jnp.asarray(x), y))(theta, weights, delta)
        for a, b in zip(fast, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("quick")
def test_closed_form_optimum_is_the_numeric_minimum_on_6nd():
    fit = fit_points(ladder(), holdout=None)
    for row in fit.optimum.budgets[::3]:
        found = minimize_scalar(
            lambda log_n, c=row.flops: float(fit.predict(params=np.exp(log_n), tokens=c / 6 / np.exp(log_n))),
            bounds=(10, 40),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert np.exp(found.x) == pytest.approx(row.params, rel=1e-4)
        assert found.fun == pytest.approx(row.loss, rel=1e-10)
        assert 6 * row.params * row.tokens == pytest.approx(row.flops, rel=1e-9)
    assert fit.optimum.a == pytest.approx(0.28 / 0.62, rel=1e-4)
    assert fit.optimum.a + fit.optimum.b == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = []
    for seed in range(7):
        fit = fit_points(ladder(0.004, seed, sizes=12, multiples=(5, 20, 80)), bootstrap=100, holdout=None)
        covered += [fit.intervals[k][0] <= v <= fit.intervals[k][1] for k, v in TRUE.items()]
    assert 0.75 <= np.mean(covered) <= 1.0


@pytest.mark.usefixtures("quick")
def test_runs_are_resampled_whole():
    fit = fit_points(ladder(0.004), bootstrap=50, holdout=None)
    assert fit.bootstrap.unit == "run"
    single = ladder(0.004)
    single = points_of(single.params, single.tokens, single.loss)
    assert fit_points(single, bootstrap=50, holdout=None).bootstrap.unit == "point"


@pytest.mark.usefixtures("quick")
def test_held_out_runs_are_predicted_by_a_law_that_never_saw_them():
    points = ladder(0.002, 1)
    fit = fit_points(points, bootstrap=100, holdout=1)
    test = fit.holdout
    assert {p.group for p in test.predictions} == {"size 6"}
    assert test.n == 4
    assert test.mean_abs_rel_error < 0.01
    # The same parameters as a fit to the other points alone.
    alone = fit_points(points.subset(points.params < 9e9), holdout=None)
    for name, value in alone.parameters.items():
        assert test.parameters[name] == pytest.approx(value, rel=1e-5)
    for p in test.predictions:
        assert p.interval[0] <= p.predicted <= p.interval[1]
        assert p.rel_error == pytest.approx(p.predicted / p.measured - 1)


@pytest.mark.parametrize(("law", "floor"), [("compute-envelope", 1.5), ("compute-power", 0.0)])
def test_envelope_laws_recover_a_power_of_compute(law, floor):
    compute = np.geomspace(1e17, 1e22, 12)
    params = np.sqrt(compute / 120)
    frontier = floor + (1e19 / compute) ** 0.15
    points = points_of(
        np.tile(params, 2), np.tile(compute / 6 / params, 2), np.concatenate([frontier, 1.1 * frontier])
    )
    fit = fit_points(points, law=law, bootstrap=20, holdout=0.2)
    assert fit.n_selected == 12  # the points ten per cent above are not on the envelope
    assert fit.parameters["C0"] == pytest.approx(1e19, rel=1e-4)
    assert fit.parameters["gamma"] == pytest.approx(0.15, rel=1e-5)
    assert fit.holdout.max_abs_rel_error < 1e-6
    assert fit.optimum is None


@pytest.mark.usefixtures("quick")
def test_an_exponent_the_points_do_not_hold_is_reported():
    """Where the tokens' term is nothing beside the rest, beta can be anything."""
    points = ladder()
    loss = TRUE["E"] + TRUE["A"] / points.params**0.34
    fit = fit_points(points_of(points.params, points.tokens, loss), holdout=None)
    assert any("beta" in hit for hit in fit.boundary_hits)
    assert fit.warnings


@pytest.mark.usefixtures("quick")
def test_document_round_trips_and_predicts(tmp_path):
    fit = fit_points(ladder(0.003), bootstrap=40)
    fit.write(tmp_path / "law.json")
    again = read_law(tmp_path / "law.json")
    assert again == fit
    low, high = again.interval(params=[1e9, 1e10], tokens=[2e10, 2e11])
    assert (low <= high).all()
    assert [p.name for p in tmp_path.iterdir()] == ["law.json"]
    contract = {"law", "equation", "parameters", "intervals", "objective", "n_points", "n_starts", "holdout"}
    contract |= {"n_starts_at_best", "gradient_norm", "boundary_hits", "optimum", "counting"}
    assert contract <= set(fit.model_dump())


@pytest.mark.usefixtures("quick")
def test_same_seed_same_document():
    one, two = (fit_points(ladder(0.01), bootstrap=30, seed=3) for _ in range(2))
    assert one == two


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"law": "kaplan"}, "did you mean kaplan-tokens or kaplan-steps"),
        ({"delta": 0.0}, "positive"),
        ({"delta": float("nan")}, "positive"),
        ({"bootstrap": -3}, "at least 2"),
        ({"holdout": 1.5}, "between 0 and 1"),
        ({"holdout": 0}, "at least 1"),
        ({"holdout": 7}, "nothing would be left"),
        ({"holdout": 5}, "hold-out of"),
    ],
)
def test_refused_arguments(change, words):
    with pytest.raises(BadInputError, match=words) as error:
        fit_points(ladder(), **change)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("quick")
def test_too_few_points_are_refused_and_forced():
    few = ladder(0.001).subset(slice(0, 28, 6))
    with pytest.raises(BadInputError, match="needs at least 6"):
        fit_points(few, holdout=None)
    forced = fit_points(few, holdout=None, force=True)
    assert forced.forced
    assert "needs at least 6" in forced.warnings[0]


def test_one_token_budget_a_size_is_refused():
    with pytest.raises(BadInputError, match="tokens follow params"):
        fit_points(ladder(0.01, sizes=12, multiples=(20,)), holdout=None)


@pytest.mark.usefixtures("quick")
def test_progress_is_told_in_order():
    told = []
    fit_points(ladder(), bootstrap=10, progress=lambda phase, share: told.append((phase, share)))
    assert [phase for phase, _ in told] == ["fit", "bootstrap", "hold-out", "done"]
    assert [share for _, share in told] == sorted(share for _, share in told)


def test_best_of_many_starts_is_found_where_the_objective_has_several_minima():
    """Five gross outliers: the nearly absolute loss has local minima; restarts have to leave them."""
    points = ladder(0.01, 9)
    points.loss[[2, 9, 14, 20, 27]] *= [1.3, 0.8, 1.25, 0.85, 1.2]
    best = optimise(Problem.of(LAWS["chinchilla"], points, 1e-3, width=len(points)), 0)
    names = dict(zip(LAWS["chinchilla"].parameter_names, best_parameters(best), strict=True))
    theta = np.array(
        [np.log(names["E"]), np.log(names["A"]), np.log(names["B"]), names["alpha"], names["beta"]]
    )
    assert best.value <= scipy_best(points, theta, 1e-3) * (1 + 1e-7)


def best_parameters(best):
    return LAWS["chinchilla"].parameters(best.theta, best.problem.reference)
