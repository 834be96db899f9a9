"""Which points to hold out: the largest compute, run by run, so that the test is an extrapolation."""

import numpy as np
from numpy.typing import NDArray

from scaling.laws.frontier.isoflop import isoflop_groups
from scaling.laws.points import Points
from scaling.runtime.errors import BadInputError

SAME = 1e-9  # compute that agrees to this relative difference is the same budget


def holdout_mask(points: Points, fraction: float = 0.2) -> NDArray[np.bool_]:
    """(n,) True for the runs of the largest compute: at most `fraction` of the points, at least one budget.

    A run is never split, since the points of one trunk share their noise, and runs whose largest compute is
    equal go together, so that an isoFLOP budget is held out whole or not at all.

    Raises:
        BadInputError: the fraction is not between 0 and 1, or one budget is all there is.
    """
    if not 0 < fraction < 1:
        raise BadInputError(f"holdout={fraction:g} is not accepted; give a fraction between 0 and 1, or none")
    flops = points.flops.copy()
    for budget, members in isoflop_groups(points):
        flops[members] = budget  # of one budget, whatever its points' rounding or counting makes of it
    return _largest(points, flops, "compute budget", at_most=fraction * len(points))


def holdout_groups(points: Points, count: int = 1) -> NDArray[np.bool_]:
    """(n,) True for every run of the `count` largest model sizes.

    Raises:
        BadInputError: `count` is below 1, or no size would be left.
    """
    if count < 1:
        raise BadInputError(f"holdout={count} is not accepted; give at least 1 model size")
    return _largest(points, points.params, "model size", levels=count)


def _largest(
    points: Points,
    measure: NDArray[np.float64],
    word: str,
    at_most: float | None = None,
    levels: int = 1,
) -> NDArray[np.bool_]:
    run = points.group_index()
    top = np.full(run.max() + 1, -np.inf)
    np.maximum.at(top, run, measure)
    top_of_point = top[run]
    held = np.zeros(len(points), bool)
    taken = 0
    while not held.all():
        rest = top_of_point[~held].max()
        more = held | (top_of_point >= rest * (1 - SAME))
        enough = taken >= levels if at_most is None else taken >= 1 and more.sum() > at_most
        if enough:
            return held
        held, taken = more, taken + 1
    raise BadInputError(
        f"holdout: {points.source} has {taken} {word}(s), nothing would be left to fit; "
        "give more runs, or no hold-out"
    )
