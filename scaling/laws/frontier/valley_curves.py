"""Curves through one compute budget's losses over log N: a parabola through all points, and Akima's."""

import numpy as np

from scaling.laws.forms.form import Floats
from scaling.laws.frontier.akima import akima, akima_minimum
from scaling.laws.points import Points

TIE = 1e-9  # relative difference of losses that are equal


def sizes_of(group: Points) -> Floats:
    """(K,) log of the different sizes, increasing."""
    return np.unique(np.log(group.params).round(9))


def size_means(group: Points, sizes: Floats, values: Floats) -> Floats:
    """(K,) mean of `values` (n,) at each of the sizes."""
    at = np.searchsorted(sizes, np.log(group.params).round(9))
    return np.bincount(at, values, len(sizes)) / np.bincount(at, minlength=len(sizes))


def least_size(sizes: Floats, log_loss: Floats) -> float:
    """The size of least loss; of equal ones the one nearest the middle, so that a tie is at no end."""
    ties = np.flatnonzero(log_loss <= log_loss.min() + TIE)
    return float(sizes[ties[np.abs(ties - (len(sizes) - 1) / 2).argmin()]])


def measured_minimum(group: Points, sizes: Floats) -> float:
    """Log of the size of least measured loss."""
    return least_size(sizes, size_means(group, sizes, np.log(group.loss)))


def parabolas(group: Points, counts_Sn: Floats) -> tuple[float, float, Floats]:
    """Log N and loss at the minimum of the weighted least-squares parabola, and log N of each resample.

    NaN without a minimum; that of a resample must also be inside the sizes it drew.
    """
    log_n = np.log(group.params)
    centre, width = log_n.mean(), np.ptp(log_n) / 2
    z = (log_n - centre) / width
    basis = np.stack([np.ones_like(z), z, z * z], axis=1)
    weight = np.concatenate([np.ones((1, len(z))), counts_Sn]) * group.weight
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(z), 9)
    gram = (weight @ products).reshape(-1, 3, 3)
    right = weight @ (basis * group.loss[:, None])
    # A resample that drew fewer than three sizes has no parabola.
    good = np.linalg.det(gram) > 1e-9 * np.trace(gram, axis1=1, axis2=2) ** 3
    coefficients = np.full((len(weight), 3), np.nan)
    coefficients[good] = np.linalg.solve(gram[good], right[good][..., None])[..., 0]
    c0, c1, c2 = coefficients.T
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.where(c2 > TIE * np.abs(c0), -c1 / (2 * c2), np.nan)
        least = c0 - c1 * c1 / (4 * c2)
    low = np.where(weight > 0, z, np.inf).min(axis=1)
    high = np.where(weight > 0, z, -np.inf).max(axis=1)
    inside = (place > low) & (place < high)
    inside[0] = True  # the caller judges the minimum of the full data's parabola
    places = np.where(inside, centre + width * place, np.nan)
    return float(places[0]), float(least[0]), places[1:]


def perturbed_akima(
    group: Points, sizes: Floats, noise: float, resamples: int, random: np.random.Generator
) -> tuple[float, float, Floats]:
    """As `parabolas`, of Akima's curve; a resample least at an end of the sizes has no minimum."""
    loss = np.exp(size_means(group, sizes, np.log(group.loss)))
    place, least = akima_minimum(sizes, np.log(loss))
    if not sizes[0] < place < sizes[-1] and np.ptp(loss) > TIE * loss.min():
        place = np.array(least_size(sizes, np.log(loss)))
    perturbed = loss + noise * random.standard_normal((resamples, len(sizes)))
    drawn, _ = akima_minimum(sizes, np.log(np.maximum(perturbed, 1e-3 * loss)))
    drawn = np.where((drawn > sizes[0]) & (drawn < sizes[-1]), drawn, np.nan)
    return float(place), float(np.exp(least)), drawn


def valley(group: Points, method: str) -> tuple[Floats, Floats]:
    """(100,) sizes and losses of a curve through all points: a parabola in log N, or Akima's."""
    log_n, sizes = np.log(group.params), sizes_of(group)
    grid = np.linspace(sizes[0], sizes[-1], 100)
    if method == "akima":
        return np.exp(grid), np.exp(akima(sizes, size_means(group, sizes, np.log(group.loss)), grid))
    centre = log_n.mean()
    curve = np.polynomial.Polynomial.fit(log_n - centre, group.loss, 2, w=np.sqrt(group.weight))
    return np.exp(grid), curve(grid - centre)
