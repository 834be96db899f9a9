"""Decoding over a cache of keys and values: a prompt and one new token are the same call, `extend`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from scaling.models.decoder import Decoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.layers import LayerCache, LayerInputs


class Cache(NamedTuple):
    """Keys and values of all layers, (N, B, M, K, E), and which tokens of an encoder-decoder's source are
    real.

    Keys past the end of a sequence are not looked at.
    """

    layers: LayerCache
    source_real_BM: jax.Array | None = None  # false on padding

    def of_rows(self, rows_B: jax.Array) -> "Cache":
        """The cache of these rows of the batch, in this order."""
        real_BM = self.source_real_BM
        return Cache(
            jax.tree.map(lambda a: a[:, rows_B], self.layers), None if real_BM is None else real_BM[rows_B]
        )


def empty_cache(model: Decoder, batch: int, length: int) -> Cache:
    """A decoder's cache for `batch` sequences of up to `length` tokens."""
    config = model.config
    heads = config.n_kv_heads or config.n_heads
    zeros = jnp.zeros((config.n_layers, batch, length, heads, config.d_head), config.compute_dtype)
    return Cache(LayerCache(zeros, zeros))


def source_cache(model: EncoderDecoder, sources_BM: jax.Array, real_BM: jax.Array, length: int) -> Cache:
    """The cache of sources (B, M), `real_BM` false on their padding, for up to `length` tokens of target."""
    config = model.config
    memory_BMD = model.encode(sources_BM, segment_ids_BL=real_BM.astype(jnp.int32))
    cross = model.decoder.layers.cross_attention
    assert cross is not None
    keys, values = jax.lax.map(lambda one: one.project(memory_BMD, "key", "value"), cross)
    shape = (config.decoder_layers, sources_BM.shape[0], length, config.n_heads, config.d_head)
    zeros = jnp.zeros(shape, config.compute_dtype)
    return Cache(LayerCache(zeros, zeros, keys, values), real_BM)


def extend(
    model: Decoder | EncoderDecoder, cache: Cache, tokens_BL: jax.Array, positions_BL: jax.Array
) -> tuple[jax.Array, Cache]:
    """Run `tokens_BL` at `positions_BL` on top of the cache: what the head multiplies, (B, L, D), and the
    longer cache.

    The positions of a row must be consecutive.
    """
    inputs = LayerInputs(positions_BL=positions_BL, memory_segment_ids_BM=cache.source_real_BM)
    run = model.run if isinstance(model, Decoder) else model.run_decoder
    x_BLD, outputs = run(tokens_BL, inputs, cache=cache.layers)
    assert outputs.cache is not None
    layers = cache.layers._replace(keys=outputs.cache.keys, values=outputs.cache.values)
    return x_BLD, cache._replace(layers=layers)
