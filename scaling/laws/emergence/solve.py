"""Many small fits at once: damped Gauss-Newton over a batch, one compiled loop for every shape.

The laws' own solver is for Huber losses of logarithms. Here the objective is half a deviance, binomial or of
squares: its expected second derivatives are positive definite for every shape, and known in closed form.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.curve_shapes import ENTRIES, HIGH, LOW, mean
from scaling.laws.solving.solver import float64_on_host

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK = 1024  # problems of one compiled call
ITERATIONS = 50
TOLERANCE = 1e-9  # decrease of half the deviance that counts as none
EDGE = 1e-9  # a share is kept this far from 0 and 1

# Standard deviations of a weak prior on level, slope, bend, turn and jump of scores that are shares: a slope
# of 15 takes the score from 0 to 1 in a fifth of the data's range. Where every answer is wrong up to some
# size and right from there on, it is what keeps slopes finite.
PRIOR = np.array([15.0, 15.0, 15.0, 30.0, 30.0, 1e3, 1e3])


@dataclass(frozen=True)
class Problems:
    """S problems over R rows of data of n points.

    x, y, trials, mask (R, n): trials is 0 where noise is Gaussian. rows, link (S,); free (S, P) of 0 and 1;
    place and origin (S,); lower and upper (S, P).
    """

    x: Floats
    y: Floats
    trials: Floats
    mask: Floats
    rows: Ints
    link: Ints
    free: Floats
    place: Floats
    origin: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class Optima:
    """theta (S, P), weighted deviance (S,), and the information matrix (S, P, P) of half of it there."""

    theta: Floats
    deviance: Floats
    information: Floats


def solve(problems: Problems, start: Floats, weight: Floats) -> Optima:
    """Minimise each problem's deviance (with the weak prior) from `start` (S, P), points weighed (S, n)."""
    p = problems
    S, n = len(p.rows), _width(p.x.shape[1])
    out: list[tuple[Any, ...]] = []

    def padded(array: Floats) -> Floats:
        wide = np.zeros((len(array), n))
        wide[:, : array.shape[1]] = array
        return wide

    data = [padded(a) for a in (p.x, p.y, p.trials)]
    with float64_on_host():
        for first in range(0, S, CHUNK):
            part = slice(first, min(first + CHUNK, S))
            # The last chunk is filled with copies of its first problem.
            index = np.full(CHUNK, first)
            index[: part.stop - first] = np.arange(first, part.stop)
            rows = p.rows[index]
            results = _solve(
                *(jnp.asarray(a[rows]) for a in data),
                jnp.asarray(padded(weight[index])),
                *(
                    jnp.asarray(a[index])
                    for a in (p.link, p.free, start, p.place, p.origin, p.lower, p.upper)
                ),
            )
            out.append(tuple(np.asarray(a)[: part.stop - first] for a in results))
    theta, deviance, information = (np.concatenate(parts) for parts in zip(*out, strict=True))
    return Optima(theta, deviance, information)


def _width(points: int) -> int:
    """8, 16, 32, ...: few array shapes, and so few compilations."""
    return max(8, 1 << (points - 1).bit_length())


def deviances(y: Any, mu: Any, trials: Any, xp: Any = np) -> Any:
    """Deviance of each point: binomial of shares out of `trials`, the squared residual where that is 0."""
    mu_in = xp.clip(mu, EDGE, 1 - EDGE)
    yes = xp.where(y > 0, y * xp.log(xp.maximum(y, 1e-300) / mu_in), 0.0)
    no = xp.where(y < 1, (1 - y) * xp.log(xp.maximum(1 - y, 1e-300) / (1 - mu_in)), 0.0)
    return xp.where(trials > 0, 2 * trials * (yes + no), (y - mu) ** 2)


def _cholesky_solve(A: Any, b: Any) -> Any:
    """(S, P) solutions of A s = b, written out: a batch of LAPACK calls costs more than the arithmetic."""
    P = b.shape[1]
    L: list[list[Any]] = [[None] * P for _ in range(P)]
    for i in range(P):
        for j in range(i + 1):
            rest = A[:, i, j] - sum((L[i][k] * L[j][k] for k in range(j)), jnp.zeros_like(b[:, 0]))
            L[i][j] = jnp.sqrt(jnp.maximum(rest, 1e-14)) if i == j else rest / L[j][j]
    forward: list[Any] = []
    for i in range(P):
        forward.append((b[:, i] - sum((L[i][k] * forward[k] for k in range(i)), 0.0)) / L[i][i])
    back: list[Any] = [None] * P
    for i in reversed(range(P)):
        back[i] = (forward[i] - sum((L[k][i] * back[k] for k in range(i + 1, P)), 0.0)) / L[i][i]
    return jnp.stack(back, axis=1)


@partial(jax.jit)
def _solve(
    x: Any,
    y: Any,
    trials: Any,
    weight: Any,
    link: Any,
    free: Any,
    start: Any,
    place: Any,
    origin: Any,
    lower: Any,
    upper: Any,
) -> tuple[Any, Any, Any]:
    P = len(ENTRIES)
    binomial = (trials > 0).any(axis=1)
    precision = jnp.where(binomial[:, None], 1 / jnp.asarray(PRIOR) ** 2, 1e-9)
    past = x - place[:, None]
    columns = jnp.stack(
        [jnp.ones_like(x), x - origin[:, None], x**2, jnp.maximum(past, 0.0), (past > 0) * 1.0], axis=1
    )  # (S, 5, n)

    def evaluate(theta: Any) -> tuple[Any, Any, Any, Any]:
        mu, slope, in_low, in_high = mean(theta, x, place, origin, link, jnp)
        deviance = (weight * deviances(y, mu, trials, jnp)).sum(axis=1)
        inside = jnp.clip(mu, EDGE, 1 - EDGE)
        size = weight * jnp.where(trials > 0, trials / (inside * (1 - inside)), 1.0)
        J = jnp.concatenate([columns * slope[:, None], in_low[:, None], in_high[:, None]], axis=1)
        J = J * free[:, :, None]
        pull = precision * theta * free
        g = (J * (size * (mu - y))[:, None]).sum(axis=2) + pull
        H = jnp.einsum("spn,sqn->spq", J * size[:, None], J) + jnp.eye(P) * (precision * free)[:, None]
        return 0.5 * deviance + 0.5 * (precision * theta**2 * free).sum(axis=1), g, H, deviance

    def body(carry: Any) -> Any:
        theta, f, g, H, deviance, damping, done, count = carry
        held = ((theta <= lower) & (g > 0)) | ((theta >= upper) & (g < 0)) | (free == 0)
        loose = ~(held[:, :, None] | held[:, None, :])
        diagonal = jnp.einsum("spp->sp", H)
        A = jnp.where(loose, H, 0.0)
        extra = jnp.where(held, 1.0, damping[:, None] * diagonal + 1e-12)
        A = A + jnp.eye(P) * extra[:, None]
        step = -_cholesky_solve(A, jnp.where(held, 0.0, g))
        trial = jnp.clip(theta + jnp.clip(step, -5.0, 5.0), lower, upper)
        f_new, g_new, H_new, d_new = evaluate(trial)
        better = (f_new < f) & ~done
        gained = f - f_new
        small = jnp.abs(gained) < TOLERANCE * (1e-3 + jnp.where(binomial, 1.0, f))
        done = done | (small & (damping < 1.0)) | (damping > 1e10)
        pick = better[:, None]
        return (
            jnp.where(pick, trial, theta),
            jnp.where(better, f_new, f),
            jnp.where(pick, g_new, g),
            jnp.where(pick[:, :, None], H_new, H),
            jnp.where(better, d_new, deviance),
            jnp.where(better, jnp.maximum(damping / 5, 1e-9), damping * 4),
            done,
            count + 1,
        )

    theta = jnp.clip(start, lower, upper)
    f, g, H, deviance = evaluate(theta)
    S = theta.shape[0]
    carry = (theta, f, g, H, deviance, jnp.full(S, 1e-2), jnp.zeros(S, bool), 0)
    carry = jax.lax.while_loop(lambda c: (~c[6]).any() & (c[7] < ITERATIONS), body, carry)
    theta, _, _, H, deviance, *_ = carry
    # An entry that is fixed or at a bound has no uncertainty of its own.
    at_bound = (theta <= lower) | (theta >= upper) | (free == 0)
    loose = ~(at_bound[:, :, None] | at_bound[:, None, :])
    H = jnp.where(loose, H, 0.0) + jnp.eye(P) * jnp.where(at_bound, 1e12, 0.0)[:, None]
    return theta, deviance, H


assert (LOW, HIGH) == (5, 6)  # the order in which `_solve` stacks derivatives
