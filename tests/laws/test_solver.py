"""One compiled program per law serves free fits and profiles, subsets and any number of problems."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.laws import LAWS, fit_points
from scaling.laws.forms.quantities import quantities
from scaling.laws.solving import solver
from scaling.laws.solving.huber import Pins
from scaling.laws.solving.problem import Problem
from tests.laws.known import few_starts, ladder


def problem(noise=0.01, width=0):
    points, law = ladder(noise, 3, sizes=6), LAWS["chinchilla"]
    one = Problem.of(law, points, 0.3, width=width)
    starts = law.starts(one.x, one.log_target, one.reference)
    return one, points, starts[:: len(starts) // 40]


def test_a_fit_with_all_intervals_compiles_one_program(monkeypatch):
    monkeypatch.setattr(solver, "_COMPILED", {})
    with few_starts():
        fit_points(ladder(0.01, 1, sizes=7), bootstrap=20, profile=True, rolling=3, sensitivity=True)
    assert len(solver._COMPILED) == 1


def test_padding_changes_nothing():
    one, _, starts = problem()
    S = len(starts)
    solve = lambda width: solver.solve(  # noqa: E731
        replace(one, width=width), one.weight[None], np.zeros(S, int), starts, np.full(S, 0.3)
    )
    narrow, wide = solve(0), solve(100)
    np.testing.assert_allclose(wide.value, narrow.value, rtol=1e-12)
    np.testing.assert_allclose(wide.theta, narrow.theta, atol=1e-8)


@pytest.mark.slow
def test_more_problems_than_one_call_holds(monkeypatch):
    one, _, starts = problem()
    many = np.tile(starts, (150, 1))
    S = len(many)
    out = solver.solve(one, np.ones((S, len(one.x))), np.arange(S), many, np.full(S, 0.3))
    np.testing.assert_array_equal(out.value, np.tile(out.value[: len(starts)], 150))


def test_a_pin_holds_its_quantity_and_the_rest_is_the_best_there():
    one, points, starts = problem()
    asked = quantities(one.form, one.reference, float(points.flops.max()))
    free = solver.solve(one, one.weight[None], np.zeros(1, int), starts[:1], np.array([0.3]))
    centre = asked.scaled(free.theta[0])
    Q = len(asked.names)
    held = centre + 0.02
    pins = Pins(np.arange(Q), held, np.full(Q, 1.0), np.full(Q, 1e6))
    out = solver.solve(
        one,
        one.weight[None],
        np.zeros(Q, int),
        np.repeat(free.theta, Q, axis=0),
        np.full(Q, 0.3),
        pins,
        asked,
    )
    reached = np.array([asked.scaled(theta)[i] for i, theta in enumerate(out.theta)])
    assert reached == pytest.approx(held, abs=1e-3)
    assert (out.value > free.value[0]).all()
    assert out.gradient.max() < 1e-9 * 0.3 * 1e6  # over delta and the sum of the weights
