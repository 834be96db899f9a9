"""Errors of a rolled hold-out by reach, and intervals of predictions widened by them.

The interval of a law assumes that its form is right. Where it is not, predictions are biased, and the more so
the further they are from the data. The rolled hold-out measures that: errors that grow by `growth` per factor
of 10 beyond the data fitted are a bound on the bias, b = |growth| log10(reach). A bias-aware interval with
standard error s has the half-width s cv(b / s), cv(t) being the quantile of |normal with mean t|: 1.96 s
without bias, b + 1.64 s where the bias is large (Armstrong and Kolesar 2020, "Simple and honest confidence
intervals in nonparametric regression", section 2).

Arithmetic on the values of a law.json, for everything that prints a prediction.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist

from scaling.config.base import Frozen

LEVEL = 0.95
BEYOND = 10.0  # times the largest reach measured: further, nothing is known of the bias
LARGE = 6.0  # a bias of more standard errors is missed on one side only
_NORMAL = NormalDist()

Interval = tuple[float, float]


class ReachBin(Frozen):
    """Predictions over a reach in (low, high]; a point predicted from several cut-offs counts once.

    `expected_abs_rel_error` is what the law's own uncertainty and the noise of a run explain,
    `standard_error` is that of `mean_rel_error`, with what the predictions have in common; null where they
    are not known.
    """

    low: float
    high: float | None  # null: without end
    n_points: int
    n_runs: int
    n_predictions: int
    mean_rel_error: float  # predicted / measured - 1, signed
    mean_abs_rel_error: float
    standard_error: float | None
    expected_abs_rel_error: float | None
    inside: float | None  # share inside the prediction interval


class ErrorsByReach(Frozen):
    """How errors of the rolled hold-out grow with reach: `measure` over its largest value in the data fitted.

    `growth` is the mean error of the log target per factor of 10 of reach, with its standard error; null
    where nothing beyond the data fitted was predicted. Fits are those of `rolling`, and for a law of
    several variables also those to the runs below a value of each of them at once (`n_fits` in all).
    """

    measure: str
    bins: tuple[ReachBin, ...] = ()
    growth: float | None = None
    growth_error: float | None = None
    largest: float = 1.0  # reach measured
    n_points: int = 0
    n_runs: int = 0
    n_predictions: int = 0
    n_fits: int = 0
    reaches: tuple[float, ...] = ()  # of each prediction
    rel_errors: tuple[float, ...] = ()

    def reach(self, place: Mapping[str, float], ranges: Mapping[str, Interval]) -> float | None:
        """Of a place: its measure over the largest in the data; None if it is not known there.

        Compute is 6ND where the place gives parameters and tokens and no FLOPs.
        """
        value = place.get(self.measure)
        if value is None and self.measure == "flops" and {"params", "tokens"} <= set(place):
            value = 6.0 * place["params"] * place["tokens"]
        if value is None or self.measure not in ranges:
            return None
        return value / ranges[self.measure][1]

    def without_predictions(self) -> "ErrorsByReach":
        """The same without the single predictions, for documents that only need the growth."""
        return self.model_copy(update={"reaches": (), "rel_errors": ()})

    def refused(self, reach: float | None) -> str | None:
        """Why no interval is given at a reach; None if one is."""
        if reach is None or reach <= BEYOND * self.largest:
            return None
        if self.growth is None:
            return f"no interval: {reach:.3g} times the data, and the runs are too few for a rolled hold-out"
        return (
            f"no interval: {reach:.3g} times the data, more than {BEYOND:g} times the reach that the rolled "
            f"hold-out measured ({self.largest:.3g})"
        )

    def bias(self, reach: float | None) -> float:
        """Bound on the bias of the log target at a reach; 0 inside the data."""
        if self.growth is None or reach is None or reach <= 1:
            return 0.0
        return abs(self.growth) * math.log10(reach)

    def words(self, reach: float | None) -> str | None:
        """How an interval at a reach was widened, or why there is none; None inside the data."""
        if reach is None or reach <= 1:
            return None
        if (why := self.refused(reach)) is not None:
            return why
        if self.growth is None:
            return None
        further = ", extrapolated" if reach > self.largest else ""
        return (
            f"widened for a bias of {math.expm1(self.bias(reach)):.2%}, the rolled hold-out's at "
            f"{reach:.3g} times the data (it measured up to {self.largest:.3g}{further})"
        )


def critical_value(bias: float, level: float = LEVEL) -> float:
    """The quantile of |z| for a normal z with mean `bias` and variance 1."""
    if bias > LARGE:
        return bias + _NORMAL.inv_cdf(level)
    low, high = 0.0, bias + 4.0
    for _ in range(50):
        middle = (low + high) / 2
        if _NORMAL.cdf(middle - bias) - _NORMAL.cdf(-middle - bias) < level:
            low = middle
        else:
            high = middle
    return high


def half_width(own: float, bias: float, level: float = LEVEL) -> float:
    """Half-width with a bias of at most `bias`, where it is `own` without."""
    if bias <= 0:
        return own
    error = own / _NORMAL.inv_cdf((1 + level) / 2)
    return error * critical_value(bias / error, level) if error > 1e-6 * bias else max(own, bias)


def widened(value: float, ends: Interval, bias: float) -> Interval:
    """An interval of a positive target, widened on the scale of its logarithm."""
    if bias <= 0 or not value > 0:
        return ends
    low, high = ends
    below = math.log(value / low) if low > 0 else math.inf
    above = math.log(high / value)
    # An end on the wrong side of the value, as of a skew bootstrap, is moved by the bias alone.
    below = half_width(below, bias) if below > 0 else below + bias
    above = half_width(above, bias) if above > 0 else above + bias
    return value * math.exp(-below), value * math.exp(above)
