"""The minimum of a bowl: the loss of runs that differ only in settings, such as the learning rate.

Near its minimum the loss is a parabola in the logarithm of a setting. The minimum (the vertex) and its
standard error follow from least squares of the losses near the lowest. The setting of the lowest loss alone
is known only to the spacing of the grid, and the lowest of several noisy losses is too low.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RISE = 0.02  # relative to the lowest loss: beyond it, a bowl is steeper on one side than a parabola
REACH = 1.6  # spacings of the settings from the minimum: three or four values
TIE = 1e-9  # relative difference of losses that are equal
FLAT = 1e-9  # curvature below which a parabola has no minimum, relative to the loss over the window


@dataclass(frozen=True)
class Vertex:
    """The minimum of a bowl in J settings.

    Variances are those of estimates from losses whose relative noise has variance 1. If no parabola has a
    minimum near the lowest loss, the vertex is the setting with the lowest loss, whose place has no variance.

    Attributes:
        place: (J,) in the coordinates of the bowl, such as log learning rate.
        loss: at the minimum.
        place_variance: (J,); NaN for the setting with the lowest loss.
        loss_variance: of the relative loss.
        by_parabola: whether it is the minimum of a parabola.
        squares: sum of squared relative residuals of the parabola.
        freedom: losses less coefficients.
        sag: how far below the true minimum a fitted one is on average, relative to the loss, for noise of
            variance 1: half the curvature times the variance of the place.
    """

    place: Floats
    loss: float
    place_variance: Floats
    loss_variance: float
    by_parabola: bool
    squares: float = 0.0
    freedom: int = 0
    sag: float = 0.0


def lowest_cell(places: Floats, losses: Floats, weight: Floats) -> tuple[Floats, Floats, int]:
    """The different places (K, J) with their mean losses (K,), and the index of the lowest.

    Of equal losses the one nearest the middle counts, so that a tie is at no end.
    """
    cells, at = np.unique(places, axis=0, return_inverse=True)
    at = at.ravel()
    means = np.bincount(at, weight * losses) / np.bincount(at, weight)
    ties = np.flatnonzero(means <= means.min() * (1 + TIE))
    middle = (cells.min(axis=0) + cells.max(axis=0)) / 2
    width = np.maximum(np.ptp(cells, axis=0), 1e-300)
    return cells, means, int(ties[(np.abs(cells[ties] - middle) / width).sum(axis=1).argmin()])


def vertex(places: Floats, losses: Floats, weight: Floats | None = None) -> Vertex:
    """The minimum of the loss over settings, by a parabola through the points near the lowest loss.

    These are the neighbours of the setting with the lowest loss, and all within `RISE` of that loss. With
    several settings it is a quadratic form, without its products where the points cannot determine them.

    Args:
        places: (n, J) coordinates of the settings; equal rows are replicates.
        losses: (n,), positive.
        weight: (n,) inverse variances, 1 for one run.
    """
    weight = np.ones(len(losses)) if weight is None else weight
    cells, means, best = lowest_cell(places, losses, weight)
    centre, low = cells[best], float(means[best])
    steps = [np.searchsorted(np.unique(column), column) for column in places.T]
    middle = [np.searchsorted(np.unique(column), x) for column, x in zip(places.T, centre, strict=True)]
    near = np.ones(len(losses), bool)
    for step, at in zip(steps, middle, strict=True):
        near &= np.abs(step - at) <= 1
    wide = near | (losses <= low * (1 + RISE))
    for window, products in _attempts(wide, near, places.shape[1]):
        found = _quadratic(places[window], losses[window] / low, weight[window], centre, products)
        if found is not None:
            # Once more about the minimum itself, with the settings that the parabola puts near it: measured
            # losses would choose by their own noise whether they are in the window.
            reach = REACH * np.ptp(places[near], axis=0) / 2
            about = (np.abs(places - found.place) <= reach).all(axis=1) | (found.above(places) <= RISE)
            again = _quadratic(places[about], losses[about] / low, weight[about], centre, products) or found
            return again.vertex(low)
    at_best = (places == centre).all(axis=1)
    nothing = np.full(places.shape[1], np.nan)
    return Vertex(centre, low, nothing, 1 / float(weight[at_best].sum()), False)


def _attempts(
    wide: NDArray[np.bool_], near: NDArray[np.bool_], settings: int
) -> Iterator[tuple[NDArray[np.bool_], bool]]:
    yield from product((wide, near), (True, False) if settings > 1 else (False,))


@dataclass(frozen=True)
class _Quadratic:
    """A quadratic form with a minimum: `vertex` has its loss relative to the lowest measured."""

    minimum: Vertex
    curvature: Floats  # (J, J), per unit of the coordinates

    @property
    def place(self) -> Floats:
        return self.minimum.place

    def above(self, places: Floats) -> Floats:
        """(n,) by how much it exceeds its minimum, relative to it."""
        off = places - self.place
        rise: Floats = np.einsum("nj,jk,nk->n", off, self.curvature, off) / 2
        return rise / self.minimum.loss

    def vertex(self, low: float) -> Vertex:
        """The minimum, with a loss in units of which the lowest measured is `low`."""
        return replace(self.minimum, loss=low * self.minimum.loss)


def _quadratic(
    places: Floats, losses: Floats, weight: Floats, centre: Floats, products: bool
) -> _Quadratic | None:
    """The least-squares quadratic form; None without a minimum inside."""
    n, J = places.shape
    width = np.ptp(places, axis=0)
    if not (width > 0).all():
        return None
    z = (places - centre) / width
    pairs = [(j, k) for j in range(J) for k in range(j + 1, J)] if products else []

    def basis(at: NDArray[Any]) -> Floats:
        crossed = [at[..., j] * at[..., k] for j, k in pairs]
        return np.stack([np.ones(at.shape[:-1]), *at.T, *(at**2).T, *crossed], axis=-1)

    X = basis(z)
    P = X.shape[1]
    if len(np.unique(places, axis=0)) < P or np.linalg.matrix_rank(X) < P:
        return None
    covariance = np.linalg.inv((X * weight[:, None]).T @ X)
    theta = covariance @ (X * weight[:, None]).T @ losses
    curvature = np.diag(2 * theta[1 + J : 1 + 2 * J])
    for i, (j, k) in enumerate(pairs):
        curvature[j, k] = curvature[k, j] = theta[1 + 2 * J + i]
    if np.linalg.eigvalsh(curvature)[0] <= FLAT:
        return None
    place = np.linalg.solve(curvature, -theta[1 : 1 + J])
    if not ((place > z.min(axis=0)) & (place < z.max(axis=0))).all():
        return None
    at = basis(place)
    # The gradient at the vertex is zero: its change with theta moves the vertex by the inverse curvature.
    slope = np.zeros((J, P))
    for j in range(J):
        slope[j, 1 + j], slope[j, 1 + J + j] = 1.0, 2 * place[j]
    for i, (j, k) in enumerate(pairs):
        slope[j, 1 + 2 * J + i], slope[k, 1 + 2 * J + i] = place[k], place[j]
    moved = np.linalg.solve(curvature, slope)
    residuals = losses - X @ theta
    scatter = moved @ covariance @ moved.T
    minimum = Vertex(
        place=centre + width * place,
        loss=float(at @ theta),
        place_variance=width**2 * np.diag(scatter),
        loss_variance=float(at @ covariance @ at),
        by_parabola=True,
        squares=float(weight @ residuals**2),
        freedom=n - P,
        sag=float(np.trace(curvature @ scatter)) / 2,
    )
    return _Quadratic(minimum, curvature / np.outer(width, width))
