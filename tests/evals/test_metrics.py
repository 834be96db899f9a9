"""Scores of one item against closed forms, brute force and published code's numbers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.evals.metrics import (
    brier,
    choice_probabilities,
    edit_distance,
    edit_similarity,
    pass_at_k,
    right_log_prob,
    squad_exact,
    squad_f1,
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
