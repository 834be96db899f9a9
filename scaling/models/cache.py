"""Decoding with a cache of keys and values: a prompt and one new token are the same call."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from scaling.models.decoder import Decoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.layers import Attention
from scaling.models.positions import relative_bias_at
from scaling.models.stack import Around, Layer, layer_kinds, run_layers

_MASKED = -1e30


class Source(NamedTuple):
    """What an encoder-decoder's decoder reads of its source: keys and values of every layer."""

    keys_NBMKE: jax.Array
    values_NBMKE: jax.Array
    real_BM: jax.Array  # false on padding


class Cache(NamedTuple):
    """Keys and values of every layer, (N, B, M, K, E); rows past a sequence's end are not looked at."""

    keys_NBMKE: jax.Array
    values_NBMKE: jax.Array
    source: Source | None

    def of_rows(self, rows_B: jax.Array) -> "Cache":
        """The cache of these rows of the batch, in this order."""
        source = self.source
        if source is not None:
            source = Source(
                source.keys_NBMKE[:, rows_B], source.values_NBMKE[:, rows_B], source.real_BM[rows_B]
            )
        return Cache(self.keys_NBMKE[:, rows_B], self.values_NBMKE[:, rows_B], source)


def empty_cache(model: Decoder, batch: int, length: int) -> Cache:
    """A decoder's cache for `batch` sequences of up to `length` tokens."""
    config = model.config
    heads = config.n_kv_heads or config.n_heads
    zeros = jnp.zeros((config.n_layers, batch, length, heads, config.d_head), config.compute_dtype)
    return Cache(zeros, zeros, None)


def source_cache(model: EncoderDecoder, sources_BM: jax.Array, real_BM: jax.Array, length: int) -> Cache:
    """The cache of sources (B, M), `real_BM` false on their padding, for up to `length` tokens of target."""
    config = model.config
    memory_BMD = model.encode(sources_BM, segment_ids_BL=real_BM.astype(jnp.int32))
    cross = model.decoder.layers.cross_attention
    assert cross is not None
    keys, values = jax.lax.map(lambda one: one.keys_and_values(memory_BMD), cross)
    shape = (config.decoder_layers, sources_BM.shape[0], length, config.n_heads, config.d_head)
    zeros = jnp.zeros(shape, config.compute_dtype)
    return Cache(zeros, zeros, Source(keys, values, real_BM))


def cached_attention(
    q_BLHE: jax.Array,
    keys_BMKE: jax.Array,
    values_BMKE: jax.Array,
    seen_BLM: jax.Array,
    scale: float | None,
    bias_BHLM: jax.Array | None = None,
) -> jax.Array:
    """Attention over cached keys, softmax in float32; `seen_BLM` (or (B, 1, M)) says which are looked at."""
    B, L, H, E = q_BLHE.shape
    K = keys_BMKE.shape[2]
    q_BLKGE = q_BLHE.reshape(B, L, K, H // K, E)
    scores = jnp.einsum("BLKGE,BMKE->BKGLM", q_BLKGE, keys_BMKE, preferred_element_type=jnp.float32)
    scores = scores * (E**-0.5 if scale is None else scale)
    if bias_BHLM is not None:
        scores += bias_BHLM.reshape(bias_BHLM.shape[0], K, H // K, *bias_BHLM.shape[2:])
    scores = jnp.where(seen_BLM[:, None, None], scores, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(values_BMKE.dtype)
    return jnp.einsum("BKGLM,BMKE->BLKGE", weights, values_BMKE).reshape(B, L, H, E)


def extend(
    model: Decoder | EncoderDecoder, cache: Cache, tokens_BL: jax.Array, positions_BL: jax.Array
) -> tuple[jax.Array, Cache]:
    """Run `tokens_BL` at `positions_BL` on top of the cache: what the head multiplies, (B, L, D), and the
    longer cache.

    A row's positions must be consecutive.
    """
    write = jax.vmap(partial(jax.lax.dynamic_update_slice_in_dim, axis=0))
    start_B = positions_BL[:, 0]
    M = cache.keys_NBMKE.shape[2]
    distance_BLM = positions_BL[:, :, None] - jnp.arange(M)
    seen = {"dense": distance_BLM >= 0}
    pattern: tuple[str, ...] = ("dense",)
    bias_BHLM = None
    if isinstance(model, Decoder):
        layers, count, scale = model.layers, model.config.n_layers, model.config.score_scale
        pattern, band = model.config.layer_pattern, model.config.band_width
        if band is not None:
            seen["banded"] = seen["dense"] & (distance_BLM < band)
    else:
        layers, count, scale = model.decoder.layers, model.config.decoder_layers, model.scale
        if (table := model.decoder.relative_bias) is not None:
            bias_BHLM = relative_bias_at(table, positions_BL, M, model.config.relative_max_distance)

    def apply(
        kind: str | jax.Array, layer: Layer, x_BLD: jax.Array, own: tuple[jax.Array, ...], _: Around
    ) -> tuple[jax.Array, Any]:
        written: list[tuple[jax.Array, jax.Array]] = []

        def attend(q_BLHE: jax.Array, k_BLKE: jax.Array, v_BLKE: jax.Array) -> jax.Array:
            keys, values = write(own[0], k_BLKE, start_B), write(own[1], v_BLKE, start_B)
            written.append((keys, values))
            branches = [
                partial(cached_attention, seen_BLM=seen[name], scale=scale, bias_BHLM=bias_BHLM)
                for name in layer_kinds(pattern)
            ]
            if isinstance(kind, str):
                return branches[layer_kinds(pattern).index(kind)](q_BLHE, keys, values)
            return jax.lax.switch(kind, branches, q_BLHE, keys, values)

        def across(cross: Attention, x_BLD: jax.Array) -> jax.Array:
            assert cache.source is not None
            look = partial(cached_attention, seen_BLM=cache.source.real_BM[:, None], scale=scale)
            return cross.across(x_BLD, (own[2], own[3]), look)

        turned = model.turned(attend, positions_BL) if isinstance(model, Decoder) else attend
        return layer(x_BLD, turned, across=across)[0], written[0]

    x_BLD = model.embed(tokens_BL, positions_BL)
    of_source = () if cache.source is None else (cache.source.keys_NBMKE, cache.source.values_NBMKE)
    owned = (cache.keys_NBMKE, cache.values_NBMKE, *of_source)
    x_BLD, (keys, values) = run_layers(
        model.config, apply, layers, x_BLD, owned, count=count, pattern=pattern
    )
    if isinstance(model, Decoder):
        return model.finish(x_BLD), Cache(keys, values, None)
    return model.before_head(model.decoder.finish(x_BLD)), Cache(keys, values, cache.source)
