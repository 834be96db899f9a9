"""The compute-optimal frontier as a power law of compute: N_opt = k C^a, by least squares in logs."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scaling.laws.uncertainty.resample import Interval, jackknife, percentiles

Floats = NDArray[np.float64]


MIN_OPTIMA = 3  # a power law through two says nothing about whether there is one


@dataclass(frozen=True)
class PowerLaw:
    """value = k C^exponent, C in FLOPs, with 95% intervals.

    Intervals are bootstrap percentiles; where fewer than half of the resamples determine the law, as often
    with one run per size, those of a delete-one-run jackknife; None where neither is possible.

    `samples_S2` holds log k and the exponent of every resample that determines them, `deleted_R2` those
    without each run.
    """

    k: float
    exponent: float
    k_interval: Interval | None
    exponent_interval: Interval | None
    interval_method: Literal["bootstrap", "jackknife"] | None
    r2: float
    n: int
    samples_S2: Floats
    deleted_R2: Floats

    def predict(self, flops: Any) -> Floats:
        """The value at a training compute in FLOPs."""
        return self.k * np.asarray(flops, float) ** self.exponent

    def interval(self, flops: Any) -> tuple[Floats, Floats] | None:
        """Lower and upper ends of the 95% interval of `predict`; None where the law has no intervals."""
        x = np.log(np.asarray(flops, float))

        def values(rows: Floats) -> Floats:
            return rows[:, 0] + np.multiply.outer(x, rows[:, 1])

        if self.interval_method == "bootstrap":
            logs = values(self.samples_S2)
            low, high = np.quantile(logs, 0.025, axis=-1), np.quantile(logs, 0.975, axis=-1)
        elif self.interval_method == "jackknife":
            ends = jackknife(np.log(self.predict(flops)), np.moveaxis(values(self.deleted_R2), -1, 0))
            assert ends is not None
            low, high = ends
        else:
            return None
        return np.exp(low), np.exp(high)


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
    log_deleted_RG: Floats | None = None,
) -> PowerLaw:
    """Least squares of log value on log C.

    Args:
        flops: (G,) training compute in FLOPs, at least two different.
        values: (G,) positive.
        weight: (G,) of the squared residuals; None for ones.
        log_samples_SG: log values of S resamples, NaN where a resample has none, for the intervals;
            a resample with fewer than three counts for none.
        log_deleted_RG: the same without each of R runs, for where the resamples give no interval.
    """
    x, y = np.log(flops), np.log(values)
    w = np.ones_like(x) if weight is None else weight
    intercept, slope = line_fits(x, y[None], w)[0]
    residual = y - intercept - slope * x
    spread = (w * (y - np.average(y, weights=w)) ** 2).sum()
    fewest = min(MIN_OPTIMA, len(x))

    def lines(logs: Floats | None) -> Floats:
        if logs is None:
            return np.empty((0, 2))
        rows = line_fits(x, logs, w)
        # A line through the two optima a resample happens to keep would only measure their distance.
        rows[np.isfinite(logs).sum(axis=1) < fewest] = np.nan
        return rows

    samples, deleted = lines(log_samples_SG), lines(log_deleted_RG)
    scale, ends = percentiles(samples[:, 0]), percentiles(samples[:, 1])
    method: Literal["bootstrap", "jackknife"] | None = "bootstrap" if ends is not None else None
    if ends is None and (both := jackknife(np.array([intercept, slope]), deleted)) is not None:
        method = "jackknife"
        scale, ends = ((float(low), float(high)) for low, high in zip(*both, strict=True))
    with np.errstate(over="ignore"):
        return PowerLaw(
            k=float(np.exp(intercept)),
            exponent=float(slope),
            k_interval=None if scale is None else (float(np.exp(scale[0])), float(np.exp(scale[1]))),
            exponent_interval=ends,
            interval_method=method,
            r2=float(1 - (w * residual**2).sum() / spread) if spread > 0 else 1.0,
            n=len(x),
            samples_S2=samples[np.isfinite(samples).all(axis=-1)],
            deleted_R2=deleted,
        )
