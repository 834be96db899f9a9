"""Rows of a mixture: exact shares at every row, the same from any row on, limits and changes of weights."""

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data.apportionment import RESOLUTION, Apportionment, period_of, units_of

WEIGHTS = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=6).map(
    lambda parts: [part / sum(parts) for part in parts]
)


def sequential(apportionment: Apportionment, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sources and own numbers of the first rows, counted one after another."""
    sources, own, seen = [], [], [0] * 10
    for number in range(rows):
        sources.append(int(apportionment.locate(np.array([number]))[0][0]))
        own.append(seen[sources[-1]])
        seen[sources[-1]] += 1
    return np.array(sources, int), np.array(own, int)


def test_weights_of_few_digits_are_exact() -> None:
    assert units_of([0.7, 0.2, 0.1]) == (7, 2, 1)
    assert units_of([1.0]) == (1,)
    assert units_of([0.5, 0.5, 0.0]) == (1, 1, 0)
    assert units_of([1 / 3] * 3) == (1, 1, 1)
    assert units_of([2 / 7, 5 / 7]) == (2, 5)
    assert units_of([0.123_434, 0.876_566]) == (12_343, 87_657)
    assert units_of([1 - 1e-5, 1e-5]) == (RESOLUTION - 1, 1)


def test_a_period_by_hand() -> None:
    """Halves alternate; of 7 : 2 : 1 no source comes in a block."""
    assert period_of((1, 1)).sources_D.tolist() == [0, 1]
    order = period_of((7, 2, 1)).sources_D.tolist()
    assert sorted(order) == [0] * 7 + [1, 1, 2]
    assert max(len(run) for run in "".join(map(str, order * 2)).split("1")) <= 6


@given(WEIGHTS)
@settings(max_examples=60, deadline=None)
def test_units_are_the_weights_to_the_resolution(weights: list[float]) -> None:
    units = units_of(weights)
    shares = np.array(units) / sum(units)
    assert sum(units) <= RESOLUTION
    assert min(units) >= 1
    assert np.abs(shares - weights).max() <= 1 / RESOLUTION


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any))
@settings(max_examples=150, deadline=None)
def test_every_source_is_within_a_row_of_its_share(units: list[int]) -> None:
    period = period_of(tuple(units))
    rows, active = len(period), sum(one > 0 for one in units)
    for source, one in enumerate(units):
        counts_N = np.concatenate([[0], np.cumsum(period.sources_D == source)])
        lag_N = np.abs(counts_N - np.arange(rows + 1) * one / rows)
        assert lag_N.max() <= (1 - 1 / (2 * active - 2) if active > 1 else 0) + 1e-9
        assert counts_N[-1] == one, "a period is complete"


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [0.123, 0.456, 0.421], [1 / 3, 1 / 3, 1 / 3]])
@pytest.mark.parametrize("start", [0, 7, 10**12])
def test_any_batch_has_the_shares_to_two_rows(weights: list[float], start: int) -> None:
    """The difference of two counts, each within one row."""
    found = Apportionment([(0, weights)])
    for rows in (8, 64, 1000):
        sources_N, _ = found.locate(np.arange(start, start + rows))
        counts = np.bincount(sources_N, minlength=3)
        assert np.abs(counts - rows * np.array(weights)).max() < 2


@st.composite
def apportionments(draw: st.DrawFn) -> Apportionment:
    sources = draw(st.integers(1, 4))
    phases, start = [], 0
    for _ in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(st.integers(0, 9), min_size=sources, max_size=sources).filter(any))
        phases.append((start, [part / sum(parts) for part in parts]))
        start += draw(st.integers(0, 60))
    limits = draw(st.lists(st.none() | st.integers(1, 60), min_size=sources, max_size=sources))
    capped = draw(st.lists(st.booleans(), min_size=sources, max_size=sources))
    return Apportionment(phases, limits, capped)


@given(apportionments(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_row_is_found_without_those_before_it(found: Apportionment, data: st.DataObject) -> None:
    """Look-ups in any order and number agree with counting; limits hold and are reached."""
    rows = min(found.length, 120)
    sources_N, own_N = sequential(found, rows)
    numbers = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=20)) if rows else [], int)
    some_N, some_own_N = found.locate(numbers)
    assert some_N.tolist() == sources_N[numbers].tolist()
    assert some_own_N.tolist() == own_N[numbers].tolist()
    at = data.draw(st.integers(0, rows))
    sources = len(found.phases[0].counts) if found.phases else 0
    if found.phases:
        assert list(found.counts(at)) == np.bincount(sources_N[:at], minlength=sources).tolist()
    for source in range(sources):
        limit = found._limits[source]
        assert limit is None or np.sum(sources_N == source) <= limit
        if found.ended_by == source and found.length <= 120:
            assert np.sum(sources_N == source) == limit, "it ends when the source does, not before"
    with pytest.raises(IndexError):
        found.locate(np.array([found.length]))


def test_a_capped_source_is_replaced_in_proportion() -> None:
    """0.5, 0.3, 0.2 with 10 rows of the first: afterwards 0.6 and 0.4, exactly."""
    found = Apportionment([(0, [0.5, 0.3, 0.2])], [10, None, None], [True, False, False])
    assert found.length == sys.maxsize
    assert found.exhausted == {0: found.phases[1].start}
    start = found.phases[1].start
    assert found.counts(start)[0] == 10
    before, after = found.counts(start), found.counts(start + 1000)
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 600, 400]


def test_a_source_that_may_not_be_capped_ends_the_sequence() -> None:
    found = Apportionment([(0, [0.5, 0.5])], [10, None], [False, False])
    assert found.ended_by == 0
    assert found.counts(found.length)[0] == 10
    assert Apportionment([(0, [0.5, 0.5])], [10, 20], [True, True]).length == 30, "all are read to the end"


def shares(found: Apportionment, first: int, stop: int) -> Sequence[float]:
    before, after = found.counts(first), found.counts(stop)
    return [(b - a) / (stop - first) for a, b in zip(before, after, strict=True)]


def test_weights_change_at_their_row() -> None:
    found = Apportionment([(0, [0.8, 0.2, 0.0]), (900, [0.0, 0.5, 0.5])])
    assert shares(found, 0, 900) == [0.8, 0.2, 0.0]
    assert shares(found, 900, 1000) == [0.0, 0.5, 0.5]
    assert shares(found, 900, 10**9) == pytest.approx([0.0, 0.5, 0.5])
