"""Validation sets: the first tokens of the held-out side of a corpus, in batches of one shape."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from scaling.data.rows import Batch, Rows


class ValidationBatches:
    """The first `tokens` positions of the validation rows, in batches of one fixed shape.

    Iterating gives the arrays of `scaling.config.data.batch_arrays`, B = batch_rows / host_count, and always
    float32 `weights` of the shape of `targets`, 0 where nothing counts: on padding, which fills up the last
    row and the last batch, and where the objective predicts nothing. `sentence_targets` are -1 on rows that
    fill up. Can be iterated any number of times. Causal rows count to the position, others to the row.

    `tokens` and `text_bytes` are totals over all hosts: with `nats` the weighted sum of losses over all
    batches and hosts, nats / tokens is the loss per token and nats / ln 2 / text_bytes is bits per byte of
    what is predicted.
    """

    def __init__(
        self,
        rows: Rows,
        batch_rows: int,
        *,
        byte_lengths: np.ndarray,
        bytes_scale: float = 1.0,
        tokens: int | None = None,
        host_index: int = 0,
        host_count: int = 1,
    ) -> None:
        """`tokens=None`, or more than there are, takes the complete split; `byte_lengths` is over any target.

        `bytes_scale` is the bytes of the original texts per byte of `byte_lengths`: 1 for a tokenizer that
        keeps texts as they are.

        Raises ValueError where the hosts do not divide the batch, or `tokens` or `batch_rows` is below 1.
        """
        if batch_rows < 1 or batch_rows % host_count or not 0 <= host_index < host_count:
            raise ValueError(f"host {host_index} of {host_count} has no equal share of {batch_rows} rows")
        if tokens is not None and tokens < 1:
            raise ValueError(f"a validation set needs at least one token, got {tokens}")
        self._rows = rows
        self._byte_lengths, self._bytes_scale = byte_lengths, bytes_scale
        self._share = batch_rows // host_count
        self._batch_rows = batch_rows
        self._host_index = host_index
        self._L = rows.sequence_length
        self._positions = rows.tokens if tokens is None else min(tokens, rows.tokens)

    @property
    def rows(self) -> int:
        """Rows that hold a prediction that counts, over all hosts."""
        return -(-self._positions // self._L)

    def __len__(self) -> int:
        return -(-self.rows // self._batch_rows)

    @property
    def tokens(self) -> int:
        """Targets that count, over all hosts: those of end-of-text included."""
        return self._positions if self._rows.every_token_counts else self._counted[0]

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the original text of the counted targets; special tokens have none."""
        return round(self._counted[1] * self._bytes_scale)

    @cached_property
    def _counted(self) -> tuple[int, int]:
        """Targets that count, and their bytes of text."""
        tokens = text_bytes = 0
        for begin in range(0, self.rows, self._batch_rows):
            batch = self._take(np.arange(begin, min(begin + self._batch_rows, self.rows)))
            counted = batch["targets"][batch["weights"] > 0]
            tokens += len(counted)
            text_bytes += int(self._byte_lengths[counted].sum(dtype=np.int64))
        return tokens, text_bytes

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            begin = number * self._batch_rows + self._host_index * self._share
            yield self._take(np.arange(begin, begin + self._share))

    def _take(self, indices_B: np.ndarray) -> Batch:
        # Past the end any row will do, as long as nothing in it counts.
        batch = self._rows.take(np.minimum(indices_B, self.rows - 1))
        if self._rows.every_token_counts:
            prediction_BL = indices_B[:, None] * self._L + np.arange(self._L)
            batch["weights"] = (prediction_BL < self._positions).astype(np.float32)
            return batch
        beyond_B = indices_B >= self.rows
        batch["weights"] = batch.get("weights", np.ones(batch["targets"].shape, np.float32))
        batch["weights"][beyond_B] = 0
        if "sentence_targets" in batch:
            batch["sentence_targets"][beyond_B] = -1
        return batch


class ValidationSet(NamedTuple):
    """The validation batches of one source. `name` is None for a corpus that is not a mixture; `weight` is
    the share of the source in the loss of the mixture."""

    name: str | None
    weight: float
    batches: ValidationBatches
