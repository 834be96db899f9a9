"""The compiled programs of inference: read shared prefixes, read the rest, score answers, generate.

All call `scaling.models.generate.extend`. The last token of a context is read with the answer and not with
the context, because it predicts the answer's first token. Rows are padded to the right; entries past a row's
end are overwritten by later tokens and never attended to.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from scaling.models.decoder import Decoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.generate import Cache, Sampling, empty_cache, extend, sample, source_cache
from scaling.models.language_model import logits
from scaling.parallel.mesh import placed

Model = Decoder | EncoderDecoder


class Programs:
    """The programs of one mesh. A new array shape compiles once; models with one config share them."""

    def __init__(self, mesh: Mesh) -> None:
        def on_mesh(function: Callable[..., Any]) -> Callable[..., Any]:
            def traced(*args: Any, **kwargs: Any) -> Any:
                with placed(mesh):
                    return function(*args, **kwargs)

            return traced

        self.read_prefix = jax.jit(on_mesh(read_prefix), static_argnames="length")
        self.read_rest = jax.jit(on_mesh(read_rest), static_argnames="rows")
        self.read_sources = jax.jit(on_mesh(read_sources), static_argnames="length")
        self.of_rows = jax.jit(on_mesh(Cache.of_rows))
        self.keys = jax.jit(keys)
        self.score_answers = jax.jit(on_mesh(score_answers), static_argnames="writable")
        self.generate = jax.jit(on_mesh(generate), static_argnames=("count", "sampling", "writable"))


@lru_cache(maxsize=8)
def programs_on(mesh: Mesh) -> Programs:
    """The programs of a mesh, cached: the next model of the same shape compiles nothing."""
    return Programs(mesh)


def keys(seed: jax.Array, items_B: jax.Array, samples_B: jax.Array) -> jax.Array:
    """A PRNG key for each row, from the numbers of its item and of its sample."""
    of_item = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(items_B)
    return jax.vmap(jax.random.fold_in)(of_item, samples_B)


def read_prefix(model: Decoder, tokens_1L: jax.Array, length: int) -> Cache:
    """The cache of one sequence, with room for `length` tokens; empty for tokens of shape (1, 0)."""
    cache = empty_cache(model, 1, length)
    if tokens_1L.shape[1] == 0:
        return cache
    return extend(model, cache, tokens_1L, jnp.arange(tokens_1L.shape[1])[None])[1]


def read_rest(model: Decoder, prefix: Cache, tokens_BL: jax.Array, start: jax.Array, rows: int) -> Cache:
    """The cache of `rows` sequences: the prefix's `start` tokens followed by tokens of their own."""
    cache = prefix.of_rows(jnp.zeros((rows,), jnp.int32))
    positions_BL = jnp.broadcast_to(start + jnp.arange(tokens_BL.shape[1]), tokens_BL.shape)
    return extend(model, cache, tokens_BL, positions_BL)[1]


def read_sources(model: EncoderDecoder, sources_BM: jax.Array, lengths_B: jax.Array, length: int) -> Cache:
    """The cache of encoder sources, with room for `length` target tokens each."""
    real_BM = jnp.arange(sources_BM.shape[1]) < lengths_B[:, None]
    return source_cache(model, sources_BM, real_BM, length)


def score_answers(
    model: Model,
    cache: Cache,
    rows_B: jax.Array | None,
    tokens_BL: jax.Array,
    starts_B: jax.Array,
    targets_BL: jax.Array,
    writable: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities (B, L) of the targets in nats, and whether each is the likeliest `writable` token.

    Row i continues row `rows_B[i]` of the cache, or row i if `rows_B` is None, which spares a copy. Its first
    token is at position `starts_B[i]`.
    """
    positions_BL = starts_B[:, None] + jnp.arange(tokens_BL.shape[1])
    if rows_B is not None:
        cache = cache.of_rows(rows_B)
    logits_BLV = logits(model, extend(model, cache, tokens_BL, positions_BL)[0])
    chosen_BL = jnp.take_along_axis(logits_BLV, targets_BL[..., None], axis=-1)[..., 0]
    log_probs_BL = chosen_BL - jax.nn.logsumexp(logits_BLV, axis=-1)
    return log_probs_BL, jnp.argmax(logits_BLV[..., :writable], axis=-1) == targets_BL


def generate(
    model: Model,
    cache: Cache,
    token_B: jax.Array,
    position_B: jax.Array,
    keys_B: jax.Array,
    count: int,
    sampling: Sampling,
    writable: int | None = None,
) -> tuple[jax.Array, Cache]:
    """`count` tokens (B, count) after `token_B`, which is at `position_B` and not in the cache yet.

    Each token is below `writable`. Each row samples with its own key and position, so that it does not depend
    on its neighbours.
    """
    draw = jax.vmap(lambda logits_V, key: sample(logits_V[None, :writable], sampling, key)[0])

    def body(carry: tuple[Cache, jax.Array, jax.Array], _: None) -> tuple[Any, jax.Array]:
        cache, token_B, position_B = carry
        x_B1D, cache = extend(model, cache, token_B[:, None], position_B[:, None])
        token_B = draw(logits(model, x_B1D)[:, 0], jax.vmap(jax.random.fold_in)(keys_B, position_B))
        return (cache, token_B, position_B + 1), token_B

    (cache, _, _), tokens_TB = jax.lax.scan(body, (cache, token_B, position_B), None, length=count)
    return tokens_TB.T, cache
