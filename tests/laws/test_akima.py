import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator

from scaling.laws.frontier.akima import akima, akima_minimum

KNOTS = st.lists(
    st.tuples(st.floats(0.05, 3), st.floats(-5, 5, allow_subnormal=False)), min_size=3, max_size=12
)


@given(KNOTS)
def test_the_same_curve_as_scipy(pairs):
    steps, y = np.array(pairs).T
    x = np.cumsum(steps)
    at = np.linspace(x[0], x[-1], 201)
    np.testing.assert_allclose(akima(x, y, at), Akima1DInterpolator(x, y)(at), atol=1e-9)


@given(KNOTS)
def test_nothing_on_a_fine_grid_is_less_than_the_minimum(pairs):
    steps, y = np.array(pairs).T
    x = np.cumsum(steps)
    place, least = akima_minimum(x, y)
    grid = akima(x, y, np.linspace(x[0], x[-1], 4001))
    assert least <= grid.min() + 1e-12
    assert least >= grid.min() - 0.02 * (np.ptp(y) + 1e-9)
    assert akima(x, y, place[None])[0] == pytest.approx(least, abs=1e-9)


def test_a_parabola_is_kept_and_its_vertex_found():
    x = np.linspace(-3, 4, 8)
    curves = (x - np.array([[0.3], [1.25], [-2.5]])) ** 2
    place, least = akima_minimum(x, curves)
    np.testing.assert_allclose(place, [0.3, 1.25, -2.5], atol=1e-12)
    np.testing.assert_allclose(least, 0, atol=1e-12)


def test_many_curves_are_one_by_one():
    x, y = np.cumsum([1, 0.5, 2, 1, 0.7]), np.random.default_rng(0).normal(size=(20, 5))
    places, _ = akima_minimum(x, y)
    np.testing.assert_array_equal(places, [akima_minimum(x, row)[0] for row in y])
