"""Which points of a sweep share one compute budget: the isoFLOP groups, found as a sweep makes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats
from scaling.laws.points import Points
from scaling.runtime.errors import BadInputError

SPREAD = np.log(1.5)  # of compute inside one budget, however it was counted
APART = 2.0  # the next budget is at least this many times the largest gap inside a budget away
SAME = 1e-3  # relative difference of sizes, tokens or their ratio that are meant to be equal


def isoflop_groups(
    points: Points, budgets: Sequence[float] | None = None, tolerance: float = 0.05
) -> list[tuple[float, NDArray[np.int64]]]:
    """(budget in FLOPs, indices of its points) by compute; the budget is the geometric mean of its points.

    With `budgets`, a point belongs to the nearest one, or to none beyond `tolerance`. Without them, a group
    is points whose compute is close, and far from that of all others (see `_clusters`). A grid of sizes and
    token budgets, or of sizes and tokens per parameter, has points of equal compute by accident; these are no
    group. A point in no group is a group of its own.

    Raises:
        BadInputError: a tolerance outside (0, 1), or a budget that is not positive.
    """
    if not 0 < tolerance < 1:
        raise BadInputError(f"tolerance={tolerance:g} is not accepted; give a number between 0 and 1")
    log_flops, reach = np.log(points.flops), np.log1p(tolerance)
    if budgets is not None:
        given = np.unique(np.asarray(budgets, float))
        if not (len(given) and np.isfinite(given).all() and (given > 0).all()):
            raise BadInputError(f"budgets={list(budgets)} is not accepted; give positive numbers of FLOPs")
        distance = np.abs(log_flops[:, None] - np.log(given))
        nearest = np.where(distance.min(axis=1) <= reach, distance.argmin(axis=1), -1)
        return [(float(b), np.flatnonzero(nearest == i)) for i, b in enumerate(given)]
    log_n, log_d = np.log(points.params), np.log(points.tokens)
    sizes = _levels(log_n, SAME)
    shared = [_sizes_at(_levels(column, SAME), sizes) for column in (log_d, log_d - log_n)]
    clusters = _clusters(log_flops, log_n, reach)
    groups = []
    for members in clusters:
        if _designed(members, sizes, shared, len(clusters)):
            # Summed in order of size, so that the last digit does not depend on the order of rows.
            groups.append((float(np.exp(np.sort(log_flops[members]).mean())), np.sort(members)))
        else:
            groups += [(float(points.flops[i]), np.array([i])) for i in members]
    return sorted(groups, key=lambda group: (group[0], group[1].tolist()))


def _clusters(log_flops: Floats, log_n: Floats, reach: float) -> list[NDArray[np.int64]]:
    """Points whose compute is linked by gaps of at most `reach`, and apart from all others.

    If compute is counted or rounded, C drifts with N inside a budget, and a budget of few sizes splits at a
    gap: neighbours whose sizes do not overlap are joined again while that leaves the groups farther apart
    than it spreads them. A cluster that spreads too far, or is no farther from the next one than its own
    points are from each other, is no budget: its points are returned one by one.
    """
    order = np.lexsort((log_n, log_flops))
    pieces = np.split(order, np.flatnonzero(np.diff(log_flops[order]) > reach) + 1)

    def gaps() -> tuple[Floats, Floats]:
        """Least and most compute of each piece, and the gaps before, between and after the pieces."""
        ends = np.array([[log_flops[piece[0]], log_flops[piece[-1]]] for piece in pieces])
        between = ends[1:, 0] - ends[:-1, 1]
        return ends, np.concatenate([[np.inf], between, [np.inf]])

    while len(pieces) > 1:
        ends, gap = gaps()
        small = np.array([log_n[piece].min() for piece in pieces])
        large = np.array([log_n[piece].max() for piece in pieces])
        apart = (large[:-1] < small[1:]) | (large[1:] < small[:-1])
        near = ends[1:, 1] - ends[:-1, 0] <= SPREAD
        joins = apart & near & (gap[1:-1] <= np.minimum(gap[:-2], gap[2:]) / APART)
        if not joins.any():
            break
        joined: list[NDArray[np.int64]] = []
        for i, piece in enumerate(pieces):
            if i and joins[i - 1]:  # never two in a row: each gap is smaller than its neighbours
                joined[-1] = np.concatenate([joined[-1], piece])
            else:
                joined.append(piece)
        pieces = joined
    ends, gap = gaps()
    out: list[NDArray[np.int64]] = []
    for i, piece in enumerate(pieces):
        inner = np.diff(log_flops[piece]).max(initial=0.0)
        near = ends[i, 1] - ends[i, 0] <= SPREAD
        out += [piece] if near and gap[i : i + 2].min() >= APART * inner else [np.array([j]) for j in piece]
    return out


def _levels(column: Floats, within: float) -> NDArray[np.int64]:
    """(n,) number of each value's level; values linked by steps of at most `within` share one."""
    order = np.argsort(column, kind="stable")
    level = np.empty(len(column), np.int64)
    level[order] = np.concatenate([[0], np.cumsum(np.diff(column[order]) > within)])
    return level


def _sizes_at(levels: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """(n,) how many different sizes share each point's level, and the number of levels."""
    pairs = np.unique(np.stack([levels, sizes]), axis=1)
    return np.bincount(pairs[0])[levels], int(levels.max()) + 1


def _designed(
    members: NDArray[np.int64],
    sizes: NDArray[np.int64],
    shared: Sequence[tuple[NDArray[np.int64], int]],
    budgets: int,
) -> bool:
    """Whether the design of the sweep is that these sizes share compute, not tokens or tokens per parameter.

    For each of the latter two, `shared` has how many sizes share each point's value, and the number of
    values. A regular grid of sizes and compute shares tokens too, and the reverse: then the design is the
    quantity with fewer values.
    """
    here = len(np.unique(sizes[members]))
    if here < 2:
        return True
    for counts, levels in shared:
        there = counts[members].mean()
        if there > here or (there == here and levels < budgets):
            return False
    return True
