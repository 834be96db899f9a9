"""Generation from a decoder with a key-value cache: greedy, temperature, top-k and top-p."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling.config.errors import BadInputError
from scaling.models.decoder import Decoder, Layer, unstack

_MASKED = -1e30


class Sampling(NamedTuple):
    """How the next token is drawn. `temperature` 0 is greedy; `top_k` and `top_p` cut the tail first."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def check(self) -> "Sampling":
        """Itself, if it makes sense.

        Raises:
            BadInputError: names the setting and what would be accepted.
        """
        if self.temperature < 0:
            raise BadInputError(f"temperature={self.temperature}: give 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise BadInputError(f"top-k={self.top_k}: give at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise BadInputError(f"top-p={self.top_p}: give a probability in (0, 1]")
        return self


class Cache(NamedTuple):
    """Keys and values of every layer, (N, B, M, H, E); rows past a sequence's end are not looked at."""

    keys_NBMHE: jax.Array
    values_NBMHE: jax.Array


def empty_cache(model: Decoder, batch: int, length: int) -> Cache:
    """A cache for `batch` sequences of up to `length` tokens."""
    config = model.config
    shape = (config.n_layers, batch, length, config.n_heads, config.d_head)
    zeros = jnp.zeros(shape, config.compute_dtype)
    return Cache(zeros, zeros)


def cached_attention(
    q_BLHE: jax.Array,
    keys_BMHE: jax.Array,
    values_BMHE: jax.Array,
    positions_BL: jax.Array,
    band: int | None,
) -> jax.Array:
    """Attention of queries at `positions_BL` over cached keys at positions 0 to M - 1, softmax in float32."""
    scores_BHLM = jnp.einsum("BLHE,BMHE->BHLM", q_BLHE, keys_BMHE, preferred_element_type=jnp.float32)
    distance_BLM = positions_BL[:, :, None] - jnp.arange(keys_BMHE.shape[1])
    seen_BLM = distance_BLM >= 0
    if band is not None:
        seen_BLM &= distance_BLM < band
    scores_BHLM = jnp.where(seen_BLM[:, None], scores_BHLM * q_BLHE.shape[-1] ** -0.5, _MASKED)
    weights_BHLM = jax.nn.softmax(scores_BHLM, axis=-1).astype(values_BMHE.dtype)
    return jnp.einsum("BHLM,BMHE->BLHE", weights_BHLM, values_BMHE)


def extend(
    model: Decoder, cache: Cache, tokens_BL: jax.Array, positions_BL: jax.Array
) -> tuple[jax.Array, Cache]:
    """Run `tokens_BL` at `positions_BL` on top of the cache: hidden states (B, L, D) and the longer cache.

    A prompt and a single new token are the same call. A row's positions must be consecutive.
    """
    config = model.config
    x_BLD = model.embed(tokens_BL, positions_BL)
    write = jax.vmap(partial(jax.lax.dynamic_update_slice_in_dim, axis=0))
    start_B = positions_BL[:, 0]

    def run(kind: str, layer: Layer, x_BLD: jax.Array, old: Cache) -> tuple[jax.Array, Cache]:
        new: list[Cache] = []

        def attend(q_BLHE: jax.Array, k_BLHE: jax.Array, v_BLHE: jax.Array) -> jax.Array:
            new.append(
                Cache(write(old.keys_NBMHE, k_BLHE, start_B), write(old.values_NBMHE, v_BLHE, start_B))
            )
            band = config.band_width if kind == "banded" else None
            return cached_attention(q_BLHE, *new[0], positions_BL, band)

        return layer(x_BLD, attend), new[0]

    size = len(config.layer_pattern)
    repeats = config.n_layers // size
    grouped = jax.tree.map(lambda leaf: leaf.reshape(repeats, size, *leaf.shape[1:]), (model.layers, cache))

    def body(x_BLD: jax.Array, group: tuple[Layer, Cache]) -> tuple[jax.Array, Cache]:
        written = []
        for kind, (layer, old) in zip(config.layer_pattern, unstack(group, size), strict=True):
            x_BLD, one = run(kind, layer, x_BLD, old)
            written.append(one)
        return x_BLD, jax.tree.map(lambda *parts: jnp.stack(parts), *written)

    x_BLD, caches = jax.lax.scan(body, x_BLD, grouped)
    flat = jax.tree.map(lambda leaf: leaf.reshape(config.n_layers, *leaf.shape[2:]), caches)
    return model.finish(x_BLD), flat


def sample(logits_BV: jax.Array, sampling: Sampling, key: jax.Array) -> jax.Array:
    """One token a row, (B,) int32. Top-p keeps the fewest tokens that reach p (Holtzman et al. 2020)."""
    if sampling.temperature == 0:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits_BV.shape[-1]:
        kth_B1 = jax.lax.top_k(logits_BV, sampling.top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV < kth_B1, _MASKED, logits_BV)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered_BV = jnp.sort(logits_BV, axis=-1)[:, ::-1]
        probabilities_BV = jax.nn.softmax(ordered_BV, axis=-1)
        before_BV = jnp.cumsum(probabilities_BV, axis=-1) - probabilities_BV
        last_B1 = jnp.sum(before_BV < sampling.top_p, axis=-1, keepdims=True) - 1
        cut_B1 = jnp.take_along_axis(ordered_BV, last_B1, axis=-1)
        logits_BV = jnp.where(logits_BV < cut_B1, _MASKED, logits_BV)
    return jax.random.categorical(key, logits_BV, axis=-1).astype(jnp.int32)


@partial(jax.jit, static_argnames=("new_tokens", "sampling", "stop"))
def _generate(
    model: Decoder,
    prompts_BL: jax.Array,
    lengths_B: jax.Array,
    key: jax.Array,
    new_tokens: int,
    sampling: Sampling,
    stop: int | None,
) -> jax.Array:
    B, L = prompts_BL.shape
    cache = empty_cache(model, B, L + new_tokens)
    positions_BL = jnp.broadcast_to(jnp.arange(L), (B, L))
    x_BLD, cache = extend(model, cache, prompts_BL, positions_BL)
    last_BD = jnp.take_along_axis(x_BLD, (lengths_B - 1)[:, None, None], axis=1)
    done_B = jnp.zeros((B,), bool)
    Carry = tuple[Cache, jax.Array, jax.Array, jax.Array]

    def body(carry: Carry, step: jax.Array) -> tuple[Carry, jax.Array]:
        cache, x_B1D, position_B, done_B = carry
        token_B = sample(model.logits(x_B1D)[:, 0], sampling, jax.random.fold_in(key, step))
        if stop is not None:
            token_B = jnp.where(done_B, stop, token_B)
            done_B = done_B | (token_B == stop)
        x_B1D, cache = extend(model, cache, token_B[:, None], position_B[:, None])
        return (cache, x_B1D, position_B + 1, done_B), token_B

    carry = (cache, last_BD, lengths_B, done_B)
    return jax.lax.scan(body, carry, jnp.arange(new_tokens))[1].T


def generate(
    model: Decoder,
    prompts: list[list[int]],
    *,
    new_tokens: int,
    sampling: Sampling = Sampling(),  # noqa: B008 (immutable)
    seed: int = 0,
    stop: int | None = None,
) -> list[list[int]]:
    """Continue each prompt by `new_tokens` tokens, or up to and without `stop`.

    Prompts may differ in length: a shorter one is padded to the right, and the padding is overwritten
    before any token looks at it.

    Raises:
        BadInputError: an empty prompt, a token outside the vocabulary, or more tokens than the model has
            positions for.
    """
    config = model.config
    lengths = [len(prompt) for prompt in prompts]
    if not prompts or min(lengths) == 0:
        raise BadInputError("a prompt is empty: give at least one token")
    if new_tokens < 1:
        raise BadInputError(f"new tokens: {new_tokens} is not a positive number")
    if max(lengths) + new_tokens > config.max_length:
        raise BadInputError(
            f"a prompt of {max(lengths)} tokens and {new_tokens} new ones need "
            f"{max(lengths) + new_tokens} positions; the model has {config.max_length}"
        )
    if not all(0 <= token < config.vocab_size for prompt in prompts for token in prompt):
        raise BadInputError(f"a prompt holds a token outside the vocabulary (0 to {config.vocab_size - 1})")
    padded = np.zeros((len(prompts), max(lengths)), np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = prompt
    out = np.asarray(
        _generate(
            model,
            jnp.asarray(padded),
            jnp.asarray(lengths),
            jax.random.key(seed),
            new_tokens=new_tokens,
            sampling=sampling.check(),
            stop=stop,
        )
    ).tolist()
    return out if stop is None else [row[: row.index(stop)] if stop in row else row for row in out]
