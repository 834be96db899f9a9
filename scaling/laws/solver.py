"""Many small Huber regressions at once: a batched trust-region Newton method in float64.

Fitting a law means solving the same five-parameter problem thousands of times, from other starts and on
other resamples of the runs. The problems go through a fixed number of slots in one compiled loop: a slot
whose problem is done takes the next one, so that a slow problem holds up nobody.

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

from scaling.laws.forms import Law
from scaling.laws.objective import LARGEST_LOG, Residual, residuals

Floats = NDArray[np.float64]

SLOTS = 64  # wide enough to fill vector units; a slot row of 240 points and its terms stay in cache
TOLERANCE = (
    1e-10  # largest projected gradient entry over delta * sum(weights), which bounds every entry's scale
)
STAGE_TOLERANCE = 1e-3  # the same, before delta has reached its final value
STAGE_ITERATIONS = 100
MAX_ITERATIONS = 300
SHRINK = 0.5
WORKERS = min(8, os.cpu_count() or 1)
STAGE_RADIUS = 0.1  # the next solution is near: theta is of order one


# Programs of this process by law, residual and array shapes: compiled once for all threads.
_COMPILED: dict[tuple[Any, ...], Any] = {}


class Solutions(NamedTuple):
    """What S problems of P parameters ended at."""

    theta: Floats  # (S, P)
    value: Floats  # (S,): sum of weighted Huber losses
    gradient: Floats  # (S,): Euclidean norm of the gradient projected on the bounds
    iterations: NDArray[np.int64]  # (S,)


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
    law: Law,
    x: Floats,
    log_loss: Floats,
    weights: Floats,
    rows: NDArray[np.int64],
    starts: Floats,
    first_delta: Floats,
    delta: float,
    width: int = 0,
    residual: Residual = "log",
) -> Solutions:
    """Minimise sum_i weights[row, i] * Huber_delta(law(theta, x_i) - log_loss_i) for S problems.

    Args:
        law: the functional form; its bounds are kept at every iterate.
        x: (n, V) log variables over their reference.
        log_loss: (n,) observed, of whatever the law predicts.
        weights: (R, n), the rows that problems choose from: a bootstrap resample is a row of counts.
        rows: (S,) which row each problem uses.
        starts: (S, P), clipped to the bounds.
        first_delta: (S,) where the homotopy begins; the final delta for a direct descent.
        delta: width of the quadratic zone of the objective, in nats of log loss.
        width: pad to this many points of no weight: a fit to a subset then shares the compiled loop.
        residual: "log" as above, or "plain": exp(law(theta, x_i)) - exp(log_loss_i).
    """
    lower, upper = (np.asarray(side, np.float64) for side in zip(*law.bounds, strict=True))
    S, n = len(starts), _steps(max(width, len(x)))
    resamples = _bucket(len(weights), 4096 if n <= 512 else 1024)
    starts, first_delta = np.clip(starts, lower, upper), np.maximum(first_delta, delta)
    parts = np.array_split(np.arange(S), WORKERS if S >= 4 * SLOTS else 1)
    many = _bucket(len(parts[0]), 4096)
    with float64_on_host():
        shared = [
            jnp.asarray(a)
            for a in (_pad(x, n), _pad(log_loss, n), _pad(_pad(weights, resamples).T, n).T, lower, upper)
        ]
        arguments = [
            (
                *shared,
                np.int64(len(part)),
                *(jnp.asarray(_pad(a[part], many)) for a in (rows, starts, first_delta)),
                np.float64(delta),
            )
            for part in parts
        ]
        key = (law, residual, n, resamples, many)
        if key not in _COMPILED:
            _COMPILED[key] = _solve.lower(law, residual, *arguments[0]).compile()

    def run(chosen: Any) -> tuple[Any, ...]:
        with float64_on_host():
            return tuple(np.asarray(a) for a in _COMPILED[key](*chosen))

    # A loop on the CPU keeps one core busy, and releases the interpreter while it runs.
    with ThreadPoolExecutor(len(parts)) as pool:
        outs = list(pool.map(run, arguments))
    return Solutions(
        *(
            np.concatenate([out[i][: len(part)] for out, part in zip(outs, parts, strict=True)])
            for i in range(4)
        )
    )


def _bucket(count: int, least: int) -> int:
    """A power of two, so that few array shapes, and so few compilations, serve every fit."""
    return max(least, 1 << (count - 1).bit_length())


def _steps(count: int) -> int:
    """The same for points, in finer steps (32, 48, 64, 96, ...), since padding them costs time."""
    power = _bucket(count, 32)
    return 3 * power // 4 if count <= 3 * power // 4 and power > 32 else power


def _pad(array: NDArray[Any], length: int) -> NDArray[Any]:
    """`array` with zeros behind its first axis."""
    out = np.zeros((length, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


def _huber(residual: Any, delta: Any) -> tuple[Any, Any, Any]:
    """Huber (1964) and its first two derivatives in the residual."""
    size = jnp.abs(residual)
    inside = size <= delta
    value = jnp.where(inside, 0.5 * residual**2, delta * (size - 0.5 * delta))
    return value, jnp.clip(residual, -delta, delta), inside


def objective_from_terms(terms: Any, log_loss: Any, residual: Residual = "log") -> Any:
    """Value, gradient and exact Hessian where log L is a log-sum-exp of terms linear in theta.

    `terms` is (K, n, P): term k at point i is terms[k, i] @ theta. With p the softmax over the terms, the
    derivatives are p-weighted sums of fixed features, which two matrix products take for the whole batch.
    """
    K, n, P = terms.shape
    linear = terms.reshape(K * n, P)
    pairs = [(k, m) for k in range(K) for m in range(k, K)]
    outer = jnp.einsum("kip,miq->kmipq", terms, terms)
    upper = np.triu_indices(P)  # of a symmetric matrix, half is enough
    place = np.zeros((P, P), int)
    place[upper] = place.T[upper] = np.arange(len(upper[0]))
    features = jnp.concatenate(
        [(outer[k, m] + (outer[m, k] if m > k else 0.0))[:, *upper] for k, m in pairs], axis=0
    )

    def evaluate(theta_SP: Any, weights_Sn: Any, delta_S: Any) -> tuple[Any, Any, Any]:
        t_SKn = (theta_SP @ linear.T).reshape(-1, K, n)
        top = t_SKn.max(axis=1, keepdims=True)
        e_SKn = jnp.exp(t_SKn - top)
        total = e_SKn.sum(axis=1, keepdims=True)
        p_SKn = e_SKn / total
        log_predicted = (top + jnp.log(total))[:, 0]
        off = residuals(residual, log_predicted, log_loss, jnp)
        value, slope, second = _huber(off, delta_S[:, None])
        if residual == "plain":  # the residual's first and second derivative in the logarithm
            predicted = jnp.exp(jnp.minimum(log_predicted, LARGEST_LOG))
            slope, second = slope * predicted, second * predicted**2 + slope * predicted
        slope = weights_Sn * slope
        bend = weights_Sn * second - slope
        gradient = (slope[:, None] * p_SKn).reshape(-1, K * n) @ linear
        mixed = [
            bend * p_SKn[:, k] * p_SKn[:, m] + (slope * p_SKn[:, k] if k == m else 0.0) for k, m in pairs
        ]
        hessian = (jnp.concatenate(mixed, axis=1) @ features)[:, place]
        return (weights_Sn * value).sum(axis=1), gradient, hessian

    return evaluate


def objective_from_form(law: Law, x: Any, log_loss: Any, residual: Residual = "log") -> Any:
    """The same three by automatic differentiation, for a law of any form."""

    def value(theta_P: Any, weights_n: Any, delta: Any) -> Any:
        off = residuals(residual, law.log_loss(theta_P, x, jnp), log_loss, jnp)
        return (weights_n * _huber(off, delta)[0]).sum()

    def one(theta_P: Any, weights_n: Any, delta: Any) -> tuple[Any, Any, Any]:
        f, g = jax.value_and_grad(value)(theta_P, weights_n, delta)
        return f, g, jax.hessian(value)(theta_P, weights_n, delta)

    return jax.vmap(one)


def _step(g: Any, H: Any, radius: Any) -> Any:
    """Steps of length at most `radius` that lower the model g.s + s.H.s / 2.

    The step is -(H + damping I)^-1 g with the least damping that makes it short and the matrix positive: on
    the way down it is the exact trust-region step (Conn, Gould and Toint 2000, chapter 7). The matrices are
    factored entry by entry, each entry a vector over the slots: LAPACK takes them one at a time.
    """
    P = g.shape[1]
    rows = [[H[:, i, j] for j in range(i + 1)] for i in range(P)]
    slope = [g[:, i] for i in range(P)]
    norm = jnp.sqrt((H * H).sum(axis=(1, 2)))
    high = jnp.linalg.norm(g, axis=1) / radius + norm + 1e-300  # always positive, always short enough
    # The first try is as good as undamped; where that is short, the others find nothing to add.
    least = 1e-14 * norm + 1e-300

    def halve(_: int, ends: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        low, high, middle, best = ends
        step, positive = _damped(rows, slope, middle)
        short = positive & (jnp.linalg.norm(step, axis=1) <= radius)
        best = jnp.where(short[:, None], step, best)
        low, high = jnp.where(short, low, middle), jnp.where(short, middle, high)
        return low, high, jnp.maximum(jnp.sqrt(low * high), least), best

    ends = (jnp.zeros_like(radius), high, least, -g / high[:, None])
    return jax.lax.fori_loop(0, 14, halve, ends)[3]


def _damped(rows: Any, slope: Any, damping: Any) -> tuple[Any, Any]:
    """(S, P) -(H + damping I)^-1 g by LDL^T, and whether the matrix is positive definite."""
    P = len(rows)
    L: dict[tuple[int, int], Any] = {}
    d: list[Any] = []
    for j in range(P):
        scaled = [L[j, k] * d[k] for k in range(j)]
        d.append(rows[j][j] + damping - sum(L[j, k] * scaled[k] for k in range(j)))
        for i in range(j + 1, P):
            L[i, j] = (rows[i][j] - sum(L[i, k] * scaled[k] for k in range(j))) / d[j]
    y: list[Any] = []
    for i in range(P):
        y.append(-slope[i] - sum(L[i, k] * y[k] for k in range(i)))
    y = [y[i] / d[i] for i in range(P)]
    for i in reversed(range(P)):
        y[i] = y[i] - sum(L[k, i] * y[k] for k in range(i + 1, P))
    return jnp.stack(y, axis=1), (jnp.stack(d, axis=1) > 0).all(axis=1)


@partial(jax.jit, static_argnums=(0, 1))
def _solve(
    law: Law,
    residual: Residual,
    x: Any,
    log_loss: Any,
    weights: Any,
    lower: Any,
    upper: Any,
    problems: Any,
    rows: Any,
    starts: Any,
    first_delta: Any,
    delta: Any,
) -> tuple[Any, Any, Any, Any]:
    terms = law.terms(x, jnp)
    evaluate = (
        objective_from_form(law, x, log_loss, residual)
        if terms is None
        else objective_from_terms(terms, log_loss, residual)
    )
    S, P = starts.shape  # S with padding: slots at or beyond `problems` are idle
    slots = SLOTS
    scale = weights.sum(axis=1)

    def project(theta: Any, g: Any) -> Any:
        held = ((theta <= lower) & (g > 0)) | ((theta >= upper) & (g < 0))
        return jnp.where(held, 0.0, g)

    def load(index: Any, theta: Any, width: Any) -> dict[str, Any]:
        zeros = jnp.zeros(slots)
        return {
            "index": index,
            "theta": theta,
            "delta": width,
            "f": zeros,
            "g": jnp.zeros((slots, P)),
            "H": jnp.zeros((slots, P, P)),
            "radius": jnp.ones(slots),
            "fresh": jnp.ones(slots, bool),  # nothing known at theta for this delta yet
            "stage": jnp.zeros(slots, int),
            "count": jnp.zeros(slots, int),
        }

    def body(carry: Any) -> Any:
        slot, out, following = carry
        theta, width, index = slot["theta"], slot["delta"], slot["index"]
        g = project(theta, slot["g"])
        held = g != slot["g"]
        loose = ~(held[:, :, None] | held[:, None, :])
        H = jnp.where(loose, slot["H"], 0.0) + jnp.eye(P) * held[:, :, None]
        step = jnp.where(slot["fresh"][:, None], 0.0, _step(g, H, slot["radius"]))
        trial = jnp.clip(theta + step, lower, upper)
        step = trial - theta
        row = rows[jnp.minimum(index, S - 1)]
        f_new, g_new, H_new = evaluate(trial, weights[row], width)

        promised = -(step * slot["g"]).sum(1) - 0.5 * jnp.einsum("sp,spq,sq->s", step, slot["H"], step)
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
        size = jnp.abs(projected).max(axis=1) / (width * scale[row])
        final = width <= delta
        # No representable improvement is left: a step that short, or a promise below f's last bits.
        spent = ~slot["fresh"] & ((radius < 1e-12) | (~accept & (jnp.abs(promised) < 1e-15 * f)))
        stage, count = slot["stage"] + 1, slot["count"] + 1
        over = spent | (size < jnp.where(final, TOLERANCE, STAGE_TOLERANCE))
        next_stage = ~final & (over | (stage >= STAGE_ITERATIONS))
        done = (final & over) | (count >= MAX_ITERATIONS)

        target = jnp.where(
            done & (index < problems), index, S
        )  # row S of the results takes what nobody wants
        out = {
            "theta": out["theta"].at[target].set(theta),
            "f": out["f"].at[target].set(f),
            "gradient": out["gradient"].at[target].set(jnp.linalg.norm(projected, axis=1)),
            "count": out["count"].at[target].set(count),
        }
        fresh_index = following + jnp.cumsum(done) - 1
        index = jnp.where(done, jnp.minimum(fresh_index, S), index)
        start = jnp.minimum(index, S - 1)
        slot = {
            "index": index,
            "theta": jnp.where(done[:, None], starts[start], theta),
            "delta": jnp.where(
                done, first_delta[start], jnp.where(next_stage, jnp.maximum(SHRINK * width, delta), width)
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
        return (carry[0]["index"] < problems).any()

    out = {
        "theta": jnp.zeros((S + 1, P)),
        "f": jnp.full(S + 1, jnp.inf),
        "gradient": jnp.full(S + 1, jnp.inf),
        "count": jnp.zeros(S + 1, int),
    }
    first = load(jnp.arange(slots), starts[:slots], first_delta[:slots])
    _, out, _ = jax.lax.while_loop(unfinished, body, (first, out, jnp.asarray(slots)))
    return tuple(out[key][:S] for key in ("theta", "f", "gradient", "count"))  # type: ignore[return-value]
