import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.laws import holdout_groups, holdout_mask
from scaling.laws.forms.envelope import lower_envelope
from scaling.runtime.errors import BadInputError
from tests.laws.known import ladder, points_of


def test_whole_runs_of_the_largest_compute():
    points = ladder()
    held = holdout_mask(points, 0.3)
    assert {g for g, h in zip(points.groups, held, strict=True) if h} == {"size 5", "size 6"}
    assert held.sum() == 8


def test_at_least_one_run_however_small_the_fraction():
    assert holdout_mask(ladder(), 0.001).sum() == 4


def test_a_budget_of_equal_compute_is_not_split():
    params = np.array([1e6, 2e6, 1e7, 2e7, 3e7])
    tokens = np.array([1e15, 1e15, 6e17, 6e17, 6e17]) / params / 6
    held = holdout_mask(points_of(params, tokens, np.ones(5)), 0.2)
    np.testing.assert_array_equal(held, [False, False, True, True, True])


def test_largest_sizes():
    points = ladder()
    np.testing.assert_array_equal(holdout_groups(points, 2), points.params > 3e9)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0])
def test_refused_fractions(fraction):
    with pytest.raises(BadInputError, match="between 0 and 1"):
        holdout_mask(ladder(), fraction)


def test_nothing_left():
    with pytest.raises(BadInputError, match="nothing would be left"):
        holdout_groups(ladder(), 7)


@settings(deadline=None)  # a shared machine is slow at times
@given(st.lists(st.tuples(st.floats(0, 50), st.floats(-1, 3)), min_size=1, max_size=30))
def test_no_point_lies_under_the_envelope(pairs):
    x, y = np.array(pairs).T
    mask = lower_envelope(x, y)
    order = np.flatnonzero(mask)[np.argsort(x[mask])]
    assert y[mask].min() == y.min()
    assert x[mask].min() == x.min()
    inside = x <= x[order[-1]]
    assert (y[inside] >= np.interp(x[inside], x[order], y[order]) - 1e-6).all()
