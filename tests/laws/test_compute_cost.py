"""Compute as the points count it: c(N) D in the optimum, the allocation, the exponents and the plan."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling.api.laws import fit
from scaling.api.text.laws import cost_note
from scaling.estimate.loss_law import read_loss_law
from scaling.laws import LAWS, fit_points, read_points
from scaling.laws.forms.limiting import limiting_form
from scaling.laws.frontier.approaches import compare_approaches
from scaling.laws.frontier.cost import compute_cost
from scaling.laws.frontier.optimum import allocate
from scaling.laws.law import read_law
from scaling.laws.points import Count
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, few_starts, ladder
from tests.laws.valleys import exponent, valleys
from tests.plots.sweep_of import write_sweep

ELASTICITY = 0.88
COSTS = {
    "power": lambda n: 40 * n**ELASTICITY,
    "attention": lambda n: 6 * n + 3e4 * n ** (2 / 3),  # 6N and a term that falls behind it
}


def counted(cost, noise=1e-3):
    points = ladder(noise)
    return replace(
        points,
        flops=cost(points.params) * points.tokens,
        counts={"params": Count("total"), "flops": Count("counted")},
    )


def best_size(parameters, cost, flops):
    """The size of least loss among pairs that cost `flops`, by search."""

    def loss(log_n):
        n = np.exp(log_n)
        return LAWS["chinchilla"].predict(parameters, params=n, tokens=flops / cost(n)).item()

    return float(np.exp(minimize_scalar(loss, bounds=(12, 30), method="bounded", options={"xatol": 1e-9}).x))


@pytest.mark.parametrize("name", COSTS)
def test_a_pair_costs_its_budget_and_has_the_least_loss(name):
    cost, points = COSTS[name], counted(COSTS[name])
    found = compute_cost(points)
    assert found.max_rel_error < 1e-3
    optimum = LAWS["chinchilla"].optimum(TRUE, found)
    for flops in np.geomspace(points.flops.min(), points.flops.max(), 4):
        n, d = float(optimum.params(flops)), float(optimum.tokens(flops))
        assert cost(n) * d == pytest.approx(flops, rel=2e-3)
        assert n == pytest.approx(best_size(TRUE, cost, flops), rel=0.02)
    np.testing.assert_allclose(optimum.params(np.array([1e20, 1e22]))[1], optimum.params(1e22))


def test_exponents_are_those_of_the_cost():
    optimum = LAWS["chinchilla"].optimum(TRUE, compute_cost(counted(COSTS["power"])))
    total = TRUE["alpha"] + TRUE["beta"] * ELASTICITY
    assert optimum.a == pytest.approx(TRUE["beta"] / total, rel=1e-6)
    assert optimum.b == pytest.approx(TRUE["alpha"] / total, rel=1e-6)
    growth = np.log(optimum.params(1e26) / optimum.params(1e18)) / np.log(1e8)
    assert growth == pytest.approx(optimum.a, rel=1e-6)


def test_6nd_is_exact_and_needs_no_cost():
    points = ladder(1e-3)
    assert compute_cost(points) is None
    assert compute_cost(replace(points, flops=points.flops * 1.005)) is None  # rounded
    law = LAWS["chinchilla"]
    assert law.optimum(TRUE, None) == law.optimum(TRUE)


def test_one_size_says_nothing_of_how_its_cost_grows():
    points = ladder()
    points = points.subset(points.params == points.params.min())
    found = compute_cost(replace(points, flops=1.5 * points.flops))
    assert found.elasticity == 1
    assert np.exp(found.log_per_token(np.log(1e9))) == pytest.approx(9e9)


def test_a_limiting_form_keeps_the_cost():
    law = LAWS["chinchilla"]
    without_e = limiting_form(law, tuple(one for one in law.limits if one.parameter == "E"))
    cost = compute_cost(counted(COSTS["power"]))
    values = TRUE | {"E": 0.0}
    assert without_e.optimum(values, cost) == law.optimum(values, cost)


@pytest.fixture(scope="module")
def fitted():
    points = counted(COSTS["power"])
    with few_starts():
        return points, fit_points(
            points,
            bootstrap=30,
            holdout=None,
            profile=True,
            sensitivity=True,
            countings={"C: 6nd": ladder(1e-3)},
        )


def test_the_document_carries_the_cost_to_everything_that_reads_it(fitted, tmp_path):
    points, law = fitted
    law.write(tmp_path / "law.json")
    again = read_law(tmp_path / "law.json")
    assert again.cost == law.cost == compute_cost(points)
    (row,) = allocate(again, [1e21])
    assert COSTS["power"](row.params) * row.tokens == pytest.approx(1e21, rel=1e-6)
    for budget in law.optimum.budgets:
        assert COSTS["power"](budget.params) * budget.tokens == pytest.approx(budget.flops, rel=1e-6)
    assert law.optimum.a == law.frontier().a
    # The planner reads the same document without NumPy.
    n, d = read_loss_law(tmp_path / "law.json").optimum(1e21)
    assert (n, d) == pytest.approx((row.params, row.tokens), rel=1e-6)


def test_intervals_of_the_exponent_are_of_the_same_compute(fitted):
    _, law = fitted
    for low, high in (law.optimum.intervals["a"], law.profile["a"].interval, law.hessian.intervals["a"]):
        assert low < law.optimum.a < high
        assert high - low < 0.1
    assert "tokens_per_param" not in law.profile
    assert "tokens_per_param" not in law.hessian.intervals


def test_the_sensitivity_row_of_another_compute_moves_a(fitted):
    _, law = fitted
    rows = {row.change: row for row in law.sensitivity}
    assert rows["as fitted"].a == pytest.approx(law.optimum.a)
    p, q = (rows["C: 6nd"].parameters[name] for name in ("alpha", "beta"))
    assert rows["C: 6nd"].a == pytest.approx(q / (p + q))
    assert abs(rows["C: 6nd"].a - rows["as fitted"].a) > 0.02


def test_at_answers_in_the_counting_of_a_table(tmp_path):
    points = counted(COSTS["power"], noise=0.0)
    lines = ["params,tokens,flops,loss"]
    columns = (points.params, points.tokens, points.flops, points.loss)
    lines += [",".join(map(repr, map(float, row))) for row in zip(*columns, strict=True)]
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    with few_starts():
        found = fit(
            tmp_path / "runs.csv", bootstrap=0, rolling=0, profile=False, sensitivity=False, at=[1e21]
        )
    (row,) = found.to_dict()["at"]
    assert COSTS["power"](row["params"]) * row["tokens"] == pytest.approx(1e21, rel=1e-6)
    assert row["params"] == pytest.approx(best_size(TRUE, COSTS["power"], 1e21), rel=0.01)


def test_approaches_agree_on_an_exponent_of_counted_compute():
    """The minima of isoFLOP groups are of the compute that makes the groups."""
    cost = COSTS["power"]
    sweep = valleys(span=4, noise=0.0)
    budgets = np.repeat(np.geomspace(1e18, 1e21, 6), 9)
    tokens = budgets / cost(sweep.params)
    loss = LAWS["chinchilla"].predict(TRUE, params=sweep.params, tokens=tokens)
    counts = {"params": Count("total"), "flops": Count("counted")}
    points = replace(sweep, tokens=tokens, flops=budgets, loss=loss, counts=counts)
    found = {one.name: one for one in compare_approaches(points, bootstrap=20)}
    truth = TRUE["beta"] / (TRUE["alpha"] + TRUE["beta"] * ELASTICITY)
    minima, projected = found["isoFLOP minima (windowed)"], found["variable projection"]
    assert abs(truth - exponent()) > 0.02
    for one in (minima, projected):
        assert one.a == pytest.approx(truth, abs=5e-3)
        for place in one.at:
            assert cost(place.params) * place.tokens == pytest.approx(place.flops, rel=5e-3)
            assert place.params == pytest.approx(best_size(TRUE, cost, place.flops), rel=0.03)


def test_a_run_directory_answers_in_its_counted_compute(tmp_path):
    """Records whose counted compute grows less than their parameters, as of small models with attention."""
    cost = COSTS["attention"]
    home = write_sweep(tmp_path / "runs", noise=0.0)
    for path in home.glob("*/record.json"):
        record = json.loads(path.read_text())
        for point in record["points"]:
            point["flops"] = cost(record["params"]["non_embedding_with_head"]) * point["tokens"]
        path.write_text(json.dumps(record))
    given = {"bootstrap": 0, "rolling": 0, "profile": False, "holdout": None}
    with few_starts():
        found = fit(home, flops="counted", at=[1e13], sensitivity=True, **given).to_dict()
    (row,) = found["at"]
    assert cost(row["params"]) * row["tokens"] == pytest.approx(1e13, rel=0.01)
    assert 6 * row["params"] * row["tokens"] < 0.9e13
    rows = {row["change"]: row["a"] for row in found["sensitivity"]}
    assert abs(rows["C: 6nd"] - rows["as fitted"]) > 0.01


def test_a_table_has_no_architectures_to_count(tmp_path):
    (tmp_path / "runs.csv").write_text("params,tokens,loss\n1e6,2e7,4\n2e6,4e7,3.5\n")
    with pytest.raises(
        BadInputError, match=r"flops=counted: a table has no architectures.*add a column flops"
    ):
        read_points(tmp_path / "runs.csv", flops="counted")


def test_sizes_beyond_those_whose_cost_is_known_are_named():
    cost = compute_cost(counted(COSTS["power"]))
    low, high = cost.sizes
    assert cost_note(cost, [low, high]).startswith(
        "note: compute is c(N) D: c(N) is fitted to sizes from 2e+07 to 1e+10"
    )
    assert "extrapolated" not in cost_note(cost, [low, high])
    assert cost_note(cost, [high, 2 * high]).endswith("and extrapolated as a power law beyond them")
