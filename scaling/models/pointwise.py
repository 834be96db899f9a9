"""Norms and activations: cheap to compute, expensive to keep.

Autodiff would keep several float32 arrays of each for the backward pass. These keep only their inputs, in the
compute type, and recompute the rest there: elementwise work that the compiler fuses.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def keeping_inputs(function: Callable[..., Array]) -> Callable[..., Array]:
    """`function`, keeping only its arguments for the backward pass (Chen et al. 2016, arXiv:1604.06174)."""

    @jax.custom_vjp
    def wrapped(*arguments: Array | None) -> Array:
        return function(*arguments)

    def forward(*arguments: Array | None) -> tuple[Array, tuple[Any, ...]]:
        return function(*arguments), arguments

    def backward(arguments: tuple[Any, ...], dy: Array) -> tuple[Any, ...]:
        return jax.vjp(function, *arguments)[1](dy)

    wrapped.defvjp(forward, backward)
    return wrapped


@cache
def layer_norm(epsilon: float) -> Callable[[Array, Array, Array | None], Array]:
    """(x_BLD, scale_D, bias_D or None) to x normalised over the width, in float32 (Ba et al. 2016).

    The result has the type of `x_BLD`.
    """

    def function(x_BLD: Array, scale_D: Array, bias_D: Array | None) -> Array:
        x = x_BLD.astype(jnp.float32)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        y = centred * jax.lax.rsqrt(variance + epsilon) * scale_D.astype(jnp.float32)
        if bias_D is not None:
            y = y + bias_D.astype(jnp.float32)
        return y.astype(x_BLD.dtype)

    return keeping_inputs(function)


@cache
def rms_norm(epsilon: float) -> Callable[[Array, Array], Array]:
    """(x_BLD, scale_D) to x divided by its root mean square, in float32 (Zhang and Sennrich 2019).

    The result has the type of `x_BLD`.
    """

    def function(x_BLD: Array, scale_D: Array) -> Array:
        x = x_BLD.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return (x * jax.lax.rsqrt(mean_square + epsilon) * scale_D.astype(jnp.float32)).astype(x_BLD.dtype)

    return keeping_inputs(function)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu_tanh": keeping_inputs(lambda x: jax.nn.gelu(x, approximate=True)),
    "gelu": keeping_inputs(lambda x: jax.nn.gelu(x, approximate=False)),
    "relu": keeping_inputs(jax.nn.relu),
    "silu": keeping_inputs(jax.nn.silu),
    "tanh": keeping_inputs(jnp.tanh),
}
