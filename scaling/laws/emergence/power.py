"""Which breaks could these sizes show?

A break is added to the best smooth curve at every place, to first order: what is left of it after the smooth
curve has been fitted again, over the noise, gives the standard error of its amount. An amount of t standard
errors is found with a probability of 80% by a test at 5%, where t is the sum of Student's quantiles at 97.5%
and 80%. Its size is a share of the rise (see `break_size`).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from scaling.laws.emergence.break_bound import places_of
from scaling.laws.emergence.break_size import break_sizes, rise
from scaling.laws.emergence.curve_shapes import JUMP, LINKS, TURN, mean
from scaling.laws.emergence.document import Power
from scaling.laws.emergence.fits import CandidateFits, bounds
from scaling.laws.emergence.scatter import factor
from scaling.laws.emergence.solve import EDGE

Floats = NDArray[np.float64]

PROBABILITY = 0.8  # with which a break of the reported size is found
LEVEL = 0.05  # of the test
OUT_OF_REACH = 30.0  # amount of a break, as large as a fit allows


def power(fit: CandidateFits, index: int) -> Power:
    """The smallest breaks of a smooth shape that these sizes show in four of five draws."""
    shape, node = fit.shapes[index], fit.best(index)
    theta, link = fit.theta[node], LINKS.index(shape.link)
    total = rise(fit.series, theta, link)
    tangent, columns = _whitened(fit, index)
    degrees = fit.n - tangent.shape[1] - 2
    sizes: list[float] = []
    if degrees > 0 and total > 0:
        left = _projected(tangent, columns)
        length = np.sqrt((left**2).sum(axis=0))
        t = stdtrit(degrees, 1 - LEVEL / 2) + stdtrit(degrees, PROBABILITY)
        for entry, place, norm in zip(*_places(fit), length, strict=True):
            amount = t / norm if norm > t / OUT_OF_REACH else np.inf
            sizes.append(_size(fit, theta, link, int(entry), float(place), amount, total))
    best, worst = (min(sizes), max(sizes)) if sizes else (np.inf, np.inf)
    return Power(
        sizes=len(fit.series.levels),
        probability=PROBABILITY,
        smallest=None if not np.isfinite(best) else best,
        anywhere=None if not np.isfinite(worst) else worst,
    )


def _size(
    fit: CandidateFits, theta: Floats, link: int, entry: int, place: float, amount: float, total: float
) -> float:
    """The size of a break of this amount up or down, whichever is larger."""
    if not np.isfinite(amount):
        return np.inf
    both = np.stack([theta, theta])
    both[:, entry] += np.array([amount, -amount])
    return float(break_sizes(fit.series, both, np.full(2, place), np.full(2, link), total).max())


def _places(fit: CandidateFits) -> tuple[NDArray[np.int64], Floats]:
    """(C,) entries and places of the breaks that are tried."""
    levels = fit.series.levels
    parts = [(entry, places_of(levels, entry)) for entry in (JUMP, TURN)]
    entries = np.concatenate([np.full(len(places), entry) for entry, places in parts])
    return entries, np.concatenate([places for _, places in parts])


def _whitened(fit: CandidateFits, index: int) -> tuple[Floats, Floats]:
    """Tangent (n, k) of a smooth curve and columns (n, C) of breaks, both over the noise."""
    series, shape = fit.series, fit.shapes[index]
    theta, variance = fit.theta[fit.best(index)], float(fit.variance[fit.best(index)])
    zero, link = np.zeros(1), np.array([LINKS.index(shape.link)])
    mu, slope, in_low, in_high = (part[0] for part in mean(theta[None], series.x[None], zero, zero, link))
    if fit.binomial:
        inside = np.clip(mu, EDGE, 1 - EDGE)
        phi = 1 + variance * factor(inside, series.trials)
        noise = np.sqrt(phi * inside * (1 - inside) / series.trials)
    else:
        noise = np.full(len(series), np.sqrt(variance))
    x = series.x
    every = np.stack([slope, slope * x, slope * x**2, slope, slope, in_low, in_high], axis=1)
    low, high = bounds(series, shape, theta[None])
    moves = [e for e in shape.free if low[0, e] < theta[e] < high[0, e]]
    entries, places = _places(fit)
    past = x[:, None] - places
    columns = slope[:, None] * np.where(entries == JUMP, past > 0, np.maximum(past, 0.0))
    return every[:, moves] / noise[:, None], columns / noise[:, None]


def _projected(tangent: Floats, columns: Floats) -> Floats:
    """Columns less their projection on the tangent."""
    basis, size, _ = np.linalg.svd(tangent, full_matrices=False)
    basis = basis[:, size > 1e-8 * max(float(size.max(initial=0.0)), 1e-300)]
    left: Floats = columns - basis @ (basis.T @ columns)
    return left
