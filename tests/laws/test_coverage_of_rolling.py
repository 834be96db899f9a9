"""Rolled hold-outs that miss raise a warning."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from scaling.laws import fit_points
from scaling.laws.sections import CutOff
from scaling.laws.uncertainty.holdout import missed_coverage
from tests.laws.known import few_starts, ladder


def cut(n: int, inside: float | None) -> CutOff:
    return CutOff(
        flops=1e20, extrapolation=10.0, n_fitted=9, n=n, mean_abs_rel_error=0.01, max_abs_rel_error=0.02,
        inside=inside, parameters={},
    )  # fmt: skip


@pytest.mark.parametrize(("inside", "n", "share"), [(0, 3, 0.95), (5, 10, 0.95)])
def test_the_tail_is_the_binomial_one(inside: int, n: int, share: float) -> None:
    warning = missed_coverage([cut(n, inside / n)], share)
    assert f"binomial p = {binom.cdf(inside, n, share):.1g} for {n} runs" in warning


@pytest.mark.parametrize(
    ("rows", "warns"),
    [
        ([(8, 0.5), (4, 0.5)], True),
        ([(8, 1.0), (4, 0.75)], False),
        ([(2, 0.5)], False),  # one of two is no evidence
        ([(20, 0.8)], True),
        ([(20, 0.95)], False),
        ([(6, None)], False),
        ([], False),
    ],
)
def test_fewer_inside_than_promised_by_more_than_chance(rows, warns: bool) -> None:
    warning = missed_coverage([cut(*row) for row in rows], 0.95)
    assert (warning is not None) is warns
    if warning:
        assert "the rolled hold-out misses" in warning and "95%" in warning


@pytest.mark.slow
def test_a_law_that_bends_away_is_warned_of_in_its_document() -> None:
    """Losses that stop falling beyond the smaller half of the runs: no law from below foresees it."""
    # Each point its own run: fewer than five trunks below a cut-off would say nothing about the noise.
    even = ladder(0.001, 1, sizes=8)
    even = replace(even, groups=even.labels)
    points = replace(even, loss=np.where(even.flops > np.median(even.flops), 1.15, 1.0) * even.loss)
    with few_starts():
        law = fit_points(points, holdout=None, rolling=4)
        straight = fit_points(even, holdout=None, rolling=4)
    assert any("the rolled hold-out misses" in warning for warning in law.warnings)
    assert not any("the rolled hold-out misses" in warning for warning in straight.warnings)
