"""The compute-optimal frontier as a power law of compute: N_opt = k C^a, by least squares in logs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.resample import Interval, percentiles

Floats = NDArray[np.float64]


MIN_OPTIMA = 3  # a power law through two says nothing about whether there is one


@dataclass(frozen=True)
class PowerLaw:
    """value = k C^exponent, C in FLOPs; intervals are bootstrap percentiles, None without a bootstrap
    or where fewer than half of its resamples determine the law.

    `samples_S2` holds log k and the exponent of every resample that determines them.
    """

    k: float
    exponent: float
    k_interval: Interval | None
    exponent_interval: Interval | None
    r2: float
    n: int
    samples_S2: Floats

    def predict(self, flops: Any) -> Floats:
        """The value at a training compute in FLOPs."""
        return self.k * np.asarray(flops, float) ** self.exponent

    def interval(self, flops: Any) -> tuple[Floats, Floats] | None:
        """Lower and upper 95% bootstrap percentiles of `predict`; None without a bootstrap."""
        if self.exponent_interval is None:
            return None
        x = np.log(np.asarray(flops, float))
        values = np.exp(self.samples_S2[:, 0] + np.multiply.outer(x, self.samples_S2[:, 1]))
        return np.quantile(values, 0.025, axis=-1), np.quantile(values, 0.975, axis=-1)


def line_fits(x: Floats, y_SG: Floats, weight: Floats) -> Floats:
    """(S, 2) intercept and slope of S weighted least-squares lines over x; NaN in y is left out.

    `x` and `weight` are (G,) or (S, G). Fewer than two different x give NaN.
    """
    known = np.isfinite(y_SG)
    w = np.where(known, weight, 0.0)
    y = np.where(known, y_SG, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = w.sum(axis=-1, keepdims=True)
        mean_x, mean_y = (w * x).sum(-1, keepdims=True) / total, (w * y).sum(-1, keepdims=True) / total
        dx = x - mean_x
        spread = (w * dx * dx).sum(-1)
        slope = np.where(spread > 1e-12 * total[..., 0], (w * dx * (y - mean_y)).sum(-1) / spread, np.nan)
    return np.stack([mean_y[..., 0] - slope * mean_x[..., 0], slope], axis=-1)


def fit_power_law(
    flops: Floats,
    values: Floats,
    weight: Floats | None = None,
    log_samples_SG: Floats | None = None,
) -> PowerLaw:
    """Least squares of log value on log C.

    Args:
        flops: (G,) training compute in FLOPs, at least two different.
        values: (G,) positive.
        weight: (G,) of the squared residuals; None for ones.
        log_samples_SG: log values of S resamples, NaN where a resample has none, for the intervals;
            a resample with fewer than three counts for none.
    """
    x, y = np.log(flops), np.log(values)
    w = np.ones_like(x) if weight is None else weight
    intercept, slope = line_fits(x, y[None], w)[0]
    residual = y - intercept - slope * x
    spread = (w * (y - np.average(y, weights=w)) ** 2).sum()
    samples = np.empty((0, 2))
    if log_samples_SG is not None:
        samples = line_fits(x, log_samples_SG, w)
        # A line through the two optima a resample happens to keep would only measure their distance.
        samples[np.isfinite(log_samples_SG).sum(axis=1) < min(MIN_OPTIMA, len(x))] = np.nan
    known = np.isfinite(samples).all(axis=-1)
    with np.errstate(over="ignore"):
        scale = percentiles(np.exp(samples[:, 0]))
    return PowerLaw(
        k=float(np.exp(intercept)),
        exponent=float(slope),
        k_interval=scale,
        exponent_interval=percentiles(samples[:, 1]),
        r2=float(1 - (w * residual**2).sum() / spread) if spread > 0 else 1.0,
        n=len(x),
        samples_S2=samples[known],
    )
