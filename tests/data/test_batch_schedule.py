import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.batches import BatchSchedule


@st.composite
def schedules(draw):
    lengths = draw(st.lists(st.integers(1, 10), max_size=4))
    rows = draw(st.lists(st.integers(1, 9), min_size=len(lengths) + 1, max_size=len(lengths) + 1))
    steps = [sum(lengths[:k]) for k in range(len(rows))]
    return BatchSchedule(tuple(zip(steps, rows, strict=True)))


@given(schedules(), st.integers(0, 60))
def test_rows_before_adds_up_rows_at(schedule, step):
    assert schedule.rows_before(step) == sum(schedule.rows_at(n) for n in range(step))


@given(schedules(), st.integers(0, 300))
def test_steps_within_and_for_are_tight(schedule, rows):
    within, needed = schedule.steps_within(rows), schedule.steps_for(rows)
    assert schedule.rows_before(within) <= rows < schedule.rows_before(within + 1)
    assert schedule.rows_before(needed) >= rows
    assert needed == 0 or schedule.rows_before(needed - 1) < rows


def test_constant():
    schedule = BatchSchedule.constant(32)
    assert (schedule.rows_at(10**9), schedule.rows_before(10**9)) == (32, 32 * 10**9)


@pytest.mark.parametrize(
    "phases", [(), ((1, 4),), ((0, 4), (0, 8)), ((0, 4), (5, 8), (3, 9)), ((0, 0),), ((0, -4),)]
)
def test_refusals(phases):
    with pytest.raises(ValueError, match="batch schedule"):
        BatchSchedule(phases)


def test_no_step_before_the_first():
    with pytest.raises(ValueError, match="before the first"):
        BatchSchedule.constant(1).rows_at(-1)
