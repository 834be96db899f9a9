"""How large a break is: the part of the score's rise that it makes.

Scores are compared on a scale on which equal steps are equally hard to reach: log odds for scores between 0
and 1, at the resolution of the test (half an item is added to the right and to the wrong answers, so that
scores too low to be measured count as equal), and the fitted value itself for other scores.

A curve with a break has two branches, and each can be continued past the break. The size of the break is the
largest distance between the branches where the first is continued, or where the second is, whichever is
smaller, as a share of the rise of the smooth curve. A jump has the size of the jump. A corner has the change
of slope times the distance to the nearer end of the data. A corner below what the test resolves has size 0.
"""

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.curve_shapes import JUMP, LEVEL, SLOPE, TURN, predict
from scaling.laws.emergence.series import Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MATERIAL = 1 / 3  # of the rise; a slope that doubles in the middle of the data is a break of a third
ITEMS = 200.0  # assumed for a share whose number of items is unknown
AT = np.linspace(-1.0, 1.0, 65)


def resolved(series: Series, y: Floats) -> Floats:
    """y in log odds at the resolution of the test; unbounded scores are left as they are."""
    if not series.bounded:
        return y
    counted = series.trials > 0
    items = float(series.trials[counted].mean()) if counted.any() else ITEMS
    y = np.clip(y, 0.0, 1.0)
    odds: Floats = np.log((y * items + 0.5) / ((1 - y) * items + 0.5))
    return odds


def rise(series: Series, theta: Floats, link: int) -> float:
    """The range of one smooth curve (P,) over the data."""
    none = np.zeros(1)
    y = resolved(series, predict(theta[None], AT, none, none, np.array([link]))[0])
    return float(np.ptp(y))


def break_sizes(series: Series, theta: Floats, place: Floats, link: Ints, total: float) -> Floats:
    """(S,) sizes of the breaks of curves theta (S, P) at their places (S,), as shares of the rise `total`."""
    zero = np.zeros(len(theta))
    left, right = theta.copy(), theta.copy()
    right[:, LEVEL] += theta[:, JUMP] - theta[:, TURN] * place
    right[:, SLOPE] += theta[:, TURN]
    for branch in (left, right):
        branch[:, [TURN, JUMP]] = 0.0
    branches = [resolved(series, predict(branch, AT, zero, zero, link)) for branch in (left, right)]
    apart = np.abs(branches[1] - branches[0])
    past = place[:, None] < AT
    forward, backward = np.where(past, apart, 0.0).max(axis=1), np.where(past, 0.0, apart).max(axis=1)
    size: Floats = np.minimum(forward, backward) / max(total, 1e-12)
    return size
