"""What a fit minimises: the Huber loss of residuals of the logarithm, or of the target itself.

Value, gradient and Hessian for a batch of parameter vectors, in JAX. Shapes: S problems, n points, P
parameters, K terms, Q reported quantities.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats, Form

Residual = Literal["log", "plain"]

RESIDUALS: dict[Residual, str] = {"log": "log {0}_pred - log {0}_obs", "plain": "{0}_pred - {0}_obs"}
LARGEST_LOG = 100.0  # e^100 nats are as wrong as any larger loss, and squares stay finite
STEP = 1e-5  # of central differences; entries of theta are of order one


class Pins(NamedTuple):
    """One more Huber residual per problem, pull * (q - held), which holds a reported quantity q near a value.

    A weight of 0 leaves the problem free.
    """

    quantity: NDArray[np.int64]  # (S,) number of the quantity
    held: Floats  # (S,) on the scale of the quantity
    pull: Floats  # (S,)
    weight: Floats  # (S,)


def describe(residual: Residual, target: str) -> str:
    """The objective in words, for `law.json`."""
    return f"sum of Huber({RESIDUALS[residual].format('L' if target == 'loss' else target)})"


def residuals(residual: Residual, log_predicted: Any, log_observed: Any, xp: Any = np) -> Any:
    """(...,) residuals from logarithms; `xp` is numpy or jax.numpy."""
    if residual == "log":
        return log_predicted - log_observed
    return xp.exp(xp.minimum(log_predicted, LARGEST_LOG)) - xp.exp(log_observed)


def huber(residual: Any, delta: float) -> Any:
    """Huber (1964): quadratic within `delta`, linear beyond, so that a large delta gives least squares."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def huber_derivatives(residual: Any, delta: Any) -> tuple[Any, Any, Any]:
    """The Huber loss (1964) and its first two derivatives in the residual."""
    size = jnp.abs(residual)
    inside = size <= delta
    value = jnp.where(inside, 0.5 * residual**2, delta * (size - 0.5 * delta))
    return value, jnp.clip(residual, -delta, delta), inside


def objective_from_terms(terms: Any, log_loss: Any, residual: Residual = "log") -> Any:
    """Value, gradient and exact Hessian where log L is a log-sum-exp of terms linear in theta.

    `terms` is (K, n, P): term k at point i is terms[k, i] @ theta. With p the softmax over the terms, the
    derivatives are p-weighted sums of fixed features, which two matrix products compute for the complete
    batch.
    """
    K, n, P = terms.shape
    linear = terms.reshape(K * n, P)
    pairs = [(k, m) for k in range(K) for m in range(k, K)]
    first, second_ = (np.array(side) for side in zip(*pairs, strict=True))
    upper = np.triu_indices(P)  # of a symmetric matrix, half is enough
    place = np.zeros((P, P), int)
    place[upper] = place.T[upper] = np.arange(len(upper[0]))
    # (pairs * n, P (P + 1) / 2): terms[k] terms[m]' + terms[m] terms[k]', half of it where k is m
    one, other = terms[first], terms[second_]
    half = np.where(first == second_, 0.5, 1.0)[:, None, None]
    features = half * (one[..., upper[0]] * other[..., upper[1]] + other[..., upper[0]] * one[..., upper[1]])
    features = features.reshape(len(pairs) * n, -1)

    def evaluate(theta_SP: Any, weights_Sn: Any, delta_S: Any) -> tuple[Any, Any, Any]:
        t_SKn = (theta_SP @ linear.T).reshape(-1, K, n)
        top = t_SKn.max(axis=1, keepdims=True)
        e_SKn = jnp.exp(t_SKn - top)
        total = e_SKn.sum(axis=1, keepdims=True)
        p_SKn = e_SKn / total
        log_predicted = (top + jnp.log(total))[:, 0]
        off = residuals(residual, log_predicted, log_loss, jnp)
        value, slope, second = huber_derivatives(off, delta_S[:, None])
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


def objective_from_form(law: Form, x: Any, log_loss: Any, residual: Residual = "log") -> Any:
    """The same three by automatic differentiation, for any form."""

    def value(theta_P: Any, weights_n: Any, delta: Any) -> Any:
        off = residuals(residual, law.log_loss(theta_P, x, jnp), log_loss, jnp)
        return (weights_n * huber_derivatives(off, delta)[0]).sum()

    def one(theta_P: Any, weights_n: Any, delta: Any) -> tuple[Any, Any, Any]:
        f, g = jax.value_and_grad(value)(theta_P, weights_n, delta)
        return f, g, jax.hessian(value)(theta_P, weights_n, delta)

    return jax.vmap(one)


def pin_derivatives(quantities: Any) -> Any:
    """The three of pins alone; `quantities` maps theta (P,) to (Q,).

    The value and the gradient are exact. The Hessian of the quantity, of which Newton's method needs a few
    digits, is a central difference of gradients: second derivatives by JAX take longer to compile than
    everything else here.

    Returns:
        A function of theta (S, P), delta (S,) and the four arrays of `Pins`; all zero where the weight is.
    """

    def chosen(theta_P: Any, which: Any) -> Any:
        values = quantities(theta_P)
        return jnp.where(jnp.arange(len(values)) == which, values, 0.0).sum()

    def one(theta_P: Any, delta: Any, which: Any, held: Any, pull: Any, weight: Any) -> Any:
        P = len(theta_P)
        moves = STEP * np.concatenate([np.zeros((1, P)), np.eye(P), -np.eye(P)])
        q, dq = jax.vmap(jax.value_and_grad(chosen), (0, None))(theta_P + moves, which)
        q, ddq, dq = q[0], (dq[1 : P + 1] - dq[P + 1 :]) / (2 * STEP), dq[0]
        value, slope, second = huber_derivatives(pull * (q - held), delta)
        bend = second * pull**2 * dq[:, None] * dq + slope * pull * (ddq + ddq.T) / 2
        return tuple(jnp.where(weight > 0, weight * a, 0.0) for a in (value, slope * pull * dq, bend))

    return jax.vmap(one)
