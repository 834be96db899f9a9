"""The lower envelope of loss against compute."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
