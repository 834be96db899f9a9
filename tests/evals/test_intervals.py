"""Intervals against SciPy, and against coverage that can be counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scaling.config.record import wilson
from scaling.evals.metrics import mean, share, summary, zero_bound


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    successes, n = counts
    theirs = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 3, 20, 500])
def test_none_of_n_has_the_exact_bound_and_all_of_n_its_mirror(n: int) -> None:
    one_sided = stats.binomtest(0, n, alternative="less").proportion_ci(0.95, method="exact")
    none, every = share(0, n), share(n, n)
    assert none.value == 0 and none.interval == (0.0, pytest.approx(one_sided.high))
    assert every.value == 1 and every.interval == (pytest.approx(1 - one_sided.high), 1.0)
    assert none.kind == every.kind == "exact"


def test_the_exact_bound_nears_three_over_n() -> None:
    assert zero_bound(500) == pytest.approx(3 / 500, rel=0.005)


def test_the_bootstrap_is_near_the_normal_interval_of_many_values() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 4000)
    score = mean(values)
    assert score.interval is not None and score.kind == "bootstrap"
    half = 1.96 * values.std() / len(values) ** 0.5
    assert score.value == pytest.approx(values.mean())
    assert score.interval == (
        pytest.approx(score.value - half, abs=0.1 * half),
        pytest.approx(score.value + half, abs=0.1 * half),
    )
    assert mean(values) == score  # the same draws every time


def test_equal_values_have_no_bootstrap_and_shares_are_told_from_means() -> None:
    assert mean(np.full(5, 0.5)).interval is None
    assert summary(np.array([0.0, 1.0, 1.0])).kind == "wilson"
    assert summary(np.array([0.0, 0.5, 1.0])).kind == "bootstrap"
