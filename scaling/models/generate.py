"""Generation over a cache of keys and values: greedy, temperature, top-k, top-p and beam search.

A prompt and one new token are the same call, `extend`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling.models.decoder import Decoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.language_model import LanguageModel, logits
from scaling.models.layers import LayerCache, LayerInputs
from scaling.runtime.errors import BadInputError

_MASKED = -1e30


class Cache(NamedTuple):
    """Keys and values of all layers, (N, B, M, K, E), and which tokens of an encoder-decoder's source are
    real.

    Keys past the end of a sequence are not attended to.
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


class Sampling(NamedTuple):
    """How the next token is drawn. `temperature` 0 is greedy; `top_k` and `top_p` cut the tail first."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def check(self) -> "Sampling":
        """Return itself if it is valid.

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


def sample(logits_BV: jax.Array, sampling: Sampling, key: jax.Array) -> jax.Array:
    """One token per row, (B,) int32. Top-p keeps the fewest tokens that reach p (Holtzman et al. 2020)."""
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


class _Begun(NamedTuple):
    """A batch of sequences about to be continued."""

    cache: Cache
    x_B1D: jax.Array  # what the head multiplies at the last token so far
    positions_B: jax.Array  # where the next token goes


def _begin(
    model: Decoder | EncoderDecoder, prompts_BL: jax.Array, lengths_B: jax.Array, start: int, new_tokens: int
) -> _Begun:
    """Process the prompts: a decoder continues them, an encoder-decoder reads them as sources of a target
    that begins with `start`. Prompts are padded to the right."""
    B, L = prompts_BL.shape
    if isinstance(model, Decoder):
        cache = empty_cache(model, B, L + new_tokens)
        x_BLD, cache = extend(model, cache, prompts_BL, jnp.broadcast_to(jnp.arange(L), (B, L)))
        x_B1D = jnp.take_along_axis(x_BLD, (lengths_B - 1)[:, None, None], axis=1)
        return _Begun(cache, x_B1D, lengths_B)
    cache = source_cache(model, prompts_BL, jnp.arange(L) < lengths_B[:, None], new_tokens + 1)
    x_B1D, cache = extend(model, cache, jnp.full((B, 1), start, jnp.int32), jnp.zeros((B, 1), jnp.int32))
    return _Begun(cache, x_B1D, jnp.ones((B,), jnp.int32))


@partial(jax.jit, static_argnames=("new_tokens", "sampling", "start", "stops", "writable"))
def _sample(
    model: Decoder | EncoderDecoder,
    prompts_BL: jax.Array,
    lengths_B: jax.Array,
    key: jax.Array,
    new_tokens: int,
    sampling: Sampling,
    start: int,
    stops: tuple[int, ...],
    writable: int | None,
) -> jax.Array:
    def body(carry: tuple[_Begun, jax.Array], step: jax.Array) -> tuple[tuple[_Begun, jax.Array], jax.Array]:
        (cache, x_B1D, position_B), done_B = carry
        token_B = sample(logits(model, x_B1D)[:, 0, :writable], sampling, jax.random.fold_in(key, step))
        if stops:
            token_B = jnp.where(done_B, stops[0], token_B)
            done_B = done_B | jnp.isin(token_B, jnp.array(stops))
        x_B1D, cache = extend(model, cache, token_B[:, None], position_B[:, None])
        return (_Begun(cache, x_B1D, position_B + 1), done_B), token_B

    begun = _begin(model, prompts_BL, lengths_B, start, new_tokens)
    done_B = jnp.zeros((prompts_BL.shape[0],), bool)
    return jax.lax.scan(body, (begun, done_B), jnp.arange(new_tokens))[1].T


class Beams(NamedTuple):
    """Beam search: `width` continuations are kept at every step. A finished one of n tokens scores
    log p / ((5 + n) / 6) ** `length_penalty` (Wu et al. 2016, arXiv:1609.08144, equation 14)."""

    width: int = 4
    length_penalty: float = 0.6

    def check(self) -> "Beams":
        """Return itself if it is valid.

        Raises:
            BadInputError: names the setting and what would be accepted.
        """
        if self.width < 1:
            raise BadInputError(f"beams={self.width}: give at least 1")
        if self.length_penalty < 0:
            raise BadInputError(f"length-penalty={self.length_penalty}: give 0 or more")
        return self


class _Search(NamedTuple):
    """Beams still open (rows W apart share a prompt) and the best that have ended."""

    begun: _Begun  # of B x W rows
    tokens_BWT: jax.Array
    logp_BW: jax.Array
    ended_BWT: jax.Array
    ended_scores_BW: jax.Array


@partial(jax.jit, static_argnames=("new_tokens", "beams", "start", "stops", "writable"))
def _search(
    model: Decoder | EncoderDecoder,
    prompts_BL: jax.Array,
    lengths_B: jax.Array,
    new_tokens: int,
    beams: Beams,
    start: int,
    stops: tuple[int, ...],
    writable: int | None,
) -> tuple[jax.Array, jax.Array]:
    """The best continuation of each prompt, (B, T) filled up with the first of `stops`, and its
    score."""
    B, W, T, V = prompts_BL.shape[0], beams.width, new_tokens, writable or model.config.vocab_size
    begun = _begin(model, prompts_BL, lengths_B, start, new_tokens)
    ends = jnp.array(stops)
    rows = jnp.repeat(jnp.arange(B), W)
    begun = _Begun(begun.cache.of_rows(rows), begun.x_B1D[rows], begun.positions_B[rows])
    search = _Search(
        begun,
        tokens_BWT=jnp.full((B, W, T), stops[0], jnp.int32),
        logp_BW=jnp.full((B, W), _MASKED).at[:, 0].set(0.0),  # at first all beams are equal
        ended_BWT=jnp.full((B, W, T), stops[0], jnp.int32),
        ended_scores_BW=jnp.full((B, W), _MASKED),
    )

    def penalty(length: jax.Array) -> jax.Array:
        return ((5.0 + length) / 6.0) ** beams.length_penalty

    def body(search: _Search, step: jax.Array) -> tuple[_Search, None]:
        cache, x_RD, positions_R = search.begun
        logp_BWV = jax.nn.log_softmax(logits(model, x_RD)[:, 0, :writable]).reshape(B, W, V)
        logp_BWV = logp_BWV + search.logp_BW[:, :, None]
        # Every beam may end here, and competes with those that ended before.
        scores_BW = logp_BWV[:, :, ends].max(axis=-1) / penalty(step + 1)
        all_scores = jnp.concatenate([search.ended_scores_BW, scores_BW], axis=1)
        all_tokens = jnp.concatenate([search.ended_BWT, search.tokens_BWT], axis=1)
        ended_scores_BW, best_BW = jax.lax.top_k(all_scores, W)
        ended_BWT = jnp.take_along_axis(all_tokens, best_BW[:, :, None], axis=1)
        # The others continue.
        open_logp = logp_BWV.at[:, :, ends].set(_MASKED).reshape(B, W * V)
        logp_BW, picked_BW = jax.lax.top_k(open_logp, W)
        from_BW, token_BW = picked_BW // V, (picked_BW % V).astype(jnp.int32)
        tokens_BWT = jnp.take_along_axis(search.tokens_BWT, from_BW[:, :, None], axis=1)
        tokens_BWT = tokens_BWT.at[:, :, step].set(token_BW)
        rows_R = (jnp.arange(B)[:, None] * W + from_BW).reshape(-1)
        x_RD, cache = extend(
            model, cache.of_rows(rows_R), token_BW.reshape(-1, 1), positions_R[rows_R][:, None]
        )
        begun = _Begun(cache, x_RD, positions_R[rows_R] + 1)
        return _Search(begun, tokens_BWT, logp_BW, ended_BWT, ended_scores_BW), None

    search = jax.lax.scan(body, search, jnp.arange(T))[0]
    # A beam that is still open after the last token is scored as it is.
    scores = jnp.concatenate([search.ended_scores_BW, search.logp_BW / penalty(jnp.array(T))], axis=1)
    tokens = jnp.concatenate([search.ended_BWT, search.tokens_BWT], axis=1)
    best_B = jnp.argmax(scores, axis=1)
    rows = jnp.arange(B)
    return tokens[rows, best_B], scores[rows, best_B]


def generate(
    model: LanguageModel,
    prompts: list[list[int]],
    *,
    new_tokens: int,
    sampling: Sampling | Beams = Sampling(),  # noqa: B008 (immutable)
    seed: int = 0,
    start: int = 0,
    stops: tuple[int, ...] = (),
    writable: int | None = None,
) -> list[list[int]]:
    """Continue each prompt by `new_tokens` tokens, or up to and without the first of `stops`.

    Only ids below `writable` are chosen, None is all of the vocabulary: a model may have more ids than its
    tokenizer has text for.

    An encoder-decoder reads each prompt as a source and writes a target that begins with `start`. Prompts
    may differ in length: shorter ones are padded to the right, and no token attends to the padding.

    Raises:
        BadInputError: a model that cannot generate, an empty prompt, a token outside the vocabulary, more
            tokens than the model has positions for, beams without `stops`.
    """
    if not isinstance(model, Decoder | EncoderDecoder):
        family = model.config.family
        raise BadInputError(f"family={family}: only decoders and encoder-decoders generate text")
    config = model.config
    lengths = [len(prompt) for prompt in prompts]
    if not prompts or min(lengths) == 0:
        raise BadInputError("a prompt is empty: give at least one token")
    if new_tokens < 1:
        raise BadInputError(f"new tokens: {new_tokens} is not a positive number")
    if isinstance(model, Decoder):
        if max(lengths) + new_tokens > config.max_length:
            raise BadInputError(
                f"a prompt of {max(lengths)} tokens and {new_tokens} new ones need "
                f"{max(lengths) + new_tokens} positions; the model has {config.max_length}"
            )
    elif max(*lengths, new_tokens) > config.max_length:
        raise BadInputError(
            f"a source of {max(lengths)} tokens and {new_tokens} new ones: the model has "
            f"{config.max_length} positions on each side"
        )
    if not all(0 <= token < config.vocab_size for prompt in prompts for token in prompt):
        raise BadInputError(f"a prompt holds a token outside the vocabulary (0 to {config.vocab_size - 1})")
    padded = np.zeros((len(prompts), max(lengths)), np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = prompt
    given = (model, jnp.asarray(padded), jnp.asarray(lengths))
    sampling = sampling.check()
    if isinstance(sampling, Beams):
        if not stops:
            raise BadInputError("beam search needs a token that ends a text")
        found = _search(
            *given, new_tokens=new_tokens, beams=sampling, start=start, stops=stops, writable=writable
        )[0]
    else:
        key = jax.random.key(seed)
        found = _sample(
            *given,
            key=key,
            new_tokens=new_tokens,
            sampling=sampling,
            start=start,
            stops=stops,
            writable=writable,
        )
    out: list[list[int]] = np.asarray(found).tolist()
    return [until(row, stops) for row in out]


def until(ids: list[int], stops: tuple[int, ...]) -> list[int]:
    """Ids up to and without the first that is one of `stops`."""
    return next((ids[:i] for i, token in enumerate(ids) if token in stops), ids)
