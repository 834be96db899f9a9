"""Positions without a learned table: rotary, sinusoidal and relative."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


def rotate(x_BLHE: Array, positions_BL: Array, base: float) -> Array:
    """Rotary positions: pairs of features are rotated by angles that grow with the position.

    Feature i is paired with i + E / 2 and rotated by position * base ** (-2 i / E) (Su et al. 2021,
    arXiv:2104.09864, section 3.2.2, with halves in place of neighbours, as LLaMA's released weights have
    them). Computed in float32; the result has the type of `x_BLHE`. E must be even.
    """
    half = x_BLHE.shape[-1] // 2
    rates = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions_BL[:, :, None, None].astype(jnp.float32) * rates
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x_BLHE.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BLHE.dtype)


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
    which all distances share the last. In bidirectional attention each direction has half of the buckets.
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
    # In float32, as the released models were trained: a distance on a boundary must fall on the same side.
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
