"""A law declared as a table of terms comes with everything that a fit needs."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling.config.chinchilla import EXPONENT, PARAMETERS
from scaling.estimate.loss_law import LossLaw
from scaling.laws.forms.chinchilla import CHINCHILLA
from scaling.laws.forms.power_sum import Power, PowerSum, Term, constant, falling, product_of, ratio

LAW = PowerSum("two-rates", (constant("E"), falling("A", "params", "alpha"), falling("B", "tokens", "beta")))
TRUTH = {"E": 1.7, "A": 400.0, "B": 900.0, "alpha": 0.33, "beta": 0.29}


def test_equation_names_and_limits_follow_from_the_table():
    assert LAW.equation == "L(N, D) = E + A / N^alpha + B / D^beta"
    assert LAW.parameter_names == ("E", "A", "B", "alpha", "beta")
    assert LAW.theta_names == ("log E", "log A/N^alpha", "log B/D^beta", "alpha", "beta")
    assert LAW.variables == ("params", "tokens")
    assert [one.parameter for one in LAW.limits] == ["A", "B", "E"]
    assert LAW.limits[0].absent == ("alpha",)
    assert LAW.limits[2].optimum


def test_the_fit_and_the_planner_share_chinchillas_law():
    assert CHINCHILLA.parameter_names == PARAMETERS
    assert CHINCHILLA.bounds[3:] == (EXPONENT, EXPONENT)
    planner = LossLaw(name="one", source="test", **TRUTH)
    assert planner.loss(1e9, 2e10) == pytest.approx(float(CHINCHILLA.predict(TRUTH, params=1e9, tokens=2e10)))
    optimum = CHINCHILLA.optimum(TRUTH)
    assert planner.optimum(1e21) == pytest.approx((optimum.params(1e21), optimum.tokens(1e21)))


def test_values_are_those_of_the_equation():
    params, tokens = np.geomspace(1e7, 1e10, 5), np.geomspace(1e9, 1e12, 5)
    by_hand = 1.7 + 400 / params**0.33 + 900 / tokens**0.29
    np.testing.assert_allclose(LAW.predict(TRUTH, params=params, tokens=tokens), by_hand, rtol=1e-13)


@pytest.mark.parametrize(
    ("law", "truth"),
    [
        (LAW, TRUTH),
        (
            PowerSum("ratios", (ratio("Nc", "params", "p"), ratio("Dc", "tokens", "q"))),
            {"Nc": 5e7, "Dc": 2e9, "p": 0.4, "q": 0.3},
        ),
        (
            PowerSum("tied", (falling("A", "params", "alpha"), falling("B", "tokens", "alpha"))),
            {"A": 400.0, "B": 900.0, "alpha": 0.3},
        ),
        (
            PowerSum(
                "over a constant",
                (
                    Term("a", (Power("params", "alpha", -2.0),), "a (6 N^2)^-alpha", over=6.0),
                    falling("B", "tokens", "beta"),
                ),
            ),
            {"a": 400.0, "B": 900.0, "alpha": 0.17, "beta": 0.29},
        ),
    ],
)
def test_the_optimum_of_a_table_is_the_numeric_minimum(law, truth):
    optimum = law.optimum(truth)
    found = minimize_scalar(
        lambda n: float(law.predict(truth, params=np.exp(n), tokens=1e21 / 6 / np.exp(n))),
        bounds=(10, 40),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert np.exp(found.x) == pytest.approx(optimum.params(1e21), rel=1e-5)


def test_a_table_without_rivals_has_no_optimum():
    assert PowerSum("one", (constant("E"), falling("A", "params", "alpha"))).optimum(TRUTH) is None
    assert product_of("c", params="a", tokens="b").text == "c N^a D^b"


def test_default_starts_split_the_target_among_the_terms():
    log_loss, reference = np.log([3.0, 2.5, 2.8]), np.array([18.0, 22.0])
    starts = LAW.starts(np.zeros((3, 2)), log_loss, reference)
    assert starts.shape[1] == 5
    np.testing.assert_allclose(np.exp(starts[:, :3]).sum(axis=1), np.exp(log_loss.mean()), rtol=5e-3)
    reported = LAW.parameters(starts[0], reference)
    named = dict(zip(LAW.parameter_names, reported, strict=True))
    np.testing.assert_allclose(LAW.theta(named, reference), starts[0], rtol=1e-12)
