"""What the small models say of the largest: through the metric itself, and through one that moves earlier.

The prediction is a mixture of all shapes by Akaike's weights, over what each fit does not know; its interval
is of the score as it will be measured, noise of the test items and of the run included.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.document import Forecast
from scaling.laws.emergence.fits import Fit, fit_masks
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.scores import Scores
from scaling.laws.emergence.series import Series, one_series, over_metric
from scaling.laws.emergence.shapes import Family

Floats = NDArray[np.float64]

DRAWS = 4000
FAMILIES: tuple[Family, ...] = ("flat", "smooth", "broken")
LEAST = 4  # points that a forecast is made from


def forecast_mask(series: Series) -> NDArray[np.bool_]:
    """(n,) the points of the largest scale."""
    largest: NDArray[np.bool_] = np.abs(series.x - series.levels[-1]) < 1e-6
    return largest


def forecast(small: Fit) -> tuple[Forecast, ...]:
    """The largest scale's score from a fit without it; empty where there are too few points."""
    if small.n < LEAST:
        return ()
    found = forecast_of(small, np.flatnonzero(forecast_mask(small.series)))
    return () if found is None else (found,)


def forecast_of(small: Fit, held: NDArray[np.int64], few: bool = False) -> Forecast | None:
    """The mean score of points of one scale from a fit without them; `few` as in `Fit.weights`."""
    series = small.series
    drawn = draw(small, float(series.x[held[0]]), np.random.default_rng(0), few)
    if drawn is None:
        return None
    y = noisy(series, drawn[0], drawn[1], float(series.trials[held].mean()), len(held))
    return _forecast(series, series.key[1], held, series.score_of(y), series.score_of(drawn[0]))


def draw(
    fit: Fit, x: float | Floats, random: np.random.Generator, few: bool = False
) -> tuple[Floats, Floats] | None:
    """(DRAWS,) y and dispersion of the mixture of shapes at x."""
    weights = fit.weights(FAMILIES, few)
    if not weights:
        return None
    share = np.array(list(weights.values()))
    counts = random.multinomial(DRAWS, share / share.sum())
    parts, first = [], 0
    for index, count in zip(weights, counts, strict=True):
        if count:
            at = x if np.ndim(x) == 0 else np.asarray(x)[first : first + count]
            parts.append(fit.draws(index, at, int(count), random))
            first += count
    y, phi = (np.concatenate(part) for part in zip(*parts, strict=True))
    return y, phi


def noisy(series: Series, y: Floats, phi: Floats, trials: float, rows: int) -> Floats:
    """y as it would be measured, the mean of a number of rows."""
    random = np.random.default_rng(1)
    if trials <= 0:
        out = y + np.sqrt(phi / rows) * random.standard_normal(len(y))
        return np.clip(out, series.least, series.most)
    # Counts out of as many items as the dispersion leaves: a normal has no good tail near 0 and 1.
    effective = np.maximum(np.round(rows * trials / phi), 1).astype(np.int64)
    shares: Floats = random.binomial(effective, np.clip(y, 0.0, 1.0)) / effective
    return shares


def through(rows: Scores, sharp: Series, smooth_rows: Scores, name: str) -> Forecast | None:
    """The largest scale's sharp score by way of a smooth metric of the same runs.

    The smooth metric is forecast over scale, and the sharp one read off its own curve over the smooth metric,
    both from the smaller models. None where the runs are not the same or too few.
    """
    held = forecast_mask(sharp)
    found = _smooth_series(rows, sharp, smooth_rows, name)
    link = None if found is None else over_metric(sharp, found)
    if found is None or link is None or len(np.unique(link.x[~held])) < LEAST:
        return None
    first, second = fit_masks([(found, ~held), (link, ~held)])
    random = np.random.default_rng(0)
    drawn = draw(first, float(found.x[held][0]), random)
    if drawn is None:
        return None
    # The mixture comes shape by shape; the second one must not meet it in that order.
    answer = draw(second, link.place(random.permutation(drawn[0])), random)
    if answer is None:
        return None
    y = noisy(sharp, answer[0], answer[1], float(sharp.trials[held].mean()), int(held.sum()))
    return _forecast(sharp, name, np.flatnonzero(held), sharp.score_of(y), sharp.score_of(answer[0]))


def through_length(rows: Scores, sharp: Series, tokens: Scores) -> Forecast | None:
    """Token accuracy, forecast over scale, to the power of the answer's length (Schaeffer et al. 2023)."""
    held = forecast_mask(sharp)
    found = _smooth_series(rows, sharp, tokens, "token_accuracy")
    if found is None or not np.isfinite(sharp.answer_tokens):
        return None
    (fit,) = fit_masks([(found, ~held)])
    drawn = draw(fit, float(found.x[held][0]), np.random.default_rng(0))
    if drawn is None:
        return None
    y = np.clip(drawn[0], 0, 1) ** sharp.answer_tokens
    seen = noisy(sharp, y, drawn[1], float(sharp.trials[held].mean()), int(held.sum()))
    return _forecast(sharp, "token_accuracy ^ length", np.flatnonzero(held), seen, y)


def smooth_ways(rows: Scores, sharp: Series, every: Scores) -> tuple[Forecast, ...]:
    """The forecasts of one sharp series through each smooth metric of its task, and through the loss."""
    task, metric, shots = sharp.key
    found: list[Forecast | None] = []
    for key in every.combinations():
        if key[0] == task and key[2] == shots and key[1] != metric and metric_named(key[1]).smooth:
            smooth_rows = every.of(key)
            found.append(through(rows, sharp, smooth_rows, key[1]))
            if key[1] == "token_accuracy" and metric == "exact_match":
                found.append(through_length(rows, sharp, smooth_rows))
    if sharp.against != "loss" and np.isfinite(rows.loss).all():
        nothing = np.full(len(rows), np.nan)
        losses = replace(rows, score=rows.loss, n=nothing, chance=nothing)
        found.append(through(rows, sharp, losses, "loss"))
    return tuple(f for f in found if f is not None)


def paired(rows: Scores, others: Scores) -> Scores | None:
    """The rows of another metric in the order of these, by scale and seed; None where they do not match."""

    def names(table: Scores) -> list[tuple[object, ...]]:
        seen: dict[tuple[object, ...], int] = {}
        found: list[tuple[object, ...]] = []
        for i in range(len(table)):
            columns = (table.params, table.flops, table.loss, table.step)
            name = (*(None if np.isnan(c[i]) else float(c[i]) for c in columns), int(table.seed[i]))
            seen[name] = seen.get(name, -1) + 1
            found.append((*name, seen[name]))
        return found

    place = {name: i for i, name in enumerate(names(others))}
    order = [place.get(name) for name in names(rows)]
    return None if None in order else others.subset([i for i in order if i is not None])


def _smooth_series(rows: Scores, sharp: Series, others: Scores, name: str) -> Series | None:
    if len(sharp) - forecast_mask(sharp).sum() < LEAST:
        return None
    same = paired(rows, others)
    key = (sharp.key[0], name, sharp.key[2])
    return None if same is None else one_series(same, key, sharp.against, sharp.size)


def _forecast(series: Series, via: str, held: NDArray[np.int64], seen: Floats, score: Floats) -> Forecast:
    low, high = np.sort(np.quantile(seen, [0.025, 0.975]))
    measured = float(series.score[held].mean())
    predicted = float(np.median(score))
    return Forecast(
        via=via,
        scale=float(series.scale[held[0]]),
        predicted=predicted,
        interval=(float(low), float(high)),
        measured=measured,
        error=predicted - measured,
        inside=bool(low <= measured <= high),
    )
