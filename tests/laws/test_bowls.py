"""The minimum of a bowl and its variance: parabolas in one setting and in two."""

import numpy as np
import pytest

from scaling.laws.bowls import vertex


def _bowl(x, at=0.3, curvature=0.01):
    return 2.5 * (1 + curvature * (x - at) ** 2)


def test_a_parabola_gives_its_minimum_and_loss():
    x = np.arange(-2.0, 3.0)
    found = vertex(x[:, None], _bowl(x))
    assert found.by_parabola
    assert found.place == pytest.approx([0.3])
    assert found.loss == pytest.approx(2.5)


def test_two_settings_with_a_product_and_without():
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(-1.0, 2.0), np.arange(-1.0, 2.0)))
    places = np.stack([x, y], axis=1)
    found = vertex(places, 2 * (1 + 0.004 * (x - 0.2) ** 2 + 0.003 * (y + 0.1) ** 2 + 0.002 * x * y))
    H = np.array([[0.008, 0.002], [0.002, 0.006]])
    assert found.place == pytest.approx(np.linalg.solve(H, [0.008 * 0.2, -0.006 * 0.1]))
    star = (x == 0) | (y == 0)
    found = vertex(places[star], 2 * (1 + 0.004 * (x - 0.2) ** 2 + 0.003 * (y + 0.1) ** 2)[star])
    assert found.place == pytest.approx([0.2, -0.1])


def test_standard_errors_are_the_scatter_of_minima():
    random = np.random.default_rng(0)
    x, noise = np.arange(-2.0, 3.0), 1e-3
    drawn = [
        vertex(x[:, None], _bowl(x, 0.1, 4e-3) * (1 + noise * random.normal(size=5))) for _ in range(400)
    ]
    places, losses = np.array([(v.place[0], v.loss) for v in drawn]).T
    assert noise * np.sqrt(np.mean([v.place_variance[0] for v in drawn])) == pytest.approx(
        places.std(), rel=0.1
    )
    assert 2.5 * noise * np.sqrt(np.mean([v.loss_variance for v in drawn])) == pytest.approx(
        losses.std(), rel=0.1
    )
    assert losses.mean() == pytest.approx(2.5, abs=4 * losses.std() / 20)
    spare = np.sqrt(sum(v.squares for v in drawn) / sum(v.freedom for v in drawn))
    assert spare == pytest.approx(noise, rel=0.1)


def test_without_a_minimum_inside_it_is_the_lowest_loss():
    found = vertex(np.array([[0.0], [1.0]]), np.array([2.0, 2.1]))
    assert (found.by_parabola, found.place[0], found.loss) == (False, 0.0, 2.0)
    assert np.isnan(found.place_variance).all()
