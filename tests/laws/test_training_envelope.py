from dataclasses import dataclass, replace

import numpy as np
import pytest

from scaling.laws import LAWS
from scaling.laws.frontier.training_envelope import fit_training_envelope, smoothed
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE
from tests.laws.valleys import exponent


@dataclass(frozen=True)
class Curve:
    name: str
    params: float
    tokens: np.ndarray
    flops: np.ndarray
    loss: np.ndarray


def curves(sizes=24, noise=0.0, lowest=2e7, highest=1e10, longest=400):
    """Runs that follow the law at every step, from 1 token a parameter to `longest`."""
    random = np.random.default_rng(0)
    out = []
    for n in np.geomspace(lowest, highest, sizes):
        tokens = n * np.geomspace(1, longest, 300)
        loss = TRUE["E"] + TRUE["A"] / n ** TRUE["alpha"] + TRUE["B"] / tokens ** TRUE["beta"]
        loss *= np.exp(noise * random.normal(size=300))
        out.append(Curve(f"run {n:.3g}", n, tokens, 6 * n * tokens, loss))
    return out


def test_the_envelope_follows_the_optimum_of_the_law():
    fit = fit_training_envelope(curves(), bootstrap=100)
    assert fit.params.exponent == pytest.approx(exponent(), abs=0.01)
    assert fit.tokens.exponent == pytest.approx(1 - fit.params.exponent, abs=2e-3)
    low, high = fit.params.exponent_interval
    assert low < exponent() < high
    # The staircase of sizes stays within a step of the optimum, 31% of it.
    truth = LAWS["chinchilla"].optimum(TRUE).params(fit.flops_K)
    assert np.abs(np.log(fit.params_K / truth)).max() < 0.31
    assert "decay" in fit.caveat


def test_no_run_is_below_the_envelope():
    runs = curves(noise=0.01)
    fit = fit_training_envelope(runs)
    for run in runs:
        inside = (fit.flops_K > run.flops[0]) & (fit.flops_K < run.flops[-1])
        at = np.interp(np.log(fit.flops_K[inside]), np.log(run.flops), np.log(smoothed(run.loss)))
        assert (np.log(fit.loss_K[inside]) <= at + 1e-12).all()


def test_budgets_whose_best_size_the_sweep_does_not_hold_are_dropped():
    """Runs that end too early hand the envelope to larger ones; with them kept the exponent is wrong."""
    runs = curves(longest=400)
    fit = fit_training_envelope(runs)
    assert fit.dropped > 0
    assert fit.params_K.min() > runs[0].params
    assert fit.params_K.max() < runs[-1].params


def test_runs_of_one_name_are_drawn_together():
    runs = curves(sizes=8)
    halves = [
        replace(r, **{f: getattr(r, f)[part] for f in ("tokens", "flops", "loss")})
        for r in runs
        for part in (slice(0, 150), slice(149, None))
    ]
    whole, split = fit_training_envelope(runs, 50), fit_training_envelope(halves, 50)
    # Up to the smoothing at the cut.
    np.testing.assert_allclose(split.params.samples_S2[:, 1], whole.params.samples_S2[:, 1], atol=5e-3)


def test_smoothing_is_a_geometric_mean():
    loss = np.exp(np.linspace(2, 1, 500))
    np.testing.assert_allclose(np.diff(np.log(smoothed(loss)))[10:-10], np.diff(np.log(loss))[10:-10])
    np.testing.assert_array_equal(smoothed(loss[:99]), loss[:99])


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "no training curves"),
        (curves(sizes=3), "the envelope needs 3: train sizes nearer"),
        ([replace(curves()[0], loss=np.full(300, np.nan))], "loss has 300 value"),
        ([replace(curves()[0], flops=curves()[0].flops[::-1])], "flops do not increase"),
        ([replace(curves()[0], tokens=np.ones(3))], "tokens has 3 value"),
    ],
)
def test_refused_curves(runs, words):
    with pytest.raises(BadInputError, match=words):
        fit_training_envelope(runs)


def test_budgets_before_the_first_finished_run_can_be_left_out():
    runs = curves()
    middle = 2 * float(fit_training_envelope(runs).flops_K.min())
    fit = fit_training_envelope(runs, from_flops=middle)
    assert fit.flops_K.min() >= middle * (1 - 1e-9)
    assert fit.params.exponent == pytest.approx(exponent(), abs=0.01)
