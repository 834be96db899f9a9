"""Akima's interpolation, which passes through every point and does not overshoot beside a jump.

Akima 1970, "A new method of interpolation and smooth curve fitting based on local procedures": a cubic on
each interval, whose slope at a knot is a mean of the two slopes beside it, each weighted by how little the
curve bends on the other side. Many curves over the same knots are interpolated at once.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def akima_slopes(x: Floats, y: Floats) -> Floats:
    """(..., n) slopes at the knots x (n,), increasing, n >= 3, of the curves y (..., n)."""
    m = np.diff(y) / np.diff(x)
    # Two more slopes at each end, by which the curve there goes on as a parabola.
    before = 2 * m[..., :1] - m[..., 1:2]
    after = 2 * m[..., -1:] - m[..., -2:-1]
    m = np.concatenate([2 * before - m[..., :1], before, m, after, 2 * after - m[..., -1:]], axis=-1)
    bend = np.abs(np.diff(m))
    left, right = bend[..., :-2], bend[..., 2:]
    both = left + right
    # Between two straight stretches nothing is bent, and the slopes count alike.
    straight = both <= 1e-9 * both.max(axis=-1, keepdims=True)
    weighted = (right * m[..., 1:-2] + left * m[..., 2:-1]) / np.where(straight, 1.0, both)
    return np.where(straight, 0.5 * (m[..., 1:-2] + m[..., 2:-1]), weighted)


def _cubics(x: Floats, y: Floats) -> Floats:
    """(4, ..., n - 1) coefficients in s from 0 to 1 across each interval, constant first."""
    slope, h, rise = akima_slopes(x, y), np.diff(x), np.diff(y)
    start, end = h * slope[..., :-1], h * slope[..., 1:]
    return np.stack([y[..., :-1], start, 3 * rise - 2 * start - end, start + end - 2 * rise])


def akima(x: Floats, y: Floats, at: Floats) -> Floats:
    """(..., m) the curves y (..., n) over knots x (n,) at `at` (m,), inside the knots."""
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    s = (at - x[i]) / (x[i + 1] - x[i])
    c0, c1, c2, c3 = _cubics(x, y)[..., i]
    return c0 + s * (c1 + s * (c2 + s * c3))


def akima_minimum(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Place and value (...,) of the least of the curves y (..., n) over knots x (n,): exact, on no grid.

    A curve that is least at its first or last knot has that knot as its place.
    """
    c0, c1, c2, c3 = _cubics(x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Roots of c1 + 2 c2 s + 3 c3 s^2, in the form that loses no digits where c3 is small.
        q = -(c2 + np.copysign(np.sqrt(c2 * c2 - 3 * c1 * c3), c2))
        roots = np.stack([q / (3 * c3), c1 / q])
        inside = (roots > 0) & (roots < 1)
        s = np.where(inside, roots, 0.0)
    values = np.where(inside, c0 + s * (c1 + s * (c2 + s * c3)), np.inf)
    places = x[:-1] + s * np.diff(x)
    # Knots come first, so that of equal values an end is taken: a flat curve has no interior minimum.
    values = np.concatenate([y, *values], axis=-1)
    places = np.concatenate([np.broadcast_to(x, y.shape), *places], axis=-1)
    best = values.argmin(axis=-1)[..., None]
    return np.take_along_axis(places, best, -1)[..., 0], np.take_along_axis(values, best, -1)[..., 0]
