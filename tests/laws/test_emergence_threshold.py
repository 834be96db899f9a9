"""Intervals of thresholds hold the truth as often as they say."""

import numpy as np
import pytest

from scaling.laws.emergence.fits import fit_masks
from scaling.laws.emergence.series import series_of
from scaling.laws.emergence.threshold import changepoint, half_rises
from tests.laws.emergent import SMALLEST, drawn, logistic

DRAWS = 100


def covered(curve, shape, place, kind, **design):
    scores = drawn({"t": curve}, repeats=DRAWS, seed=5, **design)
    every = series_of(scores, "flops")
    fits = fit_masks([(series, np.ones(len(series), bool)) for series in every])
    index = [shape_.name for shape_ in fits[0].shapes].index(shape)
    found = (
        half_rises(fits, [index] * len(fits))
        if kind == "half rise"
        else [changepoint(fit, index) for fit in fits]
    )
    truth = SMALLEST * 10**place
    ends = [(t.interval[0] or 0, t.interval[1] or np.inf) for t in found]
    assert all(low <= t.value <= high for (low, high), t in zip(ends, found, strict=True))
    return np.mean([low <= truth <= high for low, high in ends])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("curve", "shape", "place", "kind", "design"),
    [
        (lambda x: logistic(2.5 * (x - 2.5)), "sigmoid", 2.5, "half rise", {"sizes": 12, "items": 200}),
        pytest.param(
            lambda x: np.exp(-np.log(2) * 10 ** (-0.5 * (x - 2.5))),
            "power law",
            2.5,
            "half rise",
            {"sizes": 8, "items": 1000, "seeds": 2, "scatter": 0.2},
            marks=pytest.mark.slow,
        ),
        (
            lambda x: logistic(-4 + 3 * max(0, x - 2.2)),
            "flat, then a sigmoid",
            2.2,
            "changepoint",
            {"sizes": 12, "items": 200},
        ),
    ],
    ids=["sigmoid", "power law with scatter", "kink"],
)
def test_intervals_of_95_percent_cover_90_to_99(curve, shape, place, kind, design):
    assert 0.90 <= covered(curve, shape, place, kind, **design) <= 0.995
