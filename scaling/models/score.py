"""Log-probabilities and logits of given ids, by a model of any family."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scaling.config.model import ModelConfig
from scaling.models.language_model import Batch, logits
from scaling.runtime.errors import BadInputError

Rows = Sequence[Sequence[int]]

_LOGITS_AT_ONCE = 2**26  # numbers of a batch's logits, 256 MiB of float32


@dataclass(frozen=True)
class RowScores:
    """The scores of rows of ids.

    `tokens` and `log_probs` (nats) correspond, row by row: for a decoder the ids after the first, each given
    those before it; for an encoder every id, scored at its own position with nothing masked; for an
    encoder-decoder the decoder ids after the first, each given the ids and those before it. `logits_BLV` is
    float32, zero where a row is shorter than the longest.
    """

    tokens: list[list[int]]
    log_probs: list[list[float]]
    logits_BLV: np.ndarray | None

    def inner(self, before: int, after: int) -> "RowScores":
        """The same rows without the scores of their first and last tokens; logits are kept of all."""

        def cut(rows: list[Any]) -> list[Any]:
            return [row[before : len(row) - after] for row in rows]

        return RowScores(cut(self.tokens), cut(self.log_probs), self.logits_BLV)


def score(model: Any, ids: Rows, decoder_ids: Rows | None = None, *, keep_logits: bool = False) -> RowScores:
    """Score rows of ids, of different lengths or not.

    Args:
        model: a `LanguageModel`.
        ids: the rows that an encoder or a decoder reads.
        decoder_ids: the rows that the decoder of an encoder-decoder reads, its start id first.
        keep_logits: keep logits (B, L, V) at `ids`, or (B, T, V) at `decoder_ids`.

    Raises:
        BadInputError: rows that are empty, too long, outside the vocabulary or not of the model's family.
    """
    config = model.config
    check(config, ids, decoder_ids)
    scored = ids if decoder_ids is None else decoder_ids
    B, L, V = len(scored), max(map(len, scored)), config.vocab_size
    M = max(map(len, ids))
    logits_BLV = np.zeros((B, L, V), np.float32) if keep_logits else None
    rows = max(1, min(B, _LOGITS_AT_ONCE // (L * V)))
    own = config.bidirectional  # an encoder scores each id at its own position
    tokens = [list(row if own else row[1:]) for row in scored]
    log_probs: list[list[float]] = []
    for start in range(0, B, rows):
        some = slice(start, start + rows)
        batch = _batch(ids[some], M)
        if decoder_ids is not None:
            batch["decoder_inputs"] = _padded(decoder_ids[some], L)
        targets_BL = _padded(tokens[some], L)
        log_probs_BL, some_BLV = _score(model, batch, targets_BL, keep_logits=keep_logits)
        for i, row in enumerate(tokens[some]):
            log_probs.append(np.asarray(log_probs_BL[i, : len(row)], np.float64).tolist())
            if logits_BLV is not None:
                length = len(scored[start + i])
                logits_BLV[start + i, :length] = some_BLV[i, :length]
    return RowScores(tokens, log_probs, logits_BLV)


def check(config: ModelConfig, ids: Rows, decoder_ids: Rows | None) -> None:
    """Refuse rows that a model cannot score.

    Raises:
        BadInputError: names the row, the value and what would be accepted.
    """
    pairs = config.two_sided
    if pairs != (decoder_ids is not None):
        wanted = "ids and decoder_ids" if pairs else "ids alone"
        raise BadInputError(f"model {config.name}: family={config.family} reads {wanted}")
    if not config.has_vocabulary_head:
        raise BadInputError(f"model {config.name}: mlm_head=false: it has no head over the vocabulary")
    if not ids:
        raise BadInputError("ids: there is no row")
    if decoder_ids is not None and len(decoder_ids) != len(ids):
        raise BadInputError(f"decoder_ids: {len(decoder_ids)} rows for {len(ids)} rows of ids")
    longest = config.most_positions
    for name, rows in (("ids", ids), ("decoder_ids", decoder_ids or ())):
        for i, row in enumerate(rows):
            if not row:
                raise BadInputError(f"{name}[{i}]: the row is empty")
            if longest is not None and len(row) > longest:
                raise BadInputError(
                    f"{name}[{i}]: {len(row)} ids, and the model has {longest} positions (max_length)"
                )
            for id_ in (min(row), max(row)):
                if not 0 <= id_ < config.vocab_size:
                    raise BadInputError(
                        f"{name}[{i}]: {id_} is outside the vocabulary (0 to {config.vocab_size - 1})"
                    )


def _padded(rows: Rows, length: int) -> jax.Array:
    out = np.zeros((len(rows), length), np.int32)
    for padded, row in zip(out, rows, strict=True):
        padded[: len(row)] = row
    return jnp.asarray(out)


def _batch(rows: Rows, length: int) -> Batch:
    """Rows padded to the right: padding is a segment of its own, which no token sees."""
    return {
        "inputs": _padded(rows, length),
        "segment_ids": _padded([[1] * len(row) for row in rows], length),
        "positions": jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (len(rows), length)),
    }


@partial(jax.jit, static_argnames="keep_logits")
def _score(
    model: Any, batch: Batch, targets_BL: jax.Array, keep_logits: bool
) -> tuple[jax.Array, jax.Array | None]:
    logits_BLV = logits(model, model.states(batch))
    chosen_BL = jnp.take_along_axis(logits_BLV, targets_BL[..., None], axis=-1)[..., 0]
    log_probs_BL = chosen_BL - jax.nn.logsumexp(logits_BLV, axis=-1)
    return log_probs_BL, logits_BLV if keep_logits else None
