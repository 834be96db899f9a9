"""Which points a law of an envelope describes: the lowest loss of each level, or the lower convex hull."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def lowest_of_each(log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
    """(n,) True for the point of lowest loss at each value of the variables (n, V)."""
    _, level = np.unique(np.round(log_variables, 9), axis=0, return_inverse=True)
    level = level.reshape(-1)
    order = np.lexsort((log_loss, level))
    mask = np.zeros(len(log_loss), bool)
    mask[order[np.diff(level[order], prepend=-1) > 0]] = True
    return mask


def lower_envelope(log_flops: Floats, log_loss: Floats) -> NDArray[np.bool_]:
    """(n,) True for the points of the lower convex hull in log-log, from the least compute to the least loss.

    Loss on the compute-optimal frontier is convex in log-log wherever it is a power law over a floor, so a
    point above the hull cannot be on the frontier. Of points at one compute only the lowest counts.
    """
    order = np.lexsort((log_loss, log_flops))
    hull: list[int] = []
    for i in order:
        if hull and (log_flops[i] == log_flops[hull[-1]] or log_loss[i] >= log_loss[hull[-1]]):
            # Same compute, or more of it for no less loss: past the least loss the hull only rises.
            continue
        while len(hull) >= 2:
            o, m = hull[-2], hull[-1]
            # The middle point stays only where the slope grows towards zero; on a straight line, up to
            # rounding, all points are on the hull.
            left = (log_loss[m] - log_loss[o]) * (log_flops[i] - log_flops[o])
            right = (log_loss[i] - log_loss[o]) * (log_flops[m] - log_flops[o])
            if left <= right + 1e-9 * abs(right):
                break
            hull.pop()
        hull.append(int(i))
    mask = np.zeros(len(log_loss), bool)
    mask[hull] = True
    return mask
