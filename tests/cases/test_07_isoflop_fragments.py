"""Budgets that are counted or rounded, not exactly 6ND, are grouped as the sweep was made."""

from pathlib import Path

import numpy as np
import pytest

from scaling.laws import fit_points, holdout_mask, read_points
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.frontier.isoflop import fit_isoflops
from tests.laws.known import few_starts

SWEEP = Path(__file__).parent / "07-isoflop-fragments" / "sweep.csv"


def test_the_groups_are_the_four_budgets_of_the_sweep():
    points = read_points(SWEEP)
    budgets = np.genfromtxt(SWEEP, delimiter=",", names=True)["budget"]
    found = isoflop_groups(points)
    assert [sorted(members.tolist()) for _, members in found] == [
        np.flatnonzero(budgets == budget).tolist() for budget in np.unique(budgets)
    ]
    fit = fit_isoflops(points)
    assert len(fit.minima.minima) == 4
    assert fit.params.exponent == pytest.approx(0.512, abs=0.003)


def test_the_law_is_fitted_and_a_budget_held_out_whole():
    points = read_points(SWEEP)
    with few_starts():
        fit = fit_points(points, holdout=None)
    assert not fit.forced
    assert fit.warnings == ()
    assert fit.parameters == {
        "E": pytest.approx(1.817, abs=2e-3),
        "A": pytest.approx(482, rel=0.01),
        "B": pytest.approx(2085, rel=0.01),
        "alpha": pytest.approx(0.348, abs=1e-3),
        "beta": pytest.approx(0.366, abs=1e-3),
    }
    assert holdout_mask(points, 0.2).tolist() == [False] * 51 + [True] * 17
