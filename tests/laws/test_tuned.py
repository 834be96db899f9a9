"""Runs that sweep settings: each bowl is one point of a fit, and the target of a law of the setting."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scaling.laws import LAWS, fit_points, read_points
from scaling.laws.tuned import fitted_to, tuned
from scaling.laws.uncertainty.noise import seed_noise, t_quantile
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, few_starts, points_of
from tests.plots import drawn_law
from tests.plots.sweep_of import write_sweep

POWERS = (-0.23, -0.1)  # of the best learning rate, in N and D
RATES = 2.0 ** np.arange(-2, 3)


def swept(noise=0.0, seed=0, shift=0.5, curvature=0.01, sizes=6, rates=RATES):
    """Learning rates in factors of two at every size and token budget, a grid up to `shift` off the best.

    With `shift` None all have one grid, about the best rate of the middle.
    """
    random = np.random.default_rng(seed)
    N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(2e7, 1e10, sizes), np.geomspace(5e8, 5e11, 5)))
    best = 50 * N ** POWERS[0] * D ** POWERS[1]
    if shift is None:
        centre = np.full(len(N), np.exp(np.log(best).mean()))
    else:
        centre = best * 2 ** random.uniform(-shift, shift, len(N))
    rate = centre[:, None] * rates
    loss = TRUE["E"] + TRUE["A"] / N ** TRUE["alpha"] + TRUE["B"] / D ** TRUE["beta"]
    loss = loss[:, None] * (1 + curvature * np.log2(rate / best[:, None]) ** 2)
    loss = loss * np.exp(noise * random.normal(size=loss.shape))
    points = points_of(np.repeat(N, len(rates)), np.repeat(D, len(rates)), loss.ravel())
    return replace(points, learning_rate=rate.ravel())


def law_of(points):
    with few_starts():
        return fit_points(points, holdout=None)


def test_the_law_is_that_of_the_minima_and_not_of_all_runs():
    points = swept(shift=None, rates=2.0 ** np.arange(-4, 4))
    fit = law_of(points)
    exponent = LAWS["chinchilla"].optimum(TRUE).a
    assert fit.n_points == 30
    assert fit.parameters["E"] == pytest.approx(TRUE["E"], abs=2e-3)
    assert fit.optimum.a == pytest.approx(exponent, abs=1e-3)
    pooled = law_of(replace(points, learning_rate=None))
    assert abs(pooled.parameters["E"] - TRUE["E"]) > 0.03
    assert (fit.swept.n_bowls, fit.swept.n_points, fit.swept.settings) == (30, 240, ("learning_rate",))
    assert any("30 sweeps of settings (learning_rate; 240 runs)" in note for note in fit.notes)


def test_minima_are_unbiased_where_the_lowest_loss_is_not():
    off, lowest = [], []
    for seed in range(20):
        points = swept(0.002, seed)
        found = tuned(points, LAWS["chinchilla"]).points
        true = (
            TRUE["E"] + TRUE["A"] / found.params ** TRUE["alpha"] + TRUE["B"] / found.tokens ** TRUE["beta"]
        )
        off += np.log(found.loss / true).tolist()
        at_best = points.loss.reshape(-1, 5).min(axis=1)
        first = points.subset(np.arange(0, len(points), 5))
        level = (
            TRUE["E"] + TRUE["A"] / first.params ** TRUE["alpha"] + TRUE["B"] / first.tokens ** TRUE["beta"]
        )
        lowest += np.log(at_best / level).tolist()
    assert abs(np.mean(off)) < 4e-4
    assert np.std(off) < np.std(lowest)


def test_exponents_of_the_best_rate_are_better_than_those_of_the_grid():
    """Weighted least squares of the targets: the search for a law is tested elsewhere."""
    errors = {"vertex": [], "grid": []}
    for seed in range(20):
        points = swept(0.002, seed)
        minima = tuned(points, LAWS["learning-rate"]).points
        best = np.arange(0, len(points), 5) + points.loss.reshape(-1, 5).argmin(axis=1)
        for name, one in (("vertex", minima), ("grid", points.subset(best))):
            root = np.sqrt(one.weight)
            X = np.stack([np.ones(len(one)), np.log(one.params), np.log(one.tokens)], axis=1)
            found = np.linalg.lstsq(X * root[:, None], np.log(one.learning_rate) * root, rcond=None)[0]
            errors[name].append(found[1:] - POWERS)
    rmse = {name: np.sqrt(np.mean(np.square(rows))) for name, rows in errors.items()}
    assert rmse["vertex"] < 0.007
    assert rmse["vertex"] < rmse["grid"] / 2


@pytest.mark.parametrize("one_grid", [False, True])
def test_standard_errors_of_minima_contain_the_truth(one_grid):
    """Of the loss and of the best rate, with the noise that the parabolas leave.

    `benchmarks/coverage.py tuned` measures the intervals of laws.
    """
    noise, measured, held = 0.002, [], {"loss": [], "rate": []}
    for seed in range(10):
        shift, rates = (None, 2.0 ** np.arange(-5, 6)) if one_grid else (0.5, RATES)
        found = tuned(swept(noise, seed, shift=shift, rates=rates), LAWS["chinchilla"])
        measured.append(found.swept.noise)
        for bowl in found.swept.bowls:
            true = (
                TRUE["E"] + TRUE["A"] / bowl.params ** TRUE["alpha"] + TRUE["B"] / bowl.tokens ** TRUE["beta"]
            )
            off = np.log(bowl.loss / true) / noise / np.sqrt(bowl.loss_variance)
            held["loss"].append(abs(off) < 1.96)
            best = 50 * bowl.params ** POWERS[0] * bowl.tokens ** POWERS[1]
            error = bowl.standard_errors["learning_rate"]
            held["rate"].append(abs(np.log(bowl.settings["learning_rate"] / best)) < 1.96 * error)
    assert np.sqrt(np.mean(np.square(measured))) == pytest.approx(noise, rel=0.3)
    shares = {name: np.mean(rows) for name, rows in held.items()}
    assert {name: share for name, share in shares.items() if not 0.9 <= share <= 0.99} == {}


@pytest.mark.parametrize("one_grid", [False, True])
def test_intervals_of_the_exponents_of_the_best_rate_contain_them(one_grid):
    """Student's t of weighted least squares: for normal noise those of the law itself."""
    held = []
    for seed in range(30):
        shift, rates = (None, 2.0 ** np.arange(-5, 6)) if one_grid else (0.5, RATES)
        one = tuned(swept(0.002, seed, shift=shift, rates=rates, sizes=4), LAWS["learning-rate"]).points
        root = np.sqrt(one.weight)
        X = np.stack([np.ones(len(one)), np.log(one.params), np.log(one.tokens)], axis=1) * root[:, None]
        y = np.log(one.learning_rate) * root
        found, squares = np.linalg.lstsq(X, y, rcond=None)[:2]
        freedom = len(y) - 3
        errors = np.sqrt(np.diag(np.linalg.inv(X.T @ X)) * squares / freedom)
        held += (abs(found - np.array([np.log(50), *POWERS])) < t_quantile(0.95, freedom) * errors).tolist()
    assert 0.9 <= np.mean(held) <= 0.99


def test_too_few_settings_give_the_lowest_loss_and_a_note():
    points = swept()
    two = points.subset(np.isin(np.arange(len(points)) % 5, (2, 3)))
    found = tuned(two, LAWS["learning-rate"])
    assert len(found.points) == 30
    assert found.edges == ()
    assert "lowest loss, because a parabola needs three settings" in found.notes[0]


@pytest.mark.parametrize("law", ["chinchilla", "learning-rate"])
def test_a_minimum_at_the_edge_is_refused(law):
    points = swept()
    cut = points.subset(np.arange(len(points)) % 5 > 1)
    with pytest.raises(
        BadInputError, match=r"best learning_rate is the smallest or largest tried.*both sides"
    ):
        fit_points(cut, law, holdout=None)
    with few_starts():
        fit = fit_points(cut, law, holdout=None, force=True)
    assert fit.forced
    assert fit.n_points == 30


def test_no_weight_decay_is_a_bound_and_not_an_edge():
    points = swept(shift=0).subset(np.repeat(np.arange(2, 150, 5), 3))
    points = replace(points, learning_rate=None, columns={"weight_decay": ("0", "0.1", "0.2") * 30})
    rising = replace(points, loss=points.loss * np.tile([1, 1.01, 1.02], 30))
    assert len(tuned(replace(rising, loss=rising.loss[::-1]), LAWS["chinchilla"]).edges) == 1
    found = tuned(rising, LAWS["chinchilla"])
    assert found.edges == ()
    assert len(found.points) == 30


def test_columns_of_tables_that_are_settings_and_those_that_are_not():
    points = swept()
    rates = tuple(f"{rate:.8g}" for rate in points.learning_rate)
    plain = replace(points, learning_rate=None)
    assert len(tuned(replace(plain, columns={"lr": rates}), LAWS["chinchilla"]).points) == 30
    assert len(tuned(replace(plain, columns={"score": rates}), LAWS["chinchilla"]).points) == 150
    assert len(tuned(plain, LAWS["chinchilla"]).points) == 150
    # The lower the loss is, the less the error: such a law describes untuned runs as well.
    assert len(tuned(replace(points, error=points.loss / 10), LAWS["gadre-error"]).points) == 150


def test_a_column_lr_is_the_target_of_a_law_of_the_learning_rate():
    points = swept()
    rates = tuple(f"{rate:.8g}" for rate in points.learning_rate)
    plain = replace(points, learning_rate=None)
    found = tuned(replace(plain, columns={"lr": rates}), LAWS["learning-rate"])
    expected = tuned(points, LAWS["learning-rate"])
    assert found.points.learning_rate == pytest.approx(expected.points.learning_rate, rel=1e-6)
    two = replace(plain, columns={"lr": rates, "max_lr": rates})
    with pytest.raises(BadInputError, match="learning_rate is missing"):
        tuned(two, LAWS["learning-rate"])


def test_the_runs_of_sweeps_are_kept_apart_from_the_points_that_a_law_is_fitted_to():
    points = swept()
    reduced = tuned(points, LAWS["chinchilla"])
    law = drawn_law.law_of(reduced.points).model_copy(update={"swept": reduced.swept})
    found = fitted_to(points, law)
    assert (len(found.points), len(found.runs)) == (30, 150)
    assert sorted(found.runs.loss) == pytest.approx(sorted(points.loss))
    assert fitted_to(points, None).points is points
    assert fitted_to(points, law.model_copy(update={"swept": None})).points is points


def test_seeds_stay_separate_points():
    points = swept().subset(np.repeat(np.arange(2, 150, 5), 3))
    points = replace(points, groups=tuple(f"run {i}" for i in range(90)), seeds=tuple("012" * 30))
    found = tuned(points, LAWS["chinchilla"])
    assert found.swept is None
    assert len(found.points) == 90
    assert seed_noise(points).n_sets == 30


def test_bowls_that_share_trunks_are_one_run():
    points = swept()
    trunks = tuple(f"N {n:.3g} rate {i % 5}" for i, n in enumerate(points.params))
    found = tuned(replace(points, groups=trunks), LAWS["chinchilla"]).points
    assert len(set(found.groups)) == 6


def test_runs_of_a_directory_are_compared_by_their_configs(tmp_path):
    home = write_sweep(tmp_path / "rate 0", 0.0)
    for i, rise in enumerate((0.02, 0.0, 0.02)):
        other = write_sweep(tmp_path / f"rate {i + 1}", 0.0)
        for run in sorted(other.iterdir()):
            record = json.loads((run / "record.json").read_text())
            record |= {"id": f"{i}-{record['id']}", "name": f"{record['name']}-{i}", "seed": i}
            for point in record["points"]:
                point["loss"] *= 1 + rise
            (run / "record.json").write_text(json.dumps(record))
            (run / "config.yaml").write_text(
                f"name: x\ntrain: {{seed: {i}, learning_rate: {1e-3 * 2**i}, log_every: {10 + i}}}\n"
            )
            run.rename(home / f"{i}-{run.name}")
    for run in home.glob("run-*"):
        for file in run.iterdir():
            file.unlink()
        run.rmdir()
    found = tuned(read_points(home), LAWS["chinchilla"])
    assert (found.swept.n_bowls, found.swept.n_points) == (18, 54)
    assert found.swept.settings == ("learning_rate",)
    assert found.swept.bowls[0].settings["learning_rate"] == pytest.approx(2e-3)
