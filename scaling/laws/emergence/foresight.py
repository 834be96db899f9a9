"""Predictions of larger models from smaller ones, and whether a rise was foreseen.

A prediction is a mixture of all shapes by Akaike weights, including what each fit leaves uncertain. Its
interval is that of the score to be measured, with the noise of test items and of the run. It goes through the
metric itself, or through a smoother metric of the same answers.

A steep sigmoid is a smooth curve, and yet nobody who has only its lower end can predict its rise. So the form
of the curve through all sizes is one question, and what the sizes below its threshold predicted is another.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence import explain
from scaling.laws.emergence.curve_shapes import Family
from scaling.laws.emergence.document import Foresight, HeldOutForecast
from scaling.laws.emergence.fits import CandidateFits, fit_masks
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.score_table import ScoreTable
from scaling.laws.emergence.series import Series, one_series, over_metric

Floats = NDArray[np.float64]

DRAWS = 4000
FAMILIES: tuple[Family, ...] = ("flat", "smooth", "broken")
LEAST_POINTS = 4  # for a forecast
LEAST_SIZES = 3  # below the threshold, and one more where the noise is not that of items
NO_RISE = 0.05  # of a bounded score: less is not an ability
SUDDEN = 0.5  # of the rise between two neighbouring sizes: it has no beginning to learn from
TOLERATED = 0.25  # of the rise: the largest error of a prediction that foresaw it
REQUIRED = 0.25  # of the rise, which the lower end of the last prediction must reach

# -- forecasts of the largest scale ----------------------------------------------------------------------


def forecast_mask(series: Series) -> NDArray[np.bool_]:
    """(n,) true for the points of the largest scale."""
    largest: NDArray[np.bool_] = np.abs(series.x - series.levels[-1]) < 1e-6
    return largest


def forecast(small: CandidateFits) -> tuple[HeldOutForecast, ...]:
    """The score at the largest scale from a fit without it; empty if there are too few points."""
    if small.n < LEAST_POINTS:
        return ()
    found = forecast_of(small, np.flatnonzero(forecast_mask(small.series)))
    return () if found is None else (found,)


def forecast_of(small: CandidateFits, held: NDArray[np.int64], few: bool = False) -> HeldOutForecast | None:
    """The mean score of the points of one scale from a fit without them; see `weights` for `few`."""
    series = small.series
    drawn = draw(small, float(series.x[held[0]]), np.random.default_rng(0), few)
    if drawn is None:
        return None
    y = noisy(series, drawn[0], drawn[1], float(series.trials[held].mean()), len(held))
    return _forecast(series, series.key[1], held, series.score_of(y), series.score_of(drawn[0]))


def draw(
    fit: CandidateFits, x: float | Floats, random: np.random.Generator, few: bool = False
) -> tuple[Floats, Floats] | None:
    """(DRAWS,) y and dispersion, drawn from the mixture of shapes at x; None if no shape can be weighted."""
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
    """y as it would be measured, as the mean of a number of rows."""
    random = np.random.default_rng(1)
    if trials <= 0:
        out = y + np.sqrt(phi / rows) * random.standard_normal(len(y))
        return np.clip(out, series.least, series.most)
    # Binomial counts with the effective number of items: a normal has no good tail near 0 and 1.
    effective = np.maximum(np.round(rows * trials / phi), 1).astype(np.int64)
    shares: Floats = random.binomial(effective, np.clip(y, 0.0, 1.0)) / effective
    return shares


def through(rows: ScoreTable, sharp: Series, smooth_rows: ScoreTable, name: str) -> HeldOutForecast | None:
    """The sharp score at the largest scale, through a smooth metric of the same runs.

    The smooth metric is forecast over scale, and the sharp one read off its own curve over the smooth metric,
    both from the smaller models. None if the runs are not the same or too few.
    """
    held = forecast_mask(sharp)
    found = _smooth_series(rows, sharp, smooth_rows, name)
    link = None if found is None else over_metric(sharp, found)
    if found is None or link is None or len(np.unique(link.x[~held])) < LEAST_POINTS:
        return None
    first, second = fit_masks([(found, ~held), (link, ~held)])
    random = np.random.default_rng(0)
    drawn = draw(first, float(found.x[held][0]), random)
    if drawn is None:
        return None
    # The draws of a mixture are ordered by shape; the second mixture must not see them in that order.
    answer = draw(second, link.place(random.permutation(drawn[0])), random)
    if answer is None:
        return None
    y = noisy(sharp, answer[0], answer[1], float(sharp.trials[held].mean()), int(held.sum()))
    return _forecast(sharp, name, np.flatnonzero(held), sharp.score_of(y), sharp.score_of(answer[0]))


def through_length(rows: ScoreTable, sharp: Series, tokens: ScoreTable) -> HeldOutForecast | None:
    """The forecast of token accuracy to the power of the answer's length (Schaeffer et al. 2023)."""
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


def forecasts_through_smooth_metrics(
    rows: ScoreTable, sharp: Series, every: ScoreTable
) -> tuple[HeldOutForecast, ...]:
    """The forecasts of a sharp series through each smooth metric of its task, and through the loss."""
    task, metric, shots = sharp.key
    found: list[HeldOutForecast | None] = []
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


def paired(rows: ScoreTable, others: ScoreTable) -> ScoreTable | None:
    """The rows of another metric in the order of these, by scale and seed; None if they do not match."""

    def names(table: ScoreTable) -> list[tuple[object, ...]]:
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


def _smooth_series(rows: ScoreTable, sharp: Series, others: ScoreTable, name: str) -> Series | None:
    if len(sharp) - forecast_mask(sharp).sum() < LEAST_POINTS:
        return None
    same = paired(rows, others)
    key = (sharp.key[0], name, sharp.key[2])
    return None if same is None else one_series(same, key, sharp.against, sharp.size)


def _forecast(
    series: Series, via: str, held: NDArray[np.int64], seen: Floats, score: Floats
) -> HeldOutForecast:
    low, high = np.sort(np.quantile(seen, [0.025, 0.975]))
    measured = float(series.score[held].mean())
    predicted = float(np.median(score))
    return HeldOutForecast(
        via=via,
        scale=float(series.scale[held[0]]),
        predicted=predicted,
        interval=(float(low), float(high)),
        measured=measured,
        error=predicted - measured,
        inside=bool(low <= measured <= high),
    )


# -- foresight -------------------------------------------------------------------------------------------


def below_threshold(series: Series) -> NDArray[np.bool_]:
    """(n,) true for the points to predict from: the sizes before the first whose mean score is half way up.

    If too few are below it because the score rises from the start, the smallest sizes are used instead. All
    false if the score does not rise.
    """
    levels, mean = _means(series)
    nothing = np.zeros(len(series), bool)
    rise = mean.max() - mean[0]
    if rise <= 0 or (series.bounded and rise < NO_RISE):
        return nothing
    past = int(np.flatnonzero(mean - mean[0] >= rise / 2)[0])
    least = _least(series)
    if past < least and mean[past] - mean[past - 1] < SUDDEN * rise:
        past = min(least, len(levels) - 1)
    below: NDArray[np.bool_] = series.x < levels[past] - 1e-6
    return below


def enough(series: Series, below: NDArray[np.bool_]) -> bool:
    """Whether there are enough sizes below the threshold to predict from."""
    return len(np.unique(np.round(series.x[below], 9))) >= _least(series)


def _least(series: Series) -> int:
    return LEAST_SIZES + (0 if (series.trials > 0).any() else 1)


def foresight(series: Series, below: NDArray[np.bool_], small: CandidateFits | None) -> Foresight:
    """How the sizes from the threshold on compare with the predictions of `small`, a fit to those below."""
    sizes = len(np.unique(np.round(series.x[below], 9)))
    threshold = float(series.scale_of(series.x[~below].min())) if below.any() else None
    if small is None or threshold is None:
        why = explain.foresight(sizes, threshold, None)
        return Foresight(
            threshold=threshold, below=sizes, forecasts=(), max_abs_error=None, foreseen=None, why=why
        )
    levels, mean = _means(series)
    rise = mean.max() - mean[0]
    past = levels[levels >= series.x[~below].min() - 1e-6]
    above = [np.flatnonzero(np.abs(series.x - x) < 1e-6) for x in past]
    forecasts = tuple(f for f in (forecast_of(small, held, few=True) for held in above) if f is not None)
    errors = [abs(float(np.diff(series.y_of(np.array([f.predicted, f.measured])))[0])) for f in forecasts]
    worst = int(np.argmax(errors))
    rises = float(series.y_of(np.array(forecasts[-1].interval)).min()) >= mean[0] + REQUIRED * rise
    foreseen = False if errors[worst] > TOLERATED * rise else True if rises else None
    return Foresight(
        threshold=threshold,
        below=sizes,
        forecasts=forecasts,
        max_abs_error=abs(forecasts[worst].error),
        foreseen=foreseen,
        why=explain.foresight(sizes, threshold, forecasts[worst if foreseen is False else -1]),
    )


def _means(series: Series) -> tuple[Floats, Floats]:
    levels = series.levels
    return levels, np.array([series.y[np.abs(series.x - x) < 1e-6].mean() for x in levels])
