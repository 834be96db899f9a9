"""How often does `scaling emergence` call a smooth curve smooth, and a broken one?

    python benchmarks/emergence_power.py --draws 40

Scores are drawn from smooth curves, and from curves with a material break that are as near to each of them as
such curves can be. A row gives the share of draws called smooth in form, the share with a p-value of a break
below 5%, and for smooth curves the most that a test at 5% can call smooth: the power of the likelihood ratio
against the nearest curve with a break if everything but the noise were known (Student's t). The nearest curve
is that of a corner in a sigmoid or a power law.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit, logit
from scipy.stats import nct, t

from scaling.laws.emergence.break_size import MATERIAL, break_sizes, rise
from scaling.laws.emergence.break_test import best_of
from scaling.laws.emergence.curve_shapes import ENTRIES, HIGH, LEVEL, LINKS, SLOPE, TURN, predict
from scaling.laws.emergence.fits import fit_masks
from scaling.laws.emergence.score_table import as_scores
from scaling.laws.emergence.series import Series, series_of
from scaling.laws.emergence.verdict import judge

Floats = NDArray[np.float64]
LEVEL_OF_TEST = 0.05
DECADES = 4.0
AMOUNTS = np.geomspace(0.7, 10, 12)  # of a change of slope
CURVES: dict[str, tuple[Callable[[Floats], Floats], float]] = {  # over decades of compute; chance
    "sigmoid": (lambda x: expit(2.5 * (x - 2.5)), 0.0),
    "token accuracy to the power 10": (lambda x: np.exp(-(10 ** (-0.4 * (x - 1)))), 0.0),
    "sigmoid over a floor of 2%": (lambda x: 0.02 + 0.98 * expit(2.5 * (x - 2.5)), 0.0),
    "sigmoid over chance, 25%": (lambda x: 0.25 + 0.75 * expit(3 * (x - 2.6)), 0.25),
    "sigmoid to a ceiling of 80%": (lambda x: 0.8 * expit(2.5 * (x - 2)), 0.0),
}
BROKEN: dict[str, Callable[[Floats], Floats]] = {
    "flat, then 4 log odds a decade": lambda x: expit(-4 + 4 * np.maximum(0, x - 2.2)),
    "step from 5% to 70%": lambda x: np.where(x < 2.1, 0.05, 0.7),
}


def series(curve: Floats, items: int, chance: float) -> Series:
    """A curve (n,) over n sizes as if measured without noise."""
    n = len(curve)
    rows = {
        "task": ["t"] * n, "metric": ["choice_accuracy" if chance else "exact_match"] * n,
        "group": [str(i) for i in range(n)], "score": list(curve), "n": [items] * n, "chance": [chance] * n,
        "flops": list(1e18 * 10 ** np.linspace(0, DECADES, n)),
    }  # fmt: skip
    (found,) = series_of(as_scores(rows, "drawn"), "flops")
    return found


def drawn(exact: Series, curve: Floats, items: int, scatter: float, draws: int) -> list[Series]:
    """Scores of `items` binomial items around a curve, with a normal scatter in log odds."""
    random = np.random.default_rng(0)
    odds = logit(np.clip(curve, 1e-6, 1 - 1e-6)) + scatter * random.standard_normal((draws, len(curve)))
    shares = random.binomial(items, expit(odds)) / items
    return [replace(exact, y=y, score=y) for y in shares]


def with_corner(free: Floats, amount: float) -> Floats:
    """The parameters (1, P) of a curve whose level and slope are `free`."""
    theta = np.zeros((1, len(ENTRIES)))
    theta[0, [LEVEL, SLOPE, TURN, HIGH]] = free[0], free[1], amount, 1.0
    return theta


def curve_of(theta: Floats, exact: Series, place: float, link: int) -> Floats:
    """(n,) scores of one curve."""
    return predict(theta, exact.x, np.array([place]), np.zeros(1), np.array([link]))[0]


def nearest(exact: Series, curve: Floats, noise: Floats) -> tuple[float, Floats]:
    """The least distance from a curve, in standard deviations, to one with a material break, and that one."""
    (fit,) = fit_masks([(exact, np.ones(len(exact), bool))])
    smooth = best_of(fit, "smooth")
    assert smooth is not None
    total = rise(exact, fit.theta[fit.best(smooth)], LINKS.index(fit.shapes[smooth].link))
    best, shape = np.inf, curve
    places = np.linspace(exact.levels[1], exact.levels[-2], 13)
    for link, place, amount in product((0, 1), places, (*-AMOUNTS, *AMOUNTS)):
        corner = amount, float(place), link

        def off(free: Floats, corner: tuple[float, float, int] = corner) -> Floats:
            return (curve_of(with_corner(free, corner[0]), exact, *corner[1:]) - curve) / noise

        found = least_squares(off, [0.0, max(2.0, -amount)], max_nfev=30)
        theta = with_corner(found.x, amount)
        size = break_sizes(exact, theta, np.array([place]), np.array([link]), total)[0]
        if size >= MATERIAL and 2 * found.cost < best:
            best, shape = 2 * found.cost, curve_of(theta, exact, float(place), link)
    return float(np.sqrt(best)), shape


def row(name: str, exact: Series, curve: Floats, args: argparse.Namespace) -> list[str]:
    """The shares of draws of one curve."""
    verdicts = [one.verdict for one in judge(drawn(exact, curve, args.items, args.scatter, args.draws))]
    smooth = np.mean([v.form == "smooth" for v in verdicts])
    significant = np.mean([v.p_value is not None and v.p_value < LEVEL_OF_TEST for v in verdicts])
    bounds = [np.inf if v.break_bound is None else v.break_bound for v in verdicts]
    return [name, f"{smooth:.0%}", f"{significant:.0%}", f"{np.median(bounds):.0%}"]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--scatter", type=float, default=0.1)
    args = parser.parse_args()
    print("| sizes | truth | called smooth | at most | p < 5% | median bound |")
    print("|---|---|---|---|---|---|")
    for sizes in args.sizes:
        x = np.linspace(0, DECADES, sizes)
        cases = []
        for name, (curve, chance) in CURVES.items():
            y = curve(x)
            exact = series(y, args.items, chance)
            noise = np.sqrt(y * (1 - y) / args.items + (args.scatter * y * (1 - y)) ** 2)
            away, other = nearest(exact, y, noise)
            degrees = sizes - 3
            power = nct.sf(t.ppf(1 - LEVEL_OF_TEST, degrees), degrees, away)
            cases += [(name, exact, y, f"{power:.0%}"), (f"{name}, broken", exact, other, "5%")]
        exact = series(CURVES["sigmoid"][0](x), args.items, 0.0)
        cases += [(name, exact, curve(x), "5%") for name, curve in BROKEN.items()]
        for name, exact, y, most in cases:
            cells = row(name, exact, y, args)
            print("|", " | ".join([str(sizes), cells[0], cells[1], most, *cells[2:]]), "|", flush=True)


if __name__ == "__main__":
    sys.exit(main())
