"""Porian et al. 2024 (arXiv:2406.19146), their exponents from their optima and from their losses."""

import numpy as np
import pytest

from scaling.laws.frontier.isoflop import fit_isoflops
from scaling.laws.frontier.power_law import fit_power_law
from scaling.laws.frontier.projection import fit_projected
from tests.laws.porian import DATA, EXPONENTS, columns, experiment_points

pytestmark = pytest.mark.skipif(
    not (DATA / "porian_optima.csv").is_file(), reason="needs ../shared/data/porian_optima.csv"
)


@pytest.mark.parametrize(("experiment", "exponent"), EXPONENTS.items())
def test_exponents_from_their_optima(experiment, exponent):
    flops, params = columns("porian_optima.csv", experiment, "flops", "N_opt")
    known = np.isfinite(params)
    assert fit_power_law(flops[known], params[known]).exponent == pytest.approx(exponent, abs=1e-4)


@pytest.mark.parametrize(("experiment", "exponent"), EXPONENTS.items())
def test_exponents_from_their_losses(experiment, exponent):
    """Their method: Akima in log-log, the median minimum over losses perturbed by the seeds' noise.

    Their minimum is on a grid of 25 places between neighbouring sizes; ours is exact.
    """
    fit = fit_isoflops(experiment_points(experiment), "akima", bootstrap=1000)
    assert fit.params.exponent == pytest.approx(exponent, abs=1e-3)
    assert fit.params.exponent_interval[0] < exponent < fit.params.exponent_interval[1]
    assert fit.params.exponent + fit.tokens.exponent == pytest.approx(1, abs=1e-9)  # their compute is 6ND

    flops, params, loss, std = columns(
        "porian_optima.csv", experiment, "flops", "N_opt", "loss_opt", "n_star_std_log"
    )
    known = np.isfinite(params)
    minima = fit.minima.minima
    np.testing.assert_allclose([m.flops for m in minima], flops[known])  # the same budgets are refused
    np.testing.assert_allclose([m.params for m in minima], params[known], rtol=0.02)
    np.testing.assert_allclose([m.loss for m in minima], loss[known], atol=2e-3)
    np.testing.assert_allclose([m.log_uncertainty for m in minima], std[known], rtol=0.25)


def test_a_parabola_through_all_sizes_is_not_their_minimum():
    """Sizes up to 180 times too large stand in the grid: the valley there is far from a parabola."""
    experiment = ("rw", "base", "short", "kaplan", "standard", "val")
    points = experiment_points(experiment)
    wide = fit_isoflops(points, "parabola").params.exponent
    narrow = fit_isoflops(points, "parabola", window=5).params.exponent
    assert abs(wide - EXPONENTS[experiment]) > 0.05
    assert narrow == pytest.approx(EXPONENTS[experiment], abs=0.015)


def test_projection_is_far_off_where_the_law_does_not_hold_and_says_so():
    """Starved models of too large a size do not follow E + A/N^alpha + B/D^beta."""
    experiment = ("rw", "tuned", "short", "const", "standard", "val")
    fit = fit_projected(experiment_points(experiment))
    assert abs(fit.optimum.a - EXPONENTS[experiment]) > 0.1
    assert fit.rms_error > 0.05
