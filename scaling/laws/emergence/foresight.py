"""Was it foreseen? The models below the threshold predict those above it.

A steep sigmoid is a smooth curve, and yet nobody who has only its lower end sees it coming. So the form of a
curve that was fitted to every size is one question, and what its lower end predicted is another.
"""

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.document import Foresight
from scaling.laws.emergence.fits import Fit
from scaling.laws.emergence.forecast import forecast_of
from scaling.laws.emergence.series import Series

Floats = NDArray[np.float64]

LEAST = 3  # sizes that a prediction is made from, and one more where the noise is not that of items
NO_RISE = 0.05  # of a bounded score: less is no rise that anyone would call an ability
SUDDEN = 0.5  # of the rise between two neighbouring sizes: it has no beginning to learn from
TOLERATED = 0.25  # of the rise: the largest error of a prediction that foresaw it
CALLED_FOR = 0.25  # of the rise, that the lower end of the last prediction must reach


def below_threshold(series: Series) -> NDArray[np.bool_]:
    """(n,) points to predict from: the sizes before the first whose mean score is half way up.

    Where too few are below it because the score rises from the start, the smallest sizes are taken instead.
    None where nothing rises.
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
    """Whether there are sizes enough below the threshold to predict from."""
    return len(np.unique(np.round(series.x[below], 9))) >= _least(series)


def _least(series: Series) -> int:
    return LEAST + (0 if (series.trials > 0).any() else 1)


def foresight(series: Series, below: NDArray[np.bool_], small: Fit | None) -> Foresight:
    """How the sizes from the threshold on compare with what `small`, a fit to those below, predicts."""
    sizes = len(np.unique(np.round(series.x[below], 9)))
    threshold = float(series.scale_of(series.x[~below].min())) if below.any() else None
    if small is None or threshold is None:
        few = f"only {_counted(sizes)} below the threshold"
        why = "the score does not rise" if threshold is None else few
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
    called = float(series.y_of(np.array(forecasts[-1].interval)).min()) >= mean[0] + CALLED_FOR * rise
    foreseen = False if errors[worst] > TOLERATED * rise else True if called else None
    shown = forecasts[worst] if foreseen is False else forecasts[-1]
    return Foresight(
        threshold=threshold,
        below=sizes,
        forecasts=forecasts,
        max_abs_error=abs(forecasts[worst].error),
        foreseen=foreseen,
        why=(
            f"from the {_counted(sizes)} below it, {shown.predicted:.3g} [{shown.interval[0]:.3g}, "
            f"{shown.interval[1]:.3g}] was predicted at {shown.scale:.3g}; measured {shown.measured:.3g}"
        ),
    )


def _means(series: Series) -> tuple[Floats, Floats]:
    levels = series.levels
    return levels, np.array([series.y[np.abs(series.x - x) < 1e-6].mean() for x in levels])


def _counted(sizes: int) -> str:
    return f"{sizes} size{'' if sizes == 1 else 's'}"
