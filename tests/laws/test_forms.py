"""Every law: its translations invert, its gradient is that of finite differences, its fit finds the truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling.config.compute_cost import ComputeCost
from scaling.laws import LAWS, CriticalBatch, Points, fit_points, read_law, read_points
from scaling.laws.forms.envelope import lowest_of_each
from scaling.runtime.errors import BadInputError
from tests.laws.known import points_of

# Published constants where there are any, for noise of 0.2% on points made below.
TRUTH = {
    "params-power": {"Nc": 8.8e13, "alpha_N": 0.076},
    "params-floor": {"E": 1.7, "Nc": 5e7, "alpha_N": 0.34},
    "tokens-power": {"Dc": 5.4e13, "alpha_D": 0.095},
    "tokens-floor": {"E": 1.7, "Dc": 1e9, "alpha_D": 0.28},
    "compute-power": {"C0": 2.3e27, "gamma": 0.05},
    "compute-envelope": {"E": 1.7, "C0": 1e19, "gamma": 0.15},
    "chinchilla": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "over-training": {"E": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136},
    "kaplan-tokens": {"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "kaplan-steps": {"Nc": 6.5e13, "Sc": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76},
    "critical-batch": {"B_star": 2.1e8, "alpha_B": 0.21},
    "repeated-data": {
        "E": 1.87,
        "A": 521.0,
        "B": 1488.0,
        "alpha": 0.353,
        "beta": 0.353,
        "R_N": 5.31,
        "R_D": 15.4,
    },
    # Busbridge et al. 2025, the supervised law.
    "coupled": {"E": 1.22, "A": 3355.0, "B": 18186.0, "alpha": 0.408, "beta": 0.431, "k": 0.452},
    # Li et al. 2025 (constants of their public fit), in bits per character.
    "farseer": {
        "a1": -0.124,
        "alpha": 0.123,
        "b1": 0.424,
        "a2": 88.01,
        "beta": -0.1,
        "b2": -6.287,
        "a3": -0.021,
        "gamma": 0.169,
        "b3": -0.091,
    },
    "broken-compute": {"a": 1.5, "b": 50.0, "c0": 0.06, "c1": 0.25, "d1": 1e19, "f1": 0.4},
    "gadre-error": {"eps": 0.857, "k": 2.2, "gamma": 0.715},
    "learning-rate": {"c": 50.0, "a": -0.23, "b": -0.32},
    "learning-rate-compute": {"c": 0.3118, "a": -0.125},
    "batch-size": {"c": 3.0, "a": 0.1, "b": 0.5},
    "batch-size-compute": {"c": 0.2920, "a": 0.3271},
}
# Relative errors to expect of each parameter: scales are exponentials of exponents.
LOOSE = {"Nc": 0.6, "Dc": 0.6, "C0": 0.6, "A": 0.6, "B": 0.6, "a": 0.3, "b": 0.3, "c": 0.3, "Sc": 0.3}
LOOSE |= {"a1": 0.3, "a2": 0.2, "b1": 0.3, "b2": 0.3, "a3": 0.2, "b3": 0.2}  # of farseer
LOOSE |= {"d1": 0.3, "f1": 0.6, "R_N": 0.5, "R_D": 0.2, "k": 0.2}


# Laws of the generic solver; `downstream-error` has its own (tests/laws/test_error_fit.py).
SOLVED = [name for name, law in LAWS.items() if law.theta_names]


def grid() -> Points:
    """Nine sizes by six token budgets, of which the longest repeat their data; one run a point."""
    size = np.geomspace(2e7, 1e10, 9)
    params, tokens = np.repeat(size, 6), np.tile(np.geomspace(5e8, 5e11, 6), 9)
    points = points_of(params, tokens, np.full(54, 3.0))
    unique = tokens / np.tile([1, 3, 9, 27, 60, 5], 9)[np.arange(54)]
    return replace(points, unique_tokens=unique, min_steps=tokens / 5e5)


def made(name: str, noise: float) -> Points:
    """Points of a law with known parameters and log-normal noise."""
    law, points = LAWS[name], grid()
    if len(law.variables) == 1 and law.variables[0] in ("params", "tokens"):
        size = np.geomspace(1e7, 1e11, 40)
        points = points_of(size, size[::-1] * 3, np.full(40, 3.0))
    elif law.variables == ("flops",):
        size = np.geomspace(1e7, 1e11, 60)
        points = points_of(size, 20 * size, np.geomspace(4.0, 2.0, 60))
    elif law.variables == ("loss",):
        size = np.geomspace(1e7, 1e11, 40)
        points = points_of(size, 20 * size, np.geomspace(5.0, 2.0, 40))
    random = np.random.default_rng(7)
    truth = law.predict(TRUTH[name], **{v: points.column(v) for v in law.variables})
    return replace(points, **{law.target: truth * np.exp(noise * random.normal(size=len(points)))})


def test_every_law_is_tested():
    solved = {name for name in SOLVED if not name.startswith("broken")}
    assert solved | {"broken-compute"} == set(TRUTH)


LONG = {"repeated-data", "broken-compute", "farseer"}
NOISE = {"compute-envelope": 0.0, "compute-power": 0.0, "farseer": 5e-4}  # where it is not 0.2%


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in sorted(set(TRUTH) - {"chinchilla"})],
)
def test_fit_recovers_a_known_law(name):
    points = made(name, NOISE.get(name, 0.002))
    # The noise is normal: nothing asks for more than least squares where a narrower zone takes long.
    delta = 0.3 if name.startswith("broken") else 1e-2
    fit = fit_points(points, name, delta=delta, holdout=None)
    assert fit.boundary_hits == ()
    for parameter, value in TRUTH[name].items():
        assert fit.parameters[parameter] == pytest.approx(value, rel=LOOSE.get(parameter, 0.1)), parameter
    variables = {v: points.column(v) for v in LAWS[name].variables}
    exact = LAWS[name].predict(TRUTH[name], **variables)
    np.testing.assert_allclose(fit.predict(**variables), exact, rtol=0.003)


@pytest.mark.parametrize("name", SOLVED)
@pytest.mark.parametrize("residual", ["log", "plain"])
def test_gradient_is_that_of_finite_differences(name, residual):
    import jax
    import jax.numpy as jnp

    from scaling.laws.solving import solver
    from scaling.laws.solving.huber import huber, residuals

    law, random = LAWS[name], np.random.default_rng(3)
    x = random.normal(size=(11, len(law.variables)))
    observed = 1 + 0.1 * random.normal(size=11)
    weights, delta = random.uniform(0.5, 2, 11), 0.3
    starts = law.starts(x, observed, np.ones(len(law.variables)))
    lower, upper = np.array(law.bounds).T
    starts = np.clip(starts + 0.05 * random.normal(size=starts.shape), lower + 1e-3, upper - 1e-3)

    def value(theta):
        return (weights * huber(residuals(residual, law.log_loss(theta, x), observed), delta)).sum()

    with solver.float64_on_host():
        terms = law.terms(jnp.asarray(x), jnp)
        evaluate = jax.jit(
            solver.objective_from_form(law, jnp.asarray(x), jnp.asarray(observed), residual)
            if terms is None
            else solver.objective_from_terms(terms, jnp.asarray(observed), residual)
        )
        at = lambda theta: [np.asarray(a)[0] for a in evaluate(theta[None], weights[None], np.array([delta]))]  # noqa: E731
        for theta in starts[random.choice(len(starts), 3)]:
            f, gradient, hessian = at(theta)
            assert f == pytest.approx(value(theta), rel=1e-12)
            for i, step in enumerate(1e-6 * np.eye(len(theta))):
                slope = (value(theta + step) - value(theta - step)) / 2e-6
                bend = (at(theta + step)[1] - at(theta - step)[1]) / 2e-6
                assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-6 * (1 + np.abs(gradient).max()))
                np.testing.assert_allclose(
                    hessian[i], bend, rtol=1e-4, atol=1e-5 * (1 + np.abs(hessian).max())
                )


@pytest.mark.parametrize("name", SOLVED)
def test_reported_parameters_translate_back(name):
    law, random = LAWS[name], np.random.default_rng(1)
    reference = np.full(len(law.variables), 20.0 if "loss" not in law.variables else 1.0)
    starts = law.starts(
        random.normal(size=(9, len(law.variables))), 1 + 0.1 * random.normal(size=9), reference
    )
    for theta in starts[random.choice(len(starts), 4)]:
        theta = np.clip(theta, *np.array(law.bounds).T)
        reported = law.parameters(theta, reference)
        if np.isfinite(np.log(reported[reported > 0])).all() and reported.max() < 1e250:
            named = dict(zip(law.parameter_names, reported, strict=True))
            np.testing.assert_allclose(law.theta(named, reference), theta, rtol=1e-9, atol=1e-9)


WITH_OPTIMUM = ["over-training", "kaplan-tokens", "chinchilla", "coupled", "farseer"]
# FLOPs per token that grow as N^0.8 up to N^1.2.
COST = ComputeCost(
    coefficients=(np.log(1e10), 1.0, 0.05), sizes=(1e7, 1e11), elasticity=1.0, max_rel_error=0.0
)


@pytest.mark.parametrize("name", WITH_OPTIMUM)
@pytest.mark.parametrize("flops", [1e18, 1e22])
@pytest.mark.parametrize("cost", [None, COST], ids=["6nd", "cost"])
def test_optimum_is_the_least_loss_at_the_compute(name, flops, cost):
    law, truth = LAWS[name], TRUTH[name]
    optimum = law.optimum(truth, cost, flops)
    per_token = (lambda n: 6 * np.exp(n)) if cost is None else (lambda n: np.exp(cost.log_per_token(n)))
    # Beyond 1e12 parameters Farseer's loss falls again, at no tokens per parameter.
    found = minimize_scalar(
        lambda n: float(law.predict(truth, params=np.exp(n), tokens=flops / per_token(n))),
        bounds=(14, 24),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert np.exp(found.x) == pytest.approx(optimum.params(flops), rel=1e-4)
    assert per_token(np.log(optimum.params(flops))) * optimum.tokens(flops) == pytest.approx(flops)
    if cost is None:
        step = optimum.params(flops * 1.01) / optimum.params(flops / 1.01)
        assert optimum.a == pytest.approx(np.log(step) / (2 * np.log(1.01)), abs=1e-3)
        assert optimum.a + optimum.b == pytest.approx(1.0)


def test_coupled_is_chinchilla_where_k_is_one_and_kaplan_where_the_exponents_are_tied():
    points = grid()
    run = {"params": points.params, "tokens": points.tokens}
    plain = LAWS["chinchilla"].predict(TRUTH["chinchilla"], **run)
    np.testing.assert_allclose(LAWS["coupled"].predict(TRUTH["chinchilla"] | {"k": 1.0}, **run), plain, 1e-12)
    Nc, Dc, alpha_N, alpha_D = TRUTH["kaplan-tokens"].values()
    tied = {"E": 0.0, "A": Nc ** (alpha_N / alpha_D), "B": Dc, "alpha": alpha_N / alpha_D, "beta": 1.0}
    kaplan = LAWS["kaplan-tokens"].predict(TRUTH["kaplan-tokens"], **run)
    np.testing.assert_allclose(LAWS["coupled"].predict(tied | {"k": alpha_D}, **run), kaplan, 1e-12)


def test_coupled_fit_to_uncoupled_runs_holds_one_in_the_interval_of_k():
    points = grid()
    exact = LAWS["chinchilla"].predict(TRUTH["chinchilla"], params=points.params, tokens=points.tokens)
    noisy = replace(points, loss=exact * np.exp(0.002 * np.random.default_rng(3).normal(size=54)))
    fit = fit_points(noisy, "coupled", holdout=None)
    low, high = fit.hessian.intervals["k"]
    assert low < 1 < high
    assert low > 0.8
    assert fit.optimum.a == pytest.approx(0.28 / 0.62, abs=0.01)


def test_farseer_is_the_equation_of_the_paper():
    """Li et al. 2025, with constants of their public fit; losses in bits per character."""
    n, d = np.array([2.01e8, 1e9, 6.37e9]), np.array([2e10, 1e11, 4.5e11])
    by_hand = np.exp(-0.021 * n**0.169 - 0.091) + np.exp(88.01 * n**-0.1 - 6.287) * d ** -np.exp(
        -0.124 * n**0.123 + 0.424
    )
    law = LAWS["farseer"]
    np.testing.assert_allclose(law.predict(TRUTH["farseer"], params=n, tokens=d), by_hand, rtol=1e-12)
    # D_opt / N_opt is no constant: it rises with compute.
    optimum = law.optimum(TRUTH["farseer"])
    flops = np.array([1e20, 1e21, 1e22])
    assert (np.diff(optimum.tokens(flops) / optimum.params(flops)) > 0).all()
    # Far beyond the paper's runs the loss falls with N alone, and there is no optimum.
    assert np.isnan(optimum.params(1e26))
    assert law.optimum(TRUTH["farseer"], flops=1e26) is None


@pytest.mark.slow
def test_farseer_has_intervals_by_every_method_and_an_optimum(tmp_path):
    fit = fit_points(
        made("farseer", 5e-4), "farseer", bootstrap=40, profile=True, rolling=4, sensitivity=True
    )
    truth = TRUTH["farseer"]
    for intervals in (fit.intervals, {name: one.interval for name, one in fit.profile.items()}):
        for name, value in truth.items():
            assert intervals[name][0] < value < intervals[name][1], name
    exponent = LAWS["farseer"].optimum(truth, flops=3e22).a
    low, high = fit.optimum.intervals["a"]
    assert low < exponent < high
    assert set(fit.hessian.intervals.values()) == {None}  # they would be too narrow
    assert fit.interval("Hessian", params=1e10, tokens=1e12) is not None
    # N_opt exists up to the compute at which the law's loss falls with N alone.
    assert fit.optimum.budgets[-1].flops < 1e25
    assert fit.optimum.a == fit.frontier().a == pytest.approx(fit.sensitivity[0].a, abs=1e-5)
    fit.write(tmp_path / "law.json")
    assert read_law(tmp_path / "law.json") == fit


@pytest.mark.slow
def test_a_law_with_kinks_predicts_by_the_hessian_and_not_by_the_bootstrap():
    fit = fit_points(made("repeated-data", 1e-3), "repeated-data", bootstrap=10)
    place = {"params": 1e10, "tokens": 1e12, "unique_tokens": 1e12}
    assert fit.bootstrap is not None and fit.intervals["E"] is not None
    assert fit.method == "Hessian" and fit.interval("bootstrap", **place) is None
    low, high = fit.interval(**place)
    assert low < fit.predict(**place) < high


def test_over_training_is_chinchilla_with_one_exponent():
    """Gadre et al. 2024, section 2: a = A 6^eta, b = B 6^eta, alpha = beta = 2 eta."""
    points, eta = grid(), 0.14
    tied = LAWS["chinchilla"].predict(
        {"E": 1.8, "A": 200.0, "B": 300.0, "alpha": 2 * eta, "beta": 2 * eta},
        params=points.params,
        tokens=points.tokens,
    )
    ours = LAWS["over-training"].predict(
        {"E": 1.8, "a": 200 * 6**eta, "b": 300 * 6**eta, "eta": eta},
        params=points.params,
        tokens=points.tokens,
    )
    np.testing.assert_allclose(ours, tied, rtol=1e-12)


def test_repeated_data_without_repetition_is_chinchilla_up_to_the_compute_optimal_size():
    truth = TRUTH["repeated-data"]
    optimum = LAWS["chinchilla"].optimum(truth)
    flops = np.geomspace(1e18, 1e23, 5)
    run = {"params": optimum.params(flops) / 2, "tokens": optimum.tokens(flops)}
    plain = LAWS["chinchilla"].predict(truth, **run)
    law = LAWS["repeated-data"]
    np.testing.assert_allclose(law.predict(truth, **run, unique_tokens=run["tokens"]), plain, rtol=1e-9)
    np.testing.assert_allclose(law.predict(truth, **run, unique_tokens=2 * run["tokens"]), plain, rtol=1e-9)
    # Equation 5: 4 epochs of 1e9 tokens are worth 1e9 (1 + R (1 - exp(-3/R))) unique ones.
    R = truth["R_D"]
    worth = 1e9 * (1 + R * (1 - np.exp(-3 / R)))
    four = law.predict(truth, params=1e7, tokens=4e9, unique_tokens=1e9)
    by_hand = truth["E"] + truth["A"] / 1e7 ** truth["alpha"] + truth["B"] / worth ** truth["beta"]
    assert four == pytest.approx(by_hand, rel=1e-9)


def test_kaplan_tokens_has_the_limits_of_equations_1_1_and_1_2():
    truth, law = TRUTH["kaplan-tokens"], LAWS["kaplan-tokens"]
    assert law.predict(truth, params=1e8, tokens=1e30) == pytest.approx((6.4e13 / 1e8) ** 0.076, rel=1e-6)
    assert law.predict(truth, params=1e30, tokens=1e9) == pytest.approx((1.8e13 / 1e9) ** 0.103, rel=1e-6)


def test_broken_law_is_a_power_law_on_either_side_of_its_break():
    truth, law = TRUTH["broken-compute"] | {"f1": 0.1}, LAWS["broken-compute"]
    flops = np.array([1e12, 1e13, 1e26, 1e27])
    y = np.log10(law.predict(truth, flops=flops) - truth["a"])
    assert y[1] - y[0] == pytest.approx(-0.06, rel=1e-6)
    assert y[3] - y[2] == pytest.approx(-0.31, rel=1e-6)
    assert y[0] == pytest.approx(np.log10(50 * 1e12**-0.06), rel=1e-6)


@pytest.mark.slow
def test_two_breaks_are_found_where_there_are_two():
    law = LAWS["broken-compute-2"]
    truth = {
        "a": 1.0,
        "b": 30.0,
        "c0": 0.05,
        "c1": 0.3,
        "c2": -0.2,
        "d1": 1e18,
        "d2": 1e22,
        "f1": 0.5,
        "f2": 0.5,
    }
    size = np.geomspace(1e7, 1e11, 48)
    points = points_of(size, 20 * size, np.ones(48))
    exact = law.predict(truth, flops=points.flops)
    noisy = replace(points, loss=exact * np.exp(0.001 * np.random.default_rng(0).normal(size=48)))
    fit = fit_points(noisy, law.name, delta=0.3, holdout=None)
    np.testing.assert_allclose(fit.predict(flops=points.flops), exact, rtol=2e-3)
    assert fit.parameters["d1"] == pytest.approx(1e18, rel=0.5)
    assert fit.parameters["d2"] == pytest.approx(1e22, rel=0.5)


def test_critical_batch_meets_its_two_limits():
    batch = CriticalBatch(B_star=2e8, alpha_B=0.21)
    critical = batch.tokens(3.0)
    assert critical == pytest.approx(2e8 / 3 ** (1 / 0.21))
    # At the critical batch: twice the least steps, and twice the least compute (Kaplan, equation 5.1).
    assert batch.min_steps(1e9, critical, 3.0) == pytest.approx(1e9 / critical / 2)
    assert batch.min_flops(1e18, critical, 3.0) == pytest.approx(1e18 / 2)
    assert batch.min_steps(1e9, 1e3 * critical, 3.0) == pytest.approx(1e6 / critical, rel=2e-3)


def test_lowest_of_each_level_takes_one_point_a_level():
    x = np.log([[1, 2], [1, 2], [1, 3], [4, 2], [1, 2]])
    assert lowest_of_each(x, np.array([3.0, 1.0, 9.0, 2.0, 1.0])).tolist() == [False, True, True, True, False]


def test_best_setting_is_the_minimum_of_the_bowl_of_each_budget():
    """Three learning rates at each budget, the middle one at the minimum of the parabola."""
    points = made("learning-rate", 0.0)
    swept = [
        replace(points, learning_rate=points.learning_rate * factor, loss=points.loss * (1 + off))
        for factor, off in ((0.5, 0.02), (1.0, 0.0), (2.0, 0.02))
    ]
    together = points_of(
        *(np.concatenate([getattr(p, name) for p in swept]) for name in ("params", "tokens", "loss"))
    )
    together = replace(together, learning_rate=np.concatenate([p.learning_rate for p in swept]))
    fit = fit_points(together, "learning-rate", holdout=None)
    assert fit.n_selected == len(points)
    assert fit.parameters == {k: pytest.approx(v, rel=1e-5) for k, v in TRUTH["learning-rate"].items()}


def test_what_a_law_needs_and_points_lack_is_named(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("params,tokens,loss,error\n1e8,2e9,3.1,0.5\n2e8,4e9,2.9,\n")
    points = read_points(file)
    with pytest.raises(BadInputError, match="error is missing for 1 of 2 points"):
        points.column("error")
    with pytest.raises(BadInputError, match="batch_tokens is missing for 2 of 2 points"):
        points.column("min_steps")
    assert points.column("unique_tokens").tolist() == points.tokens.tolist()
    with pytest.raises(BadInputError, match="residual='square' is not accepted; give log or plain"):
        fit_points(points, residual="square")


def test_held_out_errors_are_predicted_as_losses_are():
    points = made("gadre-error", 0.002)
    fit = fit_points(points, "gadre-error", residual="plain", delta=10.0, bootstrap=20)
    assert fit.holdout.max_abs_rel_error < 0.02
    assert fit.objective.name == "sum of Huber(error_pred - error_obs)"
    held = fit.holdout.predictions[0]
    assert held.measured == pytest.approx(points.error[points.flops == held.flops][0])
    assert set(fit.ranges) == {"params", "tokens", "flops", "loss", "error"}
