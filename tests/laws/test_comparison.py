"""Laws compared by their predictions of larger runs, and averaged."""

from dataclasses import replace

import numpy as np
import pytest

import scaling
from scaling.api.text.blocks import text_of
from scaling.api.text.laws import comparison_blocks
from scaling.laws import LAWS, Points, fit_points, read_law
from scaling.laws.comparison import AUTO, compare_laws
from scaling.laws.uncertainty.stacking import (
    averaged,
    mixture_interval,
    shrunk,
    squares_by_run,
    stacked_weights,
)
from scaling.plots.report_law import comparison_section
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, points_of

TRUTH = {
    "chinchilla": TRUE,
    "coupled": {"E": 1.22, "A": 3355.0, "B": 18186.0, "alpha": 0.408, "beta": 0.431, "k": 0.452},
}


def grid(law: str, noise: float = 0.002, seed: int = 0) -> Points:
    """Six sizes by five token budgets, one run each."""
    params = np.repeat(np.geomspace(2e7, 5e9, 6), 5)
    tokens = np.tile(np.geomspace(5e8, 2e11, 5), 6)
    exact = LAWS[law].predict(TRUTH[law], params=params, tokens=tokens)
    return points_of(params, tokens, exact * np.exp(noise * np.random.default_rng(seed).normal(size=30)))


@pytest.fixture(scope="module")
def of_coupled():
    return compare_laws(grid("coupled"), ("chinchilla", "kaplan-tokens", "coupled"))


def test_a_coupled_truth_is_found(of_coupled):
    found = of_coupled
    assert found.chosen == found.laws[0].law == "coupled"
    chinchilla = next(one for one in found.laws if one.law == "chinchilla")
    assert not chinchilla.alike
    assert chinchilla.rms > 2 * found.laws[0].rms
    assert found.laws[0].weight > 0.8
    assert found.laws[0].aicc < chinchilla.aicc
    assert sum(one.weight for one in found.laws) == pytest.approx(1)
    assert (found.n_cut_offs, found.reason, found.refused) == (4, None, {})


def test_the_simpler_of_two_laws_that_predict_alike_is_chosen():
    found = compare_laws(grid("chinchilla"), ("coupled", "chinchilla"))
    assert found.chosen == "chinchilla"
    assert next(one for one in found.laws if one.law == "chinchilla").alike


def test_the_table_is_shown_in_80_columns_and_in_the_report(of_coupled):
    lines = text_of(comparison_blocks(of_coupled), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "coupled is the simplest law" in " ".join(line.strip() for line in lines)
    law = fit_points(grid("coupled"), "kaplan-tokens", holdout=None)
    section = comparison_section(law.model_copy(update={"comparison": of_coupled}))
    assert "<td" in section
    assert "coupled" in section
    assert comparison_section(law) == ""


def test_laws_that_cannot_be_compared_are_named(of_coupled):
    few = grid("chinchilla").subset(np.array([0, 2, 4, 10, 12, 14, 20, 22, 24]))
    found = compare_laws(few, ("kaplan-tokens", "params-power", "farseer"))
    assert found.chosen == "kaplan-tokens"
    assert found.refused["params-power"] == "describes only the lowest losses, not those of all runs"
    assert "farseer" in found.refused
    with pytest.raises(BadInputError, match="'chinchila' is not known; did you mean chinchilla"):
        compare_laws(few, ("chinchila",))
    with pytest.raises(BadInputError, match="learning-rate predicts learning_rate"):
        compare_laws(few, ("learning-rate",))
    with pytest.raises(BadInputError, match="given twice"):
        compare_laws(few, ("chinchilla", "chinchilla"))
    with pytest.raises(BadInputError, match="none of the laws can be fitted; params-power: describes only"):
        compare_laws(few, ("params-power",))


def test_too_few_predicted_runs_compare_nothing():
    points = grid("chinchilla")
    one_run = replace(points, groups=("small",) * 20 + ("large",) * 10)
    found = compare_laws(one_run, ("kaplan-tokens", "chinchilla"))
    assert found.chosen == "chinchilla"
    assert "are needed to compare laws" in found.reason
    assert {one.weight for one in found.laws} == {None}


@pytest.mark.slow
def test_the_api_fits_the_chosen_law_and_averages_predictions(tmp_path):
    points, out = grid("coupled"), tmp_path / "law.json"
    fit = scaling.fit(
        points,
        laws="chinchilla,coupled",
        bootstrap=0,
        holdout=None,
        profile=False,
        sensitivity=False,
        at=1e22,
        predict={"params": 5e9, "tokens": 5e11},
        out=out,
    )
    law = read_law(out)
    assert law.law == fit.law.law == law.comparison.chosen == "coupled"
    assert law == fit.law
    place, budget = law.comparison.predictions
    assert place.at == {"params": 5e9, "tokens": 5e11}
    assert budget.at["params"] == pytest.approx(fit.allocations[0].params)
    weights = {one.law: one.weight for one in law.comparison.laws}
    assert place.value == pytest.approx(averaged(place.values, {n: weights[n] for n in place.values}))
    assert place.interval[0] < LAWS["coupled"].predict(TRUTH["coupled"], **place.at) < place.interval[1]
    assert f"average of the laws at params 5e+09, tokens 5e+11: {place.value:.2f}"[:-1] in str(fit)
    with pytest.raises(BadInputError, match="--law farseer and --laws do not go together"):
        scaling.fit(points, "farseer", laws="chinchilla")
    with pytest.raises(BadInputError, match="--laws is empty"):
        scaling.fit(points, laws=[])


@pytest.mark.slow
def test_auto_is_every_law_of_params_and_tokens():
    fit = scaling.fit(grid("coupled"), "auto", bootstrap=0, holdout=None, profile=False, sensitivity=False)
    assert {one.law for one in fit.law.comparison.laws} | set(fit.law.comparison.refused) == set(AUTO)
    assert fit.law.law == "coupled"


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["chinchilla", "coupled"])
def test_the_rule_chooses_the_truth_in_most_draws(truth):
    chosen = [
        compare_laws(grid(truth, seed=s), ("kaplan-tokens", "chinchilla", "coupled")).chosen
        for s in range(20)
    ]
    assert chosen.count(truth) >= 16


def test_weights_are_the_best_of_a_fine_grid():
    random = np.random.default_rng(2)
    errors = random.normal(size=(9, 3)) * [1.0, 1.2, 3.0] + random.normal(size=(9, 1))
    weight = random.uniform(0.5, 2, 9)
    found = stacked_weights(errors, weight)
    steps = np.linspace(0, 1, 201)
    trials = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1]
    values = [(weight * (errors @ np.array(w)) ** 2).sum() for w in trials]
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert (weight * (errors @ found) ** 2).sum() <= min(values) * (1 + 1e-9)
    # Errors of opposite sign cancel; equal ones share.
    np.testing.assert_allclose(stacked_weights(np.array([[1.0, -1.0], [2.0, -2.0]]), np.ones(2)), [0.5, 0.5])


def test_few_runs_move_weights_to_the_laws_they_cannot_tell_apart():
    weights, alike = np.array([1.0, 0.0, 0.0]), np.array([True, True, False])
    np.testing.assert_allclose(shrunk(weights, alike, 2), [0.75, 0.25, 0.0])
    assert shrunk(weights, alike, 2000)[0] > 0.99


def test_a_run_counts_once_however_often_it_is_predicted():
    squares = squares_by_run(np.array([[1.0], [3.0], [2.0]]), ["a", "a", "b"])
    np.testing.assert_allclose(squares, [[5.0], [4.0]])


def test_the_mixture_holds_the_middle_of_its_laws():
    same = mixture_interval({"a": 2.0, "b": 2.0}, {"a": (1.9, 2.2), "b": (1.9, 2.2)}, {"a": 0.3, "b": 0.7})
    assert same == pytest.approx((1.9, 2.2), rel=1e-9)
    apart = mixture_interval({"a": 2.0, "b": 3.0}, {"a": (1.9, 2.1), "b": (2.9, 3.1)}, {"a": 0.5, "b": 0.5})
    assert 1.9 < apart[0] < 2.0 < 3.0 < apart[1] < 3.1
    assert mixture_interval({"a": 2.0, "b": 3.0}, {"a": (1.9, 2.1), "b": None}, {"a": 0.5, "b": 0.5}) is None
