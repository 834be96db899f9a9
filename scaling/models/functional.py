"""The functions that layers are made of: initial values, linear maps, norms, activations, positions.

Linear maps, norms and activations have backward passes of their own. Autodiff would keep several float32
arrays of each norm and activation. These keep their inputs alone, in the compute type, and recompute the
rest, which is elementwise work that the compiler fuses.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from scaling.config.model import TransformerConfig
from scaling.models.axes import platform


def normal(key: jax.Array, shape: tuple[int, ...], std: float, dtype: str) -> jax.Array:
    """Normal(0, std) of `shape`, drawn in float32."""
    return (std * jax.random.normal(key, shape, jnp.float32)).astype(dtype)


def fan_in(config: TransformerConfig, std: float, *inputs: int) -> float:
    """Standard deviation of a hidden weight: `std` at the base width, or 1 / sqrt(number of inputs).

    Under muP both scale with 1 / sqrt(width).
    """
    return float(math.prod(inputs)) ** -0.5 if config.init == "fan_in" else std * config.width_ratio**-0.5


def output_std(config: TransformerConfig, std: float) -> float:
    """Standard deviation of an output head: under muP the same at every width, since `output_multiplier`
    scales what the head reads."""
    return (config.d_model / config.width_ratio) ** -0.5 if config.init == "fan_in" else std


def residual_std(config: TransformerConfig) -> float:
    """`init_std`, divided by sqrt(2 n_layers) in output projections, which add up over depth (Radford et al.
    2019, section 2.3).

    With `base_depth` that depth counts: the multiplier of residual branches does the rest.
    """
    depth = config.base_depth or config.n_layers
    return config.init_std / (2 * depth) ** 0.5 if config.residual_init_scaling else config.init_std


def times(x: jax.Array, multiplier: float) -> jax.Array:
    """`x` times a multiplier of the parametrisation, which is usually 1."""
    return x if multiplier == 1.0 else x * multiplier


LINEAR = "linear"  # the name under which rematerialisation policies may keep the result


def linear(x: Array, kernel_KN: Array, bias_N: Array | None = None) -> Array:
    """x @ kernel + bias over the last axis of `x`.

    Args:
        x: (..., K), in the compute type.
        kernel_KN: in the compute type.
        bias_N: None leaves it out.

    Returns:
        (..., N) in the compute type; products accumulate in fp32.

    The weight gradient sums over tokens, x^T dy, so one of its operands must be transposed. Autodiff and
    XLA's CPU back end transpose the first, often the wider one, by copying it. Here a CPU transposes the
    narrower one, which makes that product up to twice as fast; accelerators transpose neither.
    """
    y = _linear(x, kernel_KN) if bias_N is None else _linear_with_bias(x, kernel_KN, bias_N)
    return checkpoint_name(y, LINEAR)


def _product(a: Array, b: Array, a_axes: tuple[int, ...], b_axes: tuple[int, ...], like: Array) -> Array:
    # Accelerators accumulate in fp32 and write the compute type at once; a CPU only on request.
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
    # Without the barrier the compiler undoes the choice to avoid transposing the small result.
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


def rotate(x_BLHE: Array, positions_BL: Array, base: float) -> Array:
    """Rotary positions: pairs of features are rotated by angles that grow with the position.

    Feature i is paired with i + E / 2 and rotated by position * base ** (-2 i / E) (Su et al. 2021,
    arXiv:2104.09864, section 3.2.2, with halves in place of neighbours, as LLaMA's released weights have
    them). Computed in float32; the result has the type of `x_BLHE`. E must be even.
    """
    half = x_BLHE.shape[-1] // 2
    rates = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions_BL[:, :, None, None].astype(jnp.float32) * rates
    return _rotated(x_BLHE, jnp.cos(angles), jnp.sin(angles))


@jax.custom_vjp
def _rotated(x: Array, cos: Array, sin: Array) -> Array:
    """`x` with its pairs rotated; the angles' last axis is half as wide.

    A TPU moves features between lanes slowly, and multiplies matrices fast. There each feature meets its
    partner by a product with a signed permutation, which is exact: every sum has one term.
    """
    half = x.shape[-1] // 2
    if platform() == "tpu":
        turn = jnp.kron(jnp.array([[0, 1], [-1, 0]]), jnp.eye(half)).astype(x.dtype)
        partners = jnp.einsum(
            "...e,ef->...f", x, turn, precision="highest", preferred_element_type=jnp.float32
        )
        y = x.astype(jnp.float32) * jnp.tile(cos, 2) + partners * jnp.tile(sin, 2)
    else:
        first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        y = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return y.astype(x.dtype)


def _rotated_forward(x: Array, cos: Array, sin: Array) -> tuple[Array, tuple[Array, Array]]:
    return _rotated(x, cos, sin), (cos, sin)


def _rotated_backward(angles: tuple[Array, Array], dy: Array) -> tuple[Array, None, None]:
    cos, sin = angles
    return _rotated(dy, cos, -sin), None, None  # a rotation's transpose turns back


_rotated.defvjp(_rotated_forward, _rotated_backward)


def sinusoids(positions: Array, width: int) -> Array:
    """(..., width) float32: sines, then cosines (Vaswani et al. 2017, section 3.5).

    The paper interleaves them; the two orders differ by a permutation of features. Wavelengths go from 2 pi
    to 10,000 x 2 pi. An odd width ends in a zero.
    """
    half = width // 2
    rates = jnp.exp(-math.log(10_000.0) / max(1, half - 1) * jnp.arange(half, dtype=jnp.float32))
    angles = positions[..., None].astype(jnp.float32) * rates
    table = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return jnp.pad(table, [(0, 0)] * (table.ndim - 1) + [(0, width % 2)])


def relative_buckets(distances: Array, buckets: int, farthest: int, causal: bool) -> Array:
    """The bucket of each distance, key position minus query position (Raffel et al. 2019, section 2.1).

    Half of the buckets hold one near distance each, the rest grow logarithmically up to `farthest`, beyond
    which all distances share the last bucket. In bidirectional attention each direction has half of the
    buckets.
    """
    first = jnp.zeros_like(distances)
    if causal:
        away = jnp.maximum(-distances, 0)
    else:
        buckets //= 2
        first = jnp.where(distances > 0, buckets, 0)
        away = jnp.abs(distances)
    near = buckets // 2
    scale = (buckets - near) / math.log(farthest / near)
    # In float32, as in the training of the released models: boundaries must round the same way.
    far = near + (jnp.log(jnp.maximum(away, 1).astype(jnp.float32) / near) * scale).astype(jnp.int32)
    return first + jnp.where(away < near, away, jnp.minimum(far, buckets - 1))


def relative_bias(table_RH: nnx.Param | Array, length: int, keys: int, farthest: int, causal: bool) -> Array:
    """bias_HLM float32 of queries at 0..length - 1 and keys at 0..keys - 1, from a table of buckets by heads.

    One value per distance is looked up, and each query's row is a shifted view of them: repeated with a
    period of one more than a row, the values shift by one from row to row. So neither pass gathers (L, M)
    elements.
    """
    table_RH = jnp.asarray(table_RH[...], jnp.float32)
    distances = jnp.arange(-(length - 1), keys)
    width = length + keys - 1
    found_HW = table_RH[relative_buckets(distances, table_RH.shape[0], farthest, causal)].T
    padded = jnp.pad(found_HW, ((0, 0), (0, 1)))
    repeated = jnp.tile(padded, (1, length))[:, : length * width].reshape(-1, length, width)
    return repeated[:, :, length - 1 :]


def relative_bias_at(table_RH: nnx.Param | Array, positions_BL: Array, keys: int, farthest: int) -> jax.Array:
    """bias_BHLM float32 of causal queries at `positions_BL` over keys at 0..keys - 1: decoding's."""
    table_RH = jnp.asarray(table_RH[...], jnp.float32)
    distances_BLM = jnp.arange(keys) - positions_BL[:, :, None]
    buckets_BLM = relative_buckets(distances_BLM, table_RH.shape[0], farthest, causal=True)
    return jnp.moveaxis(table_RH[buckets_BLM], -1, 1)
