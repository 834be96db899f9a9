"""Many small Huber regressions at once, by a batched trust-region Newton method in float64.

Fitting a law means solving the same five-parameter problem thousands of times, from other starts and on
other resamples of the runs. The searches go through a fixed number of slots in one compiled loop: a slot
whose search has ended takes the next one, so that a slow search delays no other.

With delta = 1e-3 the Huber loss is nearly the absolute value: Newton's model is good only close to the
solution. Each problem therefore begins with a wide quadratic zone and shrinks it step by step, each solution
being the start of the next (homotopy in delta).
"""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats, Form
from scaling.laws.forms.quantities import Quantities, logged_quantities, scaled
from scaling.laws.solving.huber import (
    Pins,
    Residual,
    objective_from_form,
    objective_from_terms,
    pin_derivatives,
)
from scaling.laws.solving.problem import Problem, pad

SLOTS = 64  # wide enough to fill vector units; a slot row of 240 points and its terms stay in cache
TOLERANCE = 1e-10  # of the largest projected gradient entry over delta * sum(weights)
STAGE_TOLERANCE = 1e-3  # the same, before delta has reached its final value
STAGE_ITERATIONS = 100
MAX_ITERATIONS = 300
SHRINK = 0.5
WORKERS = min(8, os.cpu_count() or 1)
STAGE_RADIUS = 0.1  # the next solution is near: theta is of order one
# XLA's newer emitters of fused loops take twice as long to compile these, which then run no faster.
COMPILER_OPTIONS: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}

# Programs of this process by law, residual and number of points: compiled once for all threads.
_COMPILED: dict[tuple[Any, ...], Any] = {}


class Solutions(NamedTuple):
    """The ends of S searches over P parameters."""

    theta: Floats  # (S, P)
    value: Floats  # (S,): sum of weighted Huber losses
    gradient: Floats  # (S,): Euclidean norm of the gradient projected on the bounds
    iterations: NDArray[np.int64]  # (S,)


class _Searches(NamedTuple):
    """What distinguishes S searches, a row of numbers each."""

    starts: Any  # (S, P)
    first_delta: Any  # (S,)
    row: Any  # (S,) of the weights
    scale: Any  # (S,) sum of the weights
    pins: Pins

    def packed(self) -> Floats:
        """(S, P + 7)"""
        columns = (self.first_delta, self.row, self.scale, *self.pins)
        return np.concatenate([self.starts, np.stack(columns, axis=1)], axis=1)

    @staticmethod
    def unpacked(table: Any) -> "_Searches":
        """The inverse of `packed`."""
        P = table.shape[1] - 7
        first_delta, row, scale, which, held, pull, weight = (table[:, P + i] for i in range(7))
        return _Searches(
            table[:, :P], first_delta, row.astype(int), scale, Pins(which.astype(int), held, pull, weight)
        )


@contextlib.contextmanager
def float64_on_host() -> Iterator[None]:
    """Float64 arithmetic on the CPU for what runs inside, whatever the process uses for training.

    A TPU has no float64, and a GPU is slower on problems this small.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(True))
        # JAX_PLATFORMS may leave the CPU out; then the default device has to do.
        with contextlib.suppress(RuntimeError):
            stack.enter_context(jax.default_device(jax.local_devices(backend="cpu")[0]))
        yield


def solve(
    problem: Problem,
    weights: Floats,
    rows: NDArray[np.int64],
    starts: Floats,
    first_delta: Floats,
    pins: Pins | None = None,
    asked: Quantities | None = None,
) -> Solutions:
    """Minimise sum_i weights[row, i] * Huber_delta(residual_i) for S searches of one problem.

    Args:
        problem: the form, the points and the objective; its own weights are not read.
        weights: (R, n), the rows that searches choose from: a bootstrap resample is a row of counts.
        rows: (S,) which row each search uses.
        starts: (S, P), clipped to the bounds.
        first_delta: (S,) where the homotopy begins; the final delta for a direct descent.
        pins: terms that hold a quantity of `asked`; their value is part of the objective's.
        asked: the quantities that pins hold.
    """
    law, S = problem.form, len(starts)
    lower, upper = (np.asarray(side, np.float64) for side in zip(*law.bounds, strict=True))
    capacity = 4096 if problem.padded_points <= 512 else 1024  # searches of one call, and so rows of weights
    if pins is None:
        pins = Pins(np.zeros(S, int), *np.zeros((3, S)))
    searches = _Searches(
        np.clip(starts, lower, upper),
        np.maximum(first_delta, problem.delta),
        np.zeros(S, int),
        weights.sum(axis=1)[rows] + pins.weight,
        pins,
    ).packed()
    shared = (
        *problem.padded,
        lower,
        upper,
        np.zeros(len(law.variables)) if asked is None else np.array(asked.reference),
        np.float64(0.0 if asked is None else np.log(asked.flops)),
        np.float64(problem.delta),
    )
    parts = np.array_split(np.arange(S), max(WORKERS if S >= 4 * SLOTS else 1, -(-S // capacity)))
    arguments = []
    for part in parts:
        used, row = np.unique(rows[part], return_inverse=True)
        table = searches[part]
        table[:, len(lower) + 1] = row
        weights_Rn = problem.padded_weights(weights[used], capacity)
        arguments.append((*shared, weights_Rn, np.int64(len(part)), pad(table, capacity)))
    key = (law.program, problem.residual, problem.padded_points)
    if key not in _COMPILED:
        with float64_on_host():
            lowered = _solve.lower(
                law.program, logged_quantities(law.program), problem.residual, *arguments[0]
            )
            try:
                _COMPILED[key] = lowered.compile(COMPILER_OPTIONS)
            except jax.errors.JaxRuntimeError:  # a version of XLA without the option
                _COMPILED[key] = lowered.compile()

    def run(chosen: Any) -> Floats:
        with float64_on_host():
            return np.asarray(_COMPILED[key](*chosen))

    # A loop on the CPU keeps one core busy, and releases the interpreter while it runs.
    with ThreadPoolExecutor(WORKERS) as pool:
        outs = pool.map(run, arguments)
        out = np.concatenate([one[: len(part)] for one, part in zip(outs, parts, strict=True)])
    P = len(lower)
    return Solutions(out[:, :P], out[:, P], out[:, P + 1], out[:, P + 2].astype(np.int64))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _solve(
    law: Form,
    logged: tuple[bool, ...],
    residual: Residual,
    data: Any,
    log_loss: Any,
    lower: Any,
    upper: Any,
    reference: Any,
    log_flops: Any,
    delta: Any,
    weights: Any,
    searches: Any,
    table: Any,
) -> Any:
    """(S, P + 3) theta, value, gradient norm and iterations; `data` is x, or the terms of a law of terms."""
    of_points = (
        objective_from_form(law, data, log_loss, residual)
        if data.ndim == 2
        else objective_from_terms(data, log_loss, residual)
    )
    of_pins = pin_derivatives(lambda theta: scaled(law, logged, theta, reference, log_flops, jnp))
    pinned = (_Searches.unpacked(table).pins.weight > 0).any()
    S, P = table.shape[0], lower.shape[0]  # S with padding: slots at or beyond `searches` are idle
    slots = SLOTS
    before = np.tri(slots, k=-1, dtype=bool)

    def is_held(theta: Any, g: Any) -> Any:
        return (lower >= upper) | ((theta <= lower) & (g > 0)) | ((theta >= upper) & (g < 0))

    def project(theta: Any, g: Any) -> Any:
        return jnp.where(is_held(theta, g), 0.0, g)

    def load(index: Any) -> Any:
        return table.at[jnp.minimum(index, S - 1)].get(mode="promise_in_bounds")

    def body(carry: Any) -> Any:
        slot, out, following = carry
        theta, width, index = slot["theta"], slot["delta"], slot["index"]
        mine = _Searches.unpacked(slot["search"])
        g = project(theta, slot["g"])
        held = is_held(theta, slot["g"])
        loose = ~(held[:, :, None] | held[:, None, :])
        H = jnp.where(loose, slot["H"], 0.0) + jnp.eye(P) * held[:, :, None]
        step = jnp.where(slot["fresh"][:, None], 0.0, newton_steps(g, H, slot["radius"]))
        trial = jnp.clip(theta + step, lower, upper)
        step = trial - theta
        new = of_points(trial, weights.at[mine.row].get(mode="promise_in_bounds"), width)
        f_new, g_new, H_new = jax.lax.cond(
            pinned,
            lambda free: tuple(a + b for a, b in zip(free, of_pins(trial, width, *mine.pins), strict=True)),
            lambda free: free,
            new,
        )

        promised = -(step * slot["g"]).sum(1) - 0.5 * (step[:, :, None] * slot["H"] * step[:, None]).sum(
            (1, 2)
        )
        ratio = (slot["f"] - f_new) / jnp.maximum(promised, 1e-300)
        better = (f_new < slot["f"]) & (ratio > 1e-4)
        accept = slot["fresh"] | better
        length = jnp.linalg.norm(step, axis=1)
        radius = jnp.where(
            slot["fresh"],
            slot["radius"],
            jnp.where(
                better & (ratio > 0.7),
                jnp.maximum(slot["radius"], 2.5 * length),
                jnp.where(better & (ratio > 0.25), slot["radius"], 0.3 * length),
            ),
        )
        theta = jnp.where(accept[:, None], trial, theta)
        f = jnp.where(accept, f_new, slot["f"])
        g_all = jnp.where(accept[:, None], g_new, slot["g"])
        H_all = jnp.where(accept[:, None, None], H_new, slot["H"])

        projected = project(theta, g_all)
        size = jnp.abs(projected).max(axis=1) / (width * mine.scale)
        final = width <= delta
        # No representable improvement is left: a step that short, or a promise below f's last bits.
        spent = ~slot["fresh"] & ((radius < 1e-12) | (~accept & (jnp.abs(promised) < 1e-15 * f)))
        stage, count = slot["stage"] + 1, slot["count"] + 1
        over = spent | (size < jnp.where(final, TOLERANCE, STAGE_TOLERANCE))
        next_stage = ~final & (over | (stage >= STAGE_ITERATIONS))
        done = (final & over) | (count >= MAX_ITERATIONS)

        # Row S of the results takes whatever no search wants.
        target = jnp.where(done & (index < searches), index, S)
        ended = (theta, f[:, None], jnp.linalg.norm(projected, axis=1)[:, None], count[:, None])
        out = out.at[target].set(jnp.concatenate(ended, axis=1), mode="promise_in_bounds")
        index = jnp.where(done, jnp.minimum(following + (before & done).sum(axis=1), S), index)
        search = jnp.where(done[:, None], load(index), slot["search"])
        start = _Searches.unpacked(search)
        slot = {
            "index": index,
            "search": search,
            "theta": jnp.where(done[:, None], start.starts, theta),
            "delta": jnp.where(
                done,
                start.first_delta,
                jnp.where(next_stage, jnp.maximum(SHRINK * width, delta), width),
            ),
            "f": f,
            "g": g_all,
            "H": H_all,
            "radius": jnp.where(done, 1.0, jnp.where(next_stage, STAGE_RADIUS, radius)),
            "fresh": done | next_stage,
            "stage": jnp.where(done | next_stage, 0, stage),
            "count": jnp.where(done, 0, count),
        }
        return slot, out, following + done.sum()

    def unfinished(carry: Any) -> Any:
        return (carry[0]["index"] < searches).any()

    index = jnp.arange(slots)
    first = _Searches.unpacked(table[:slots])
    zeros = jnp.zeros(slots)
    slot = {
        "index": index,
        "search": table[:slots],
        "theta": first.starts,
        "delta": first.first_delta,
        "f": zeros,
        "g": jnp.zeros((slots, P)),
        "H": jnp.zeros((slots, P, P)),
        "radius": jnp.ones(slots),
        "fresh": jnp.ones(slots, bool),  # nothing known at theta for this delta yet
        "stage": jnp.zeros(slots, int),
        "count": jnp.zeros(slots, int),
    }
    _, out, _ = jax.lax.while_loop(
        unfinished, body, (slot, jnp.full((S + 1, P + 3), jnp.inf), jnp.asarray(slots))
    )
    return out[:S]


def newton_steps(g: Any, H: Any, radius: Any) -> Any:
    """(S, P) steps of length at most `radius` (S,) that lower the model g.s + s.H.s / 2.

    The step is -(H + damping I)^-1 g with the least damping that makes it short and the matrix positive: on
    the way down it is the exact trust-region step (Conn, Gould and Toint 2000, chapter 7). The matrices are
    factored entry by entry, each entry a vector over the problems: LAPACK takes them one at a time.
    """
    slope, rows = g.T, jnp.moveaxis(H, 0, -1)  # problems last
    norm = jnp.sqrt((rows * rows).sum(axis=(0, 1)))
    high = jnp.sqrt((slope * slope).sum(axis=0)) / radius + norm + 1e-300  # always positive and short enough
    # The first try is almost undamped; if that step is short enough, the others add nothing.
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
