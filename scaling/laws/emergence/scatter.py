"""Fits that estimate the scatter of scores beyond the noise of test items.

Two trainings of one size differ (seed, data order, sizes off the trend). In log odds this scatter has a
standard deviation tau, and a share p of m items has the variance of a binomial times

    phi = 1 + tau^2 (m - 1) p (1 - p)

(Williams 1982, model III), which is 1 near the ends, where the noise is that of items, and large in the
middle, where it is that of training. The likelihood is the extended quasi-likelihood of Nelder and Pregibon
(1987), or the double binomial of Efron (1986): -(sum of log phi + d / phi) / 2, with d the binomial deviance
of each point. Scores that are not shares have one variance, phi = tau^2, and d is the squared residual.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.curve_shapes import mean
from scaling.laws.emergence.solve import Problems, deviances, solve

Floats = NDArray[np.float64]

FINEST = 1e-8  # of a variance, in units of half the score's range: no score is measured to 1e-4 of its range
ROUNDS = 4  # alternations between curve and scatter
SETTLED = 0.02  # relative change of tau^2 below which a fit has converged
GRID = np.concatenate([[0.0], np.geomspace(1e-4, 10.0, 24)])  # of tau^2 for shares
CELLS = 2**22  # problems x points per block


@dataclass(frozen=True)
class Scattered:
    """The solutions of S problems.

    theta (S, P); log_likelihood (S,), up to a constant that all shapes of the same points share; variance
    (S,), which is tau^2; off (S,), the sum of d / phi; deviance (S,) of the best curve with tau = 0;
    information (S, P, P) of theta.
    """

    theta: Floats
    log_likelihood: Floats
    variance: Floats
    off: Floats
    deviance: Floats
    information: Floats


def factor(share: Floats, trials: Floats) -> Floats:
    """The factor of tau^2 in phi; 0 without trials.

    `share` is the expected one: with the measured one, a score of 0 would count as known exactly.
    """
    return np.where(trials > 1, (trials - 1) * share * (1 - share), 0.0)


def fit_scattered(problems: Problems, start: Floats) -> Scattered:
    """Curve and scatter of every problem, estimated in alternation; scatter reduces the weight of points."""
    p = problems
    mask, trials = p.mask[p.rows], p.trials[p.rows]
    binomial: NDArray[np.bool_] = np.asarray((trials > 0).any(axis=1), bool)
    first = solve(p, start, mask)
    theta, information = first.theta.copy(), first.information.copy()
    variance = np.zeros(len(p.rows))
    for _ in range(ROUNDS):
        d, mu = _deviances(p, theta)
        spread = factor(mu, trials)
        before, variance = variance, _variance(d, spread, mask, binomial)
        # A variance that is the same for all points does not move the curve.
        moves = np.asarray(binomial & (np.abs(variance - before) > SETTLED * (variance + GRID[1])))
        if not moves.any():
            break
        weight = mask[moves] / (1 + variance[moves, None] * spread[moves])
        again = solve(_some(p, moves), theta[moves], weight)
        theta[moves], information[moves] = again.theta, again.information
    d, mu = _deviances(p, theta)
    spread = factor(mu, trials)
    variance = _variance(d, spread, mask, binomial)
    phi = np.where(binomial[:, None], 1 + variance[:, None] * spread, variance[:, None])
    off = (mask * d / phi).sum(axis=1)
    log_likelihood = -0.5 * ((mask * np.log(phi)).sum(axis=1) + off)
    return Scattered(theta, log_likelihood, variance, off, first.deviance, information)


def _some(p: Problems, chosen: NDArray[np.bool_]) -> Problems:
    each = {
        name: getattr(p, name)[chosen]
        for name in ("rows", "link", "free", "place", "origin", "lower", "upper")
    }
    return replace(p, **each)


def _deviances(p: Problems, theta: Floats) -> tuple[Floats, Floats]:
    """(S, n) each: the deviance of each point, and the expected score there."""
    step = max(1, CELLS // p.x.shape[1])
    parts, means = [], []
    for first in range(0, len(theta), step):
        one = slice(first, first + step)
        rows = p.rows[one]
        with np.errstate(over="ignore"):
            mu = mean(theta[one], p.x[rows], p.place[one], p.origin[one], p.link[one])[0]
        parts.append(deviances(p.y[rows], mu, p.trials[rows]))
        means.append(np.clip(mu, 0.0, 1.0))
    return np.concatenate(parts), np.concatenate(means)


def _variance(d: Floats, spread: Floats, mask: Floats, binomial: NDArray[np.bool_]) -> Floats:
    """(S,) tau^2 of maximum likelihood: in closed form for squares, on two grids for shares."""
    squares = np.maximum((mask * d).sum(axis=1) / mask.sum(axis=1), FINEST)

    def lost(variance: Floats) -> Floats:
        phi = 1 + variance[:, None] * spread
        total: Floats = (mask * (np.log(phi) + d / phi)).sum(axis=1)
        return total

    at_grid = np.stack([lost(np.full(len(d), v)) for v in GRID])
    best = at_grid.argmin(axis=0)
    low, high = GRID[np.maximum(best - 1, 0)], GRID[np.minimum(best + 1, len(GRID) - 1)]
    shares = np.linspace(0.0, 1.0, 9)
    finer = low + shares[:, None] * (high - low)
    at_finer = np.stack([lost(v) for v in finer])
    chosen = finer[at_finer.argmin(axis=0), np.arange(len(d))]
    return np.where(binomial, chosen, squares)
