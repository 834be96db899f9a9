"""Scores of one item against closed forms, brute force and published numbers; intervals against SciPy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scaling.config.record import wilson
from scaling.evals.metrics import (
    brier,
    choice_probabilities,
    edit_distance,
    edit_similarity,
    mean,
    pass_at_k,
    right_log_prob,
    share,
    squad_exact,
    squad_f1,
    summary,
    zero_bound,
)

words = st.lists(st.integers(0, 3), max_size=7)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("flaw", "lawn", 2), ("12", "21", 2)],
)
def test_known_distances(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == distance
    assert edit_similarity(a, b) == 1 - distance / max(len(a), len(b))


@given(words, words, words)
def test_the_distance_is_a_metric(a: list[int], b: list[int], c: list[int]) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))
    assert 0 <= edit_similarity(a, b) <= 1


def test_brier_of_the_ends_and_of_chance() -> None:
    truth = (0.0, 1.0, 0.0, 0.0)
    assert brier(np.array([0.0, 1.0, 0.0, 0.0]), truth) == 0
    assert brier(np.array([1.0, 0.0, 0.0, 0.0]), truth) == 2
    assert brier(np.full(4, 0.25), truth) == pytest.approx(3 / 16 + 9 / 16)  # 1 - 1 / C
    # Two right choices share the truth.
    assert brier(np.array([0.5, 0.5]), (1.0, 1.0)) == 0


def test_probabilities_of_choices() -> None:
    scores = [math.log(1e-30), math.log(3e-30)]
    assert choice_probabilities(scores) == pytest.approx([0.25, 0.75])
    assert right_log_prob(scores, (1.0, 0.0)) == pytest.approx(math.log(0.25))
    assert right_log_prob([-2000.0, -2001.0], (0.0, 1.0)) == pytest.approx(-1 - math.log1p(math.exp(-1)))


@pytest.mark.parametrize(("n", "c"), [(5, 0), (5, 1), (5, 3), (5, 5), (8, 2)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n: int, c: int) -> None:
    """All ways to draw k of the n samples, counted."""
    right = [True] * c + [False] * (n - c)
    for k in range(1, n + 1):
        draws = list(itertools.combinations(right, k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_of_many_samples_and_of_too_few() -> None:
    # 1 - C(190, 100) / C(200, 100), by exact integers.
    exact = 1 - math.comb(190, 100) / math.comb(200, 100)
    assert pass_at_k(200, 10, 100) == pytest.approx(exact, rel=1e-12)
    with pytest.raises(ValueError, match="at least 10"):
        pass_at_k(9, 1, 10)


def test_squad_scores() -> None:
    accepted = ("the Denver Broncos", "Broncos")
    assert squad_exact("The  Broncos!", accepted) == 1
    assert squad_exact("Broncos of Denver", accepted) == 0
    assert squad_f1("Broncos of Denver", accepted) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert squad_f1("Panthers", accepted) == 0
    assert squad_f1("", ("the",)) == 1  # nothing is left of both


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
