"""Weights of several laws, from the errors of their predictions, and intervals of their average."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from scaling.laws.forms.form import Floats
from scaling.laws.sections import LEVEL, Interval

SIDE = NormalDist().inv_cdf((1 + LEVEL) / 2)


def stacked_weights(errors_nK: Floats, weight_n: Floats) -> Floats:
    """(K,) weights, none negative, of sum 1, that minimise the weighted square of the averaged error.

    Stacking (Wolpert 1992; Breiman 1996) of point predictions, as in Yao et al. 2018, "Using stacking to
    average Bayesian predictive distributions", equation 6. Of the few laws every set that may have weight is
    tried: the minimum is exact.
    """
    K = errors_nK.shape[1]
    gram = errors_nK.T @ (weight_n[:, None] * errors_nK) / weight_n.sum()
    ridge = 1e-12 * np.trace(gram) / K  # laws of equal errors share their weight
    best, least = np.full(K, 1 / K), np.inf
    for size in range(1, K + 1):
        for kept in combinations(range(K), size):
            inner = gram[np.ix_(kept, kept)] + ridge * np.eye(size)
            share = np.linalg.lstsq(inner, np.ones(size), rcond=None)[0]
            if share.sum() <= 0 or (share < 0).any():
                continue
            share /= share.sum()
            value = float(share @ inner @ share)
            if value < least * (1 - 1e-9):
                best, least = np.zeros(K), value
                best[list(kept)] = share
    return best


def shrunk(weights_K: Floats, alike_K: NDArray[np.bool_], runs: int) -> Floats:
    """(K,) weights moved towards equal ones of the laws that the predictions cannot tell apart.

    Few predicted runs put all weight on whichever law was lucky. Equal weights count as one run for each of
    these laws, so that they matter where there are few runs and vanish where there are many.
    """
    prior, count = alike_K / alike_K.sum(), int(alike_K.sum())
    moved: Floats = (runs * weights_K + count * prior) / (runs + count)
    return moved


def mixture_interval(
    centres: Mapping[str, float], intervals: Mapping[str, Interval | None], weights: Mapping[str, float]
) -> Interval | None:
    """The middle 95% of a mixture of the laws' predictions; None if one of the laws has no interval.

    Each law's prediction is a normal on the logarithm, on each side as wide as its interval.
    """
    parts: list[tuple[float, float, float, float]] = []
    for name, weight in weights.items():
        ends, centre = intervals.get(name), centres[name]
        if ends is None or not 0 < ends[0] <= centre <= ends[1]:
            return None
        middle = float(np.log(centre))
        below, above = middle - float(np.log(ends[0])), float(np.log(ends[1])) - middle
        parts.append((weight, middle, max(below, 1e-12) / SIDE, max(above, 1e-12) / SIDE))
    total = sum(part[0] for part in parts)

    def share_below(x: float) -> float:
        return sum(w * float(ndtr((x - m) / (low if x < m else high))) for w, m, low, high in parts) / total

    least = min(m - 9 * low for _, m, low, _ in parts)
    most = max(m + 9 * high for _, m, _, high in parts)
    low, high = (
        brentq(lambda x, at=tail: share_below(x) - at, least, most, xtol=1e-12)
        for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    )
    return float(np.exp(low)), float(np.exp(high))


def averaged(centres: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The prediction of the average: of the logarithms, on which the weights were found."""
    total = sum(weights.values())
    return float(np.exp(sum(w * np.log(centres[name]) for name, w in weights.items()) / total))


def squares_by_run(errors_nK: Floats, run: Sequence[str]) -> Floats:
    """(R, K) mean squared error of each run that was predicted, over its points and cut-offs."""
    names, index = np.unique(np.array(run), return_inverse=True)
    totals = np.zeros((len(names), errors_nK.shape[1]))
    np.add.at(totals, index.reshape(-1), errors_nK**2)
    squares: Floats = totals / np.bincount(index.reshape(-1))[:, None]
    return squares
