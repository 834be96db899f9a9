"""A linear layer whose backward pass fixes the order of its products.

The weight gradient sums over tokens, x^T dy, so one of its operands must be transposed. Autodiff and XLA's
CPU back end transpose the first, often the wider one, by copying it. Here a CPU transposes the narrower one,
which makes that product up to twice as fast; accelerators transpose neither.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from scaling.models.axes import platform

LINEAR = "linear"  # the name under which rematerialisation policies may keep the result


def linear(x: Array, kernel_KN: Array, bias_N: Array | None = None) -> Array:
    """x @ kernel + bias over the last axis of `x`.

    Args:
        x: (..., K), in the compute type.
        kernel_KN: in the compute type.
        bias_N: None leaves it out.

    Returns:
        (..., N) in the compute type; products accumulate in fp32.
    """
    y = _linear(x, kernel_KN) if bias_N is None else _linear_with_bias(x, kernel_KN, bias_N)
    return checkpoint_name(y, LINEAR)


def _product(a: Array, b: Array, a_axes: tuple[int, ...], b_axes: tuple[int, ...], like: Array) -> Array:
    # Accelerators accumulate in fp32 and write the compute type at once; a CPU must be asked to.
    wide = jnp.float32 if platform() == "cpu" else like.dtype
    y = jax.lax.dot_general(a, b, ((a_axes, b_axes), ((), ())), preferred_element_type=wide)
    return y.astype(like.dtype)


@jax.custom_vjp
def _linear(x: Array, kernel_KN: Array) -> Array:
    return _product(x, kernel_KN, (x.ndim - 1,), (0,), x)


def _forward(x: Array, kernel_KN: Array) -> tuple[Array, tuple[Array, Array]]:
    return _linear(x, kernel_KN), (x, kernel_KN)


def _backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel_KN = saved
    K, N = kernel_KN.shape
    dx = _product(dy, kernel_KN, (dy.ndim - 1,), (1,), x)
    tokens = tuple(range(x.ndim - 1))
    if K <= N or platform() != "cpu":
        return dx, _product(x, dy, tokens, tokens, kernel_KN)
    # Without the barrier the compiler undoes the choice, to save turning the small result back.
    return dx, jax.lax.optimization_barrier(_product(dy, x, tokens, tokens, kernel_KN)).T


_linear.defvjp(_forward, _backward)


@jax.custom_vjp
def _linear_with_bias(x: Array, kernel_KN: Array, bias_N: Array) -> Array:
    return _linear(x, kernel_KN) + bias_N


def _forward_with_bias(x: Array, kernel_KN: Array, bias_N: Array) -> tuple[Array, tuple[Array, Array]]:
    return _linear_with_bias(x, kernel_KN, bias_N), (x, kernel_KN)


def _backward_with_bias(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array, Array]:
    tokens = tuple(range(dy.ndim - 1))
    return *_backward(saved, dy), dy.sum(tokens, dtype=jnp.float32).astype(dy.dtype)


_linear_with_bias.defvjp(_forward_with_bias, _backward_with_bias)
