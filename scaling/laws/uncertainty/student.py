"""Student's t and F, for tests on few residuals: their quantiles without a statistics package."""

from functools import lru_cache

import numpy as np

GRID = 200_001


def t_quantile(level: float, freedom: int) -> float:
    """The half-width in standard errors of a two-sided interval of `level`, at `freedom`."""
    return float(np.sqrt(drop_quantile(level, 1, freedom)))


@lru_cache(maxsize=256)
def drop_quantile(level: float, held: int, freedom: int) -> float:
    """The quantile of k F with k = `held` and `freedom` degrees of freedom; t squared where k is 1.

    With k F = nu tan(phi)^2 the density is proportional to sin(phi)^(k - 1) cos(phi)^(nu - 1) (Student 1908
    for k = 1), whose integral a trapezoid rule takes to nine digits; freedom is cut at 10,000, where t is
    normal to four digits.
    """
    nu = min(freedom, 10_000)
    phi = np.linspace(0.0, np.pi / 2, GRID)
    density = np.sin(phi) ** (held - 1) * np.cos(phi) ** (nu - 1)
    mass = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return float(nu * np.tan(np.interp(level * mass[-1], mass, phi)) ** 2)
