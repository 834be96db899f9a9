"""What a weight means: the inverse variance of a point, up to a factor that all points share."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.laws.forms.laws import LAWS
from scaling.laws.points import Points, weighted
from scaling.laws.solving.optimise import BestFit
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.scale import proposal_2
from scaling.laws.uncertainty.curvature import curvature, slopes
from scaling.runtime.errors import BadInputError
from tests.laws.known import TRUE, ladder

LAW = LAWS["chinchilla"]


def runs(weight: np.ndarray) -> Points:
    """A ladder whose points have noise of variance 1 / weight."""
    exact = ladder(0.0, sizes=30)
    error = 0.003 * np.random.default_rng(3).normal(size=len(exact)) / np.sqrt(weight)
    return replace(exact, loss=exact.loss * np.exp(error), weight=weight, groups=exact.labels)


def at_truth(points: Points, delta: float = 10.0) -> BestFit:
    problem = Problem.of(LAW, points, delta)
    return BestFit(problem, LAW.theta(TRUE, problem.reference), 0.0, 0.0, 1, 1)


def test_a_common_factor_changes_nothing() -> None:
    weight = np.random.default_rng(1).uniform(0.2, 5.0, 120)
    one, many = weighted(runs(weight)), weighted(replace(runs(weight), weight=1e4 * weight))
    np.testing.assert_allclose(one.weight, many.weight, rtol=1e-12)
    assert one.weight.mean() == pytest.approx(1)
    # Nor in the parts themselves, which may be given other weights.
    for scaled in (1.0, 7.0):
        best = at_truth(replace(runs(weight), weight=scaled * weight), 0.004)
        found = curvature(best)
        if scaled == 1.0:
            covariance, scale = found.covariance, found.scale
        np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)
        assert found.scale.noise == pytest.approx(scale.noise) and found.scale.drop == pytest.approx(
            scale.drop
        )
        s = proposal_2(best.residuals(), best.problem.weight, 5, 0.01)
        assert s == pytest.approx(proposal_2(best.residuals(), weight, 5, 0.01), rel=1e-5)


def test_the_covariance_is_that_of_weighted_least_squares() -> None:
    points = weighted(runs(np.tile([0.25, 4.0], 60)))
    best = at_truth(points)
    found, J = curvature(best), slopes(best)
    variance = float((points.weight * best.residuals() ** 2).sum() / 115)
    wanted = variance * np.linalg.inv(J.T @ (points.weight[:, None] * J))
    np.testing.assert_allclose(found.covariance, wanted, rtol=1e-6)
    # The noise is that of a point of mean weight.
    assert found.scale.noise == pytest.approx(0.003 / np.sqrt(np.mean([0.25, 4.0])), rel=0.2)


def test_zero_is_left_out_with_a_note_and_others_are_refused() -> None:
    points = runs(np.ones(120))
    weight = np.ones(120)
    weight[[3, 5]] = 0
    found = weighted(replace(points, weight=weight))
    assert len(found) == 118 and "of weight 0 and left out: 2 points" in found.notes[-1]
    assert weighted(points).weight.tolist() == points.weight.tolist()
    for bad in (-1.0, np.nan, np.inf):
        weight = np.ones(120)
        weight[7] = bad
        with pytest.raises(BadInputError, match="of point 7 is not accepted"):
            weighted(replace(points, weight=weight))
    with pytest.raises(BadInputError, match="every weight is 0"):
        weighted(replace(points, weight=np.zeros(120)))
