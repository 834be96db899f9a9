"""Points that share a run: how many runs there are decides what intervals can say."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.api.text.blocks import text_of
from scaling.api.text.laws import law_blocks
from scaling.laws.fit import fit_points
from scaling.laws.forms.laws import LAWS
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.scale import TUNING, joint_delta, proposal_2
from scaling.laws.uncertainty.resample import expansion
from tests.laws.test_fit import few_starts, points_of

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
LAW = LAWS["chinchilla"]


def trunks(count, seed=0, shared=0.004, own=0.002, branches=(10, 40, 160)):
    """Branches of each trunk, in tokens per parameter; the noise of a trunk is in all of its branches."""
    random = np.random.default_rng(seed)
    params = np.repeat(np.geomspace(2e7, 2e9, count), len(branches))
    tokens = params * np.tile(branches, count)
    noise = np.repeat(random.normal(size=count), len(branches)) * shared + own * random.normal(
        size=len(params)
    )
    points = points_of(params, tokens, LAW.predict(TRUTH, params=params, tokens=tokens) * np.exp(noise))
    return replace(points, groups=tuple(f"trunk {i // len(branches)}" for i in range(len(params))))


@pytest.mark.parametrize("count", [3, 4])
def test_three_or_four_trunks_have_no_intervals_and_say_why(count):
    with few_starts():
        fit = fit_points(trunks(count), bootstrap=50, profile=True, holdout=None)
    assert fit.intervals == {}
    assert fit.bootstrap is None
    assert "of the resamples of runs do not determine the law" in fit.bootstrap_refused
    assert fit.bootstrap_refused in fit.warnings
    assert fit.jackknife.reason == f"{count} runs; at least 5 are needed"
    assert not any(fit.jackknife.intervals.values())
    assert f"{count} runs cannot measure the noise" in fit.hessian.reason
    assert not any(fit.hessian.intervals.values())
    assert not fit.profile
    assert fit.interval(params=1e10, tokens=2e11) is None
    text = text_of(law_blocks(fit))
    assert "no jackknife intervals" in text
    assert "no Hessian intervals" in text


def test_every_method_has_intervals_from_five_trunks():
    with few_starts():
        fit = fit_points(trunks(5, seed=3), bootstrap=100, profile=True, holdout=None)
    assert 0.05 < fit.bootstrap.rejected < 0.15  # 305 / 3125 resamples have fewer than three trunks
    assert fit.jackknife.runs == 5
    assert fit.hessian.freedom == 4
    for name in ("alpha", "beta", "a"):
        jackknife, hessian = fit.jackknife.intervals[name], fit.hessian.intervals[name]
        assert jackknife[1] - jackknife[0] == pytest.approx(hessian[1] - hessian[0], rel=0.5)
        assert fit.profile[name].interval[0] < fit.profile[name].interval[1]
    assert "95% jackknife" in text_of(law_blocks(fit))


@pytest.mark.slow
def test_trunks_cover_the_truth_where_independent_points_would_not():
    at = {"params": 2e10, "tokens": 4e11}
    held = {"jackknife": [], "hessian": [], "prediction": [], "independent": []}
    with few_starts():
        for seed in range(24):
            points = trunks(8, seed)
            fit = fit_points(points, holdout=None)
            alone = fit_points(replace(points, groups=points.labels), holdout=None)
            low, high = fit.interval(**at)
            held["prediction"].append(low <= LAW.predict(TRUTH, **at) <= high)
            for name, intervals in (
                ("jackknife", fit.jackknife.intervals),
                ("hessian", fit.hessian.intervals),
                ("independent", alone.hessian.intervals),
            ):
                held[name].append(intervals["E"][0] <= TRUTH["E"] <= intervals["E"][1])
    shares = {name: float(np.mean(one)) for name, one in held.items()}
    assert min(shares["jackknife"], shares["hessian"], shares["prediction"]) >= 0.87
    assert shares["independent"] <= min(shares["jackknife"], shares["hessian"])


def test_the_scale_is_the_standard_deviation_of_normal_noise_and_ignores_outliers():
    noise = 0.01 * np.random.default_rng(0).normal(size=20_000)
    weight = np.ones(len(noise))
    assert proposal_2(noise, weight, 0, 1.0) == pytest.approx(0.01, rel=0.02)
    assert proposal_2(noise, 7 * weight, 0, 1e-6) == pytest.approx(0.01, rel=0.02)
    noise[:1000] = 100.0
    assert proposal_2(noise, weight, 0, 1.0) == pytest.approx(0.01, rel=0.15)


def test_delta_follows_the_noise():
    deltas = []
    for noise in (0.001, 0.01):
        points = trunks(9, shared=0.0, own=noise)
        problem = Problem.of(LAW, points, tied=True)
        with few_starts():
            delta, scale = joint_delta(problem)
        assert delta == pytest.approx(TUNING * scale)
        assert scale == pytest.approx(noise, rel=0.4)
        deltas.append(delta)
    assert deltas[1] == pytest.approx(10 * deltas[0], rel=0.1)


def test_exact_losses_keep_the_delta_of_the_paper():
    with few_starts():
        fit = fit_points(trunks(6, shared=0.0, own=0.0), holdout=None)
    assert (fit.objective.delta, fit.objective.scale) == (1e-3, None)
    assert fit.parameters["alpha"] == pytest.approx(0.34, rel=1e-6)


@pytest.mark.parametrize(("runs", "by"), [(5, 1.584), (12, 1.173), (10**6, 1.0)])
def test_the_expansion_of_few_runs(runs, by):
    """sqrt(G / (G - 1)) t / z: for five runs sqrt(5 / 4) 2.776 / 1.960."""
    assert expansion(runs) == pytest.approx(by, abs=1e-3)
