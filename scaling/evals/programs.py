"""The compiled parts of an evaluation: read what prompts share, read the rest, score answers, write.

All are calls of `scaling.models.cache.extend`. The last token of a context is not read with the context but
with the answer: what it predicts is the answer's first token. Rows are padded to the right; what lies past a
row's end is written over by what comes next, and never looked at.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from scaling.models.cache import Cache, empty_cache, extend, source_cache
from scaling.models.decoder import Decoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.generate import Sampling, sample
from scaling.models.language_model import logits
from scaling.parallel.rules import placed

Model = Decoder | EncoderDecoder


class Programs:
    """Compiled for one mesh; a new shape is a new program, and models of one config share them."""

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
        self.write = jax.jit(on_mesh(write), static_argnames=("count", "sampling", "writable"))


@lru_cache(maxsize=8)
def programs_on(mesh: Mesh) -> Programs:
    """The programs of a mesh, kept: the next model of the same shape compiles nothing."""
    return Programs(mesh)


def keys(seed: jax.Array, items_B: jax.Array, samples_B: jax.Array) -> jax.Array:
    """A PRNG key for each row, of its item and of which sample of the item it is."""
    of_item = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(items_B)
    return jax.vmap(jax.random.fold_in)(of_item, samples_B)


def read_prefix(model: Decoder, tokens_1L: jax.Array, length: int) -> Cache:
    """The cache of one sequence, with room for `length` tokens; of no tokens (1, 0) it is empty."""
    cache = empty_cache(model, 1, length)
    if tokens_1L.shape[1] == 0:
        return cache
    return extend(model, cache, tokens_1L, jnp.arange(tokens_1L.shape[1])[None])[1]


def read_rest(model: Decoder, prefix: Cache, tokens_BL: jax.Array, start: jax.Array, rows: int) -> Cache:
    """The caches of `rows` sequences that begin with the prefix's `start` tokens and go on with their own."""
    cache = prefix.of_rows(jnp.zeros((rows,), jnp.int32))
    positions_BL = jnp.broadcast_to(start + jnp.arange(tokens_BL.shape[1]), tokens_BL.shape)
    return extend(model, cache, tokens_BL, positions_BL)[1]


def read_sources(model: EncoderDecoder, sources_BM: jax.Array, lengths_B: jax.Array, length: int) -> Cache:
    """The caches of sources, each with room for `length` tokens of target."""
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
    """Log-probabilities (B, L) in nats of the targets, and whether each is the likeliest `writable` token.

    Row i goes on from row `rows_B[i]` of the cache, or from row i where that is None, which spares a copy;
    its first token stands at `starts_B[i]`.
    """
    positions_BL = starts_B[:, None] + jnp.arange(tokens_BL.shape[1])
    if rows_B is not None:
        cache = cache.of_rows(rows_B)
    logits_BLV = logits(model, extend(model, cache, tokens_BL, positions_BL)[0])
    chosen_BL = jnp.take_along_axis(logits_BLV, targets_BL[..., None], axis=-1)[..., 0]
    log_probs_BL = chosen_BL - jax.nn.logsumexp(logits_BLV, axis=-1)
    return log_probs_BL, jnp.argmax(logits_BLV[..., :writable], axis=-1) == targets_BL


def write(
    model: Model,
    cache: Cache,
    token_B: jax.Array,
    position_B: jax.Array,
    keys_B: jax.Array,
    count: int,
    sampling: Sampling,
    writable: int | None = None,
) -> tuple[jax.Array, Cache]:
    """`count` tokens (B, count) after `token_B`, which stands at `position_B` and is not read yet.

    Each token is below `writable`. Each row draws by its own key and position: what it says does not depend
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
