"""The rolled test, sensitivity and seed noise of a fit."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scaling.laws import LAWS, fit_points, read_law, read_points
from scaling.laws.uncertainty.noise import seed_noise
from tests.laws.known import TRUE, few_starts, ladder
from tests.plots.sweep_of import write_sweep


@pytest.fixture(scope="module")
def fitted():
    with few_starts():
        return fit_points(ladder(0.003, 2, sizes=12), holdout=None, rolling=4, sensitivity=True)


def test_rolled_cut_offs_predict_what_lies_beyond_them(fitted):
    points, rows = ladder(0.003, 2, sizes=12), fitted.rolling
    assert 2 <= len(rows) <= 4
    assert [r.flops for r in rows] == sorted(r.flops for r in rows)
    largest = {
        g: points.flops[[i for i, h in enumerate(points.groups) if h == g]].max() for g in points.groups
    }
    for row in rows:
        below = np.array([largest[g] <= row.flops * 1.000001 for g in points.groups])
        ahead = ~below & (points.flops > row.flops * 1.000001)
        assert (row.n_fitted, row.n) == (below.sum(), ahead.sum())
        assert row.extrapolation == pytest.approx(points.flops.max() / row.flops)
        assert row.mean_abs_rel_error <= row.max_abs_rel_error < 0.05
        # The same law as a fit that never saw the rest.
        with few_starts():
            alone = fit_points(points.subset(below), holdout=None)
        for name, value in alone.parameters.items():
            assert row.parameters[name] == pytest.approx(value, rel=1e-4)
    assert np.mean([r.inside for r in rows]) > 0.7


def test_each_row_of_sensitivity_is_a_fit_of_its_own(fitted):
    points, rows = ladder(0.003, 2, sizes=12), {r.change: r for r in fitted.sensitivity}
    assert list(rows)[:5] == ["as fitted", "delta 0.0001", "delta 0.001", "delta 0.01", "least squares"]
    assert {"without the smallest size", "without the largest size", "without the shortest budgets"} <= set(
        rows
    )
    for name, value in fitted.parameters.items():
        assert rows["as fitted"].parameters[name] == pytest.approx(value, rel=1e-6)
    kept = points.subset(points.params < points.params.max() * 0.99)
    with few_starts():
        others = {
            "without the largest size": fit_points(kept, delta=fitted.objective.delta, holdout=None),
            "least squares": fit_points(points, delta=10.0, holdout=None),
        }
    for change, other in others.items():
        row = rows[change]
        assert row.n == other.n_points
        assert row.a == pytest.approx(other.optimum.a, rel=1e-4)
        for name, value in other.parameters.items():
            assert row.parameters[name] == pytest.approx(value, rel=1e-4)
    flops = 10 * points.flops.max()
    optimum = LAWS["chinchilla"].optimum(fitted.parameters)
    expected = fitted.predict(params=optimum.params(flops), tokens=optimum.tokens(flops))
    assert rows["as fitted"].prediction == pytest.approx(float(expected), rel=1e-6)


def test_a_row_without_enough_points_says_so():
    with few_starts():
        fit = fit_points(ladder(0.003, 2, sizes=3, multiples=(5, 10, 20)), holdout=None, sensitivity=True)
    rows = {r.change: r for r in fit.sensitivity}
    assert "2 different values of params" in rows["without the largest size"].refused
    assert rows["without the largest size"].prediction is None


def seeded(noise=0.005, seeds=4):
    points = ladder(sizes=5)
    many = points.subset(np.tile(np.arange(len(points)), seeds))
    error = np.random.default_rng(3).normal(size=len(many))
    return replace(
        many,
        loss=many.loss * np.exp(noise * error),
        seeds=tuple(str(i // len(points)) for i in range(len(many))),
        groups=tuple(f"{g} seed {i // len(points)}" for i, g in enumerate(many.groups)),
    )


def test_seed_noise_is_the_pooled_deviation_of_log_losses():
    points = seeded()
    found = seed_noise(points)
    logs = np.log(points.loss).reshape(4, -1)
    assert found.std_log_loss == pytest.approx(np.sqrt(logs.var(axis=0, ddof=1).mean()))
    assert found.std_log_loss == pytest.approx(0.005, rel=0.25)
    assert (found.n_sets, found.n_points) == (20, 80)
    assert found.by == "seed"
    assert seed_noise(replace(points, seeds=None)).by == "equal numbers"
    assert seed_noise(ladder()) is None
    assert seed_noise(replace(points, seeds=("0",) * len(points))) is None


def test_records_that_differ_in_their_seed_alone_are_replicates(tmp_path):
    first, second = write_sweep(tmp_path / "a", 0.01, 0), write_sweep(tmp_path / "b", 0.01, 1)
    for home in sorted(second.iterdir()):
        record = json.loads((home / "record.json").read_text()) | {"seed": 1, "id": f"seed-{home.name}"}
        (home / "record.json").write_text(json.dumps(record))
        home.rename(first / f"again-{home.name}")
    found = seed_noise(read_points(first))
    assert (found.n_sets, found.n_points) == (18, 36)
    assert found.std_log_loss == pytest.approx(0.01, rel=0.5)
    for i, home in enumerate(sorted(first.glob("again-*"))):
        lr = 1e-3 * (1 + i)
        (home / "config.yaml").write_text(f"name: x\ntrain: {{seed: 1, learning_rate: {lr}}}\n")
    assert seed_noise(read_points(first)) is None


def test_a_document_of_an_older_fit_is_still_read(tmp_path):
    with few_starts():
        fit = fit_points(ladder(0.003), holdout=None)
    old = json.loads(fit.model_dump_json())
    for key in ("profile", "hessian", "rolling", "seed_noise", "sensitivity", "dropped"):
        del old[key]
    (tmp_path / "law.json").write_text(json.dumps(old))
    assert read_law(tmp_path / "law.json").parameters == fit.parameters
    # Without a bootstrap the Hessian gives predictions their interval.
    low, high = fit.interval(params=1e9, tokens=2e10)
    assert low < fit.predict(params=1e9, tokens=2e10) < high
    assert TRUE["E"] < low
