"""Gadre et al. 2024 (arXiv:2403.08540): their testbed, their fits, their prediction errors."""

from functools import cache
from pathlib import Path

import pytest

from scaling.laws import Chain, Points, fit_points, parse_columns, read_points

TESTBED = Path(__file__).parents[2] / "../shared/data/gadre_104_models.csv"
COLUMNS = "params=N,tokens=D,loss=loss_c4_val,error=err_avg17,dataset=train_dataset"
PARAMS = {
    "0.011B": 10569312,
    "0.079B": 78914048,
    "0.154B": 153677376,
    "0.411B": 411616256,
    "1.4B": 1439795200,
    "6.9B": 6889410560,
}
SMALL = [("0.011B", 20), ("0.079B", 20), ("0.154B", 20), ("0.411B", 20), ("0.011B", 320)]
LEAST_SQUARES = {"residual": "plain", "delta": 10.0, "holdout": None}

pytestmark = pytest.mark.skipif(not TESTBED.is_file(), reason="needs ../shared/data/gadre_104_models.csv")


@cache
def their_runs() -> Points:
    return read_points(TESTBED, parse_columns(COLUMNS))


def row(size: str, multiplier: int) -> int:
    points = their_runs()
    (index,) = [
        i
        for i in range(len(points))
        if points.dataset[i] == "rpj"
        and points.params[i] == PARAMS[size]
        and points.tokens[i] == multiplier * PARAMS[size]
    ]
    return index


@cache
def chain() -> Chain:
    """Loss on the five small runs; error on those and on 1.4B at 20 tokens a parameter (section 3.4)."""
    rows = [row(*run) for run in SMALL]
    loss = fit_points(their_runs().subset(rows), "over-training", **LEAST_SQUARES)
    error = fit_points(their_runs().subset([*rows, row("1.4B", 20)]), "gadre-error", **LEAST_SQUARES)
    return Chain(loss, error)


@pytest.mark.parametrize(
    ("size", "multiplier", "loss_percent", "error_percent"),
    [("1.4B", 640, 0.71, 3.64), ("6.9B", 20, 0.73, 0.05)],
)
def test_small_runs_predict_the_large_ones_as_published(size, multiplier, loss_percent, error_percent):
    points, where = their_runs(), row(size, multiplier)
    run = {"params": points.params[where], "tokens": points.tokens[where]}
    loss = 100 * abs(chain().loss.predict(**run) / points.loss[where] - 1)
    error = 100 * abs(chain().predict(**run) / points.error[where] - 1)
    assert round(float(loss), 2) == loss_percent
    assert round(float(error), 2) == error_percent


def test_the_objective_is_the_one_of_scipy_least_squares():
    """curve_fit on the same five points, from the solution and from afar, goes no lower."""
    from scipy.optimize import least_squares

    points = their_runs().subset([row(*run) for run in SMALL])
    fit = chain().loss

    def residual(p):
        return p[0] + p[1] * points.params ** -p[3] + p[2] * points.tokens ** -p[3] - points.loss

    e, a, b, eta = fit.parameters.values()
    here = [e, a / 6**eta, b / 6**eta, 2 * eta]
    assert (residual(here) ** 2).sum() / 2 == pytest.approx(fit.objective.value, rel=1e-6)
    for start in (here, [1.0, 300.0, 300.0, 0.3], [2.0, 100.0, 1000.0, 0.2]):
        out = least_squares(residual, start, x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15)
        assert fit.objective.value <= out.cost * (1 + 1e-7)


def test_chain_has_an_interval_where_both_laws_have_a_bootstrap():
    rows = [i for i in range(len(their_runs())) if their_runs().dataset[i] == "rpj"]
    points = their_runs().subset(rows)
    options = LEAST_SQUARES | {"bootstrap": 40}
    both = Chain(fit_points(points, "over-training", **options), chain().error)
    run = {"params": 1.4e9, "tokens": 28e9}
    assert both.interval(**run) is None
    both = Chain(both.loss, fit_points(points, "gadre-error", **options))
    low, high = both.interval(**run)
    assert low < both.predict(**run) < high
    assert high - low < 0.1
