"""Akima's interpolation of many curves at once, and the exact place of its minimum."""

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from scaling.laws.forms.form import Floats


def akima(x: Floats, y: Floats, at: Floats) -> Floats:
    """(..., m) Akima's interpolation of curves y (..., n) over increasing knots x (n,), at `at` (m,).

    Akima 1970, "A new method of interpolation and smooth curve fitting based on local procedures": it passes
    through every point and does not overshoot next to a jump.
    """
    values: Floats = Akima1DInterpolator(x, y, axis=-1)(at)
    return values


def akima_minimum(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Place and value (...,) of the minimum of Akima's curves y (..., n) over knots x (n,), exactly.

    A curve whose minimum is at its first or last knot has that knot as its place.
    """
    # (..., n - 1) coefficients of powers of the distance from each knot, highest first.
    c3, c2, c1, c0 = np.moveaxis(Akima1DInterpolator(x, y, axis=-1).c, 1, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Roots of c1 + 2 c2 s + 3 c3 s^2, in the form that loses no digits when c3 is small.
        q = -(c2 + np.copysign(np.sqrt(c2 * c2 - 3 * c1 * c3), c2))
        roots = np.stack([q / (3 * c3), c1 / q])
        inside = (roots > 0) & (roots < np.diff(x))
        s = np.where(inside, roots, 0.0)
    values = np.where(inside, c0 + s * (c1 + s * (c2 + s * c3)), np.inf)
    # Knots come first, so that of equal values an end is taken: a flat curve has no interior minimum.
    values = np.concatenate([y, *values], axis=-1)
    places = np.concatenate([np.broadcast_to(x, y.shape), *(x[:-1] + s)], axis=-1)
    best = values.argmin(axis=-1)[..., None]
    return np.take_along_axis(places, best, -1)[..., 0], np.take_along_axis(values, best, -1)[..., 0]
