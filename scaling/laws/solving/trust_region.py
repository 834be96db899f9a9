"""Steps of a trust-region Newton method for a batch of small dense problems."""

from typing import Any

import jax
import jax.numpy as jnp


def newton_steps(g: Any, H: Any, radius: Any) -> Any:
    """(S, P) steps of length at most `radius` (S,) that lower the model g.s + s.H.s / 2.

    The step is -(H + damping I)^-1 g with the least damping that makes it short and the matrix positive: on
    the way down it is the exact trust-region step (Conn, Gould and Toint 2000, chapter 7). The matrices are
    factored entry by entry, each entry a vector over the problems: LAPACK takes them one at a time.
    """
    slope, rows = g.T, jnp.moveaxis(H, 0, -1)  # problems last
    norm = jnp.sqrt((rows * rows).sum(axis=(0, 1)))
    high = jnp.sqrt((slope * slope).sum(axis=0)) / radius + norm + 1e-300  # always positive and short enough
    # The first try is as good as undamped; where that is short, the others find nothing to add.
    least = 1e-14 * norm + 1e-300

    def halve(_: int, ends: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        low, high, middle, best = ends
        step, positive = _damped(rows, slope, middle)
        short = positive & ((step * step).sum(axis=0) <= radius * radius)
        best = jnp.where(short, step, best)
        low, high = jnp.where(short, low, middle), jnp.where(short, middle, high)
        return low, high, jnp.maximum(jnp.sqrt(low * high), least), best

    ends = (jnp.zeros_like(radius), high, least, -slope / high)
    return jax.lax.fori_loop(0, 14, halve, ends)[3].T


def _damped(rows_PPS: Any, slope_PS: Any, damping: Any) -> tuple[Any, Any]:
    """(P, S) -(H + damping I)^-1 g by elimination, and whether the matrix is positive definite."""
    P = len(slope_PS)
    left = rows_PPS + damping * jnp.eye(P)[:, :, None]
    right = -slope_PS
    pivots, above, reduced = [], [], []
    for _ in range(P):
        pivot, row = left[0, 0], left[0, 1:] / left[0, 0]
        pivots.append(pivot)
        above.append(row)
        reduced.append(right[0] / pivot)
        right = right[1:] - left[0, 1:] * reduced[-1]
        left = left[1:, 1:] - left[1:, :1] * row[None]
    step: list[Any] = []
    for row, value in zip(reversed(above), reversed(reduced), strict=True):
        step.insert(0, value - sum(row[k] * step[k] for k in range(len(step))))
    return jnp.stack(step), (jnp.stack(pivots) > 0).all(axis=0)
