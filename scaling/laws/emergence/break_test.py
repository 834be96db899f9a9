"""Is a break more than chance? A p-value by parametric bootstrap, and how many of the breaks found are none.

The statistic is the gain in AICc of the best shape with a break over the best one without, where a smooth
curve that rises between two neighbouring sizes does not count: the sizes cannot tell it from a step. The
distribution without a break is found by drawing scores from the best shape without one, with the noise of
items and the scatter that were fitted, and choosing among all shapes again, places included: no table of
chi-squared or F holds where a place is searched (Davies 1987; Hinkley and Schechtman 1987). The p-value is
the share of draws that gain as much. Beyond the draws it follows the tail of the largest ones, which is
exponential for a likelihood ratio (Knijnenburg et al. 2009, doi:10.1093/bioinformatics/btp211, with shape 0).
The share is doubled, because the curve from which scores are drawn is itself fitted to few sizes: of 116
sigmoids over a floor at eight sizes, the least favourable of the curves tried, 9% had a share below 5%. Where
AICc does not prefer a break the p-value is 1, which is valid, and no draws are made.

Over all series of a document the p-values are adjusted by Benjamini and Hochberg (1995). Of the breaks with
q <= `RATE` at most that share is expected to be none, if the tests are independent or depend positively, as
scores of the same models do (Benjamini and Yekutieli 2001).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from scaling.laws.emergence.curve_shapes import HALF, SLOPE, Family, rise_width
from scaling.laws.emergence.fits import CandidateFits, fit_coarsely
from scaling.laws.emergence.series import Series
from scaling.laws.emergence.solve import EDGE

Floats = NDArray[np.float64]

RATE = 0.1  # false discoveries
UNBROKEN: tuple[Family, ...] = ("flat", "smooth")
FIRST = 19  # draws of every series; where `MANY` of them gain as much, no more are needed
MANY = 5
DRAWS = 99
TAIL = 25  # of the largest draws, to which the tail is fitted
CAUTION = 2.0  # by which a share is multiplied; see the module


def best_of(fit: CandidateFits, *families: Family) -> int | None:
    """The shape of some families that AICc prefers; None if none is eligible."""
    chosen = [i for i, s in enumerate(fit.shapes) if s.family in families and fit.eligible(i)]
    return min(chosen, key=fit.aicc) if chosen else None


def break_p_values(fits: Sequence[CandidateFits]) -> list[float | None]:
    """The p-value of a break in each fit of all points; None where no shape with one can be compared."""
    found: list[float | None] = [None if best_of(fit, "broken") is None else 1.0 for fit in fits]
    tested = [i for i, fit in enumerate(fits) if _prefers_break(fit) and _resolved(fit) is not None]
    coarse = dict(zip(tested, fit_coarsely([fits[i].series for i in tested]), strict=True)) if tested else {}
    gains: dict[int, Floats] = {i: np.zeros(0) for i in tested}
    for first, last in ((0, FIRST), (FIRST, DRAWS)):
        left = [i for i in tested if first == 0 or (gains[i] >= _gain(coarse[i])).sum() < MANY]
        simulated = [draw for i in left for draw in _draws(fits[i], DRAWS)[first:last]]
        values = [_gain(fit) for fit in fit_coarsely(simulated)] if simulated else []
        for row, i in enumerate(left):
            more = values[row * (last - first) : (row + 1) * (last - first)]
            gains[i] = np.concatenate([gains[i], more])
    for i in tested:
        found[i] = p_value(_gain(coarse[i]), gains[i])
    return found


def _prefers_break(fit: CandidateFits) -> bool:
    unbroken, broken = best_of(fit, *UNBROKEN), best_of(fit, "broken")
    return unbroken is not None and broken is not None and fit.aicc(unbroken) > fit.aicc(broken)


def _resolved(fit: CandidateFits) -> int | None:
    """The best shape without a break whose rise, from 10% to 90%, is wider than the smallest gap."""
    gap = float(np.diff(fit.series.levels).min())

    def wide(index: int) -> bool:
        shape = fit.shapes[index]
        if shape.family == "flat" or shape.link not in HALF:
            return True
        return rise_width(shape.link, float(fit.theta[fit.best(index), SLOPE])) > gap

    chosen = [i for i, s in enumerate(fit.shapes) if s.family in UNBROKEN and fit.eligible(i) and wide(i)]
    return min(chosen, key=fit.aicc) if chosen else None


def _gain(fit: CandidateFits) -> float:
    """AICc of the best resolved shape without a break less that of the best one with a break."""
    unbroken, broken = _resolved(fit), best_of(fit, "broken")
    return -np.inf if unbroken is None or broken is None else fit.aicc(unbroken) - fit.aicc(broken)


def _draws(fit: CandidateFits, count: int) -> list[Series]:
    """Series drawn from the best resolved shape without a break; the same for the same fit."""
    series, index = fit.series, _resolved(fit)
    if index is None:
        return []
    random = np.random.default_rng(0)
    node, n = fit.best(index), fit.n
    mu = fit.curve(node, series.x)
    # The variance of maximum likelihood is too small by the parameters of the curve.
    variance = float(fit.variance[node]) * n / max(n - fit.shapes[index].n_parameters, 1)
    normal = np.sqrt(variance) * random.standard_normal((count, n))
    if fit.binomial:
        trials = np.maximum(np.round(series.trials), 1).astype(np.int64)
        share = expit(logit(np.clip(mu, EDGE, 1 - EDGE)) + normal)
        drawn = random.binomial(trials, share) / trials
    else:
        drawn = np.clip(mu + normal, series.least, series.most)
    return [replace(series, y=y) for y in drawn]


def p_value(gain: float, drawn: Floats) -> float:
    """Twice the share of `drawn` gains that are as large, by their tail where it is beyond most of them."""
    above = int((drawn >= gain).sum())
    if above >= MANY or len(drawn) <= TAIL:
        share = (above + 1) / (len(drawn) + 1)
    else:
        largest = np.sort(drawn)[-TAIL:]
        excess = float((largest - largest[0]).sum()) / (TAIL - 1)
        excess *= 1 + 1 / np.sqrt(TAIL - 1)  # one standard error more, so that the tail is rather too heavy
        share = (TAIL + 1) / (len(drawn) + 1) * np.exp(-(gain - largest[0]) / max(excess, 1e-12))
    return float(min(1.0, CAUTION * share))


def q_values(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values; None is no test, and stays None."""
    tested = [(i, value) for i, value in enumerate(p) if value is not None]
    found: list[float | None] = [None] * len(p)
    least = 1.0
    for rank, (i, value) in zip(
        range(len(tested), 0, -1), sorted(tested, key=lambda one: -one[1]), strict=True
    ):
        least = min(least, value * len(tested) / rank)
        found[i] = float(np.clip(least, 0.0, 1.0))
    return found
