"""Equal compute by accident is no isoFLOP group, ties are no edge, and the order of rows changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from scaling.laws import fit_points, read_points
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.frontier.isoflop import fit_isoflops, isoflop_minima
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, few_starts, points_of

CASES = Path(__file__).parent / "12-isoflop-accidental"


def test_a_noise_free_over_trained_grid_gives_back_its_law():
    points = read_points(CASES / "overtrained_grid_exact.csv")
    assert [len(members) for _, members in isoflop_groups(points)] == [1] * len(points)
    with few_starts():
        fit = fit_points(points)
    assert not fit.forced
    assert fit.warnings == ()
    assert fit.parameters == {name: pytest.approx(value, rel=1e-6) for name, value in TRUE.items()}
    with pytest.raises(BadInputError, match="have a minimum"):
        fit_isoflops(points)


def test_ties_in_either_order_give_the_same_document():
    up, down = (read_points(CASES / f"ties_{order}.csv") for order in ("ascending", "descending"))
    with few_starts():
        documents = [fit_points(p, bootstrap=20).model_dump() for p in (up, down)]
    for document in documents:
        del document["source"], document["counting"]  # the file's name
    assert documents[0] == documents[1]
    assert not documents[0]["forced"]
    found = [fit_isoflops(p, bootstrap=20) for p in (up, down)]
    assert found[0].params.exponent_interval == found[1].params.exponent_interval
    assert found[0].minima.minima == found[1].minima.minima
    # The budget whose three smallest sizes tie keeps the minimum of its parabola.
    assert len(found[0].minima.minima) == 4
    last = found[0].minima.minima[-1]
    assert 896921508 < last.params < 1806178116


@pytest.mark.parametrize("method", ["parabola", "akima"])
@pytest.mark.parametrize("tied", [(0, 1), (0, 1, 2), (7, 8), (6, 7, 8)])
def test_a_tie_with_an_end_is_no_edge(method, tied):
    params = np.geomspace(1e8, 1e9, 9)
    loss = 3 + 0.05 * np.log(params / params[4]) ** 2
    loss[list(tied)] = 2.99  # at the end, and inside
    points = points_of(params, 1e20 / 6 / params, loss)
    assert not any("least loss is at" in r.reason for r in isoflop_minima(points, method).refused)


@pytest.mark.parametrize("step", [2.0, 1.5, 3.0])
def test_grids_and_ladders_have_no_groups_and_sweeps_on_a_lattice_do(step):
    """Powers of one number: sizes, tokens and compute coincide; a design takes few values."""
    i, j = (axis.ravel() for axis in np.meshgrid(range(5), range(5), indexing="ij"))
    size, budget = 1e8 * step**i, step**j
    designs = {
        "grid": (size, 1e11 * budget),
        "over-trained ladder": (size, 20 * size * budget),
        "isoflop": (size, 1e19 * budget / 6 / size),
    }
    for name, (params, tokens) in designs.items():
        groups = isoflop_groups(points_of(params, tokens, np.ones(25)))
        assert max(len(members) for _, members in groups) == (5 if name == "isoflop" else 1), name


def chinchilla_figure(seed=0):
    """Like the 240 points digitised from Hoffmann et al. 2022, figure 4: nine budgets."""
    random = np.random.default_rng(seed)
    budgets = np.array([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21])
    counts = [30, 30, 30, 28, 28, 26, 26, 24, 18]
    flops = np.repeat(budgets, counts)
    params = np.concatenate(
        [np.geomspace(0.12, 8, n) * 0.09 * np.sqrt(c) for c, n in zip(budgets, counts, strict=True)]
    ).clip(4e7, 1.6e10)
    tokens = flops / 6 / params
    loss = TRUE["E"] + TRUE["A"] / params ** TRUE["alpha"] + TRUE["B"] / tokens ** TRUE["beta"]
    read = np.exp(random.normal(size=(3, 240)) * np.array([[0.015], [0.015], [0.004]]))
    points = points_of(params * read[0], tokens * read[1], loss * read[2])
    points.loss[[3, 77, 150, 201, 239]] *= [1.06, 1.1, 0.95, 1.08, 1.05]
    return points


def test_240_digitised_points_are_fitted_without_force():
    points = chinchilla_figure()
    with few_starts():
        fit = fit_points(points)
    assert not fit.forced
    assert fit.n_points == 240
    assert fit.parameters["alpha"] == pytest.approx(TRUE["alpha"], abs=0.03)
    assert fit.parameters["beta"] == pytest.approx(TRUE["beta"], abs=0.03)
    assert fit.holdout.mean_abs_rel_error < 0.02
    assert sum(len(members) > 10 for _, members in isoflop_groups(points)) == 9
