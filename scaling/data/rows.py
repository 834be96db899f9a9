"""Rows of tokens: documents packed one after another, and rows that an objective makes examples of."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from scaling.config.data import DataConfig, row_lengths
from scaling.config.objective import MaskedObjective, Objective
from scaling.data.store import TokenSplit
from scaling.data.tokenizers import Tokenizer
from scaling.objectives.build import build_objective, is_static
from scaling.objectives.draws import row_keys
from scaling.objectives.masked import SentencePairs
from scaling.objectives.specials import Specials
from scaling.runtime.errors import BadInputError

Batch = dict[str, np.ndarray]


class PackingShares(NamedTuple):
    """How well rows hold documents, over one epoch."""

    padding: float
    """Share of the positions that are padding."""
    split_documents: float
    """Share of the documents that are in more than one row."""


class Rows(Protocol):
    """What batches are made of: rows by number."""

    every_token_counts: bool
    """Whether each position of a row is a token of loss, so that a part of a row can be counted alone."""
    sequence_length: int
    """L, positions of `inputs`."""

    @property
    def shares(self) -> PackingShares | None:
        """Padding and split documents; None where an objective makes examples of the text."""
        ...

    @property
    def tokens(self) -> int:
        """Positions of `inputs` in all rows, padding not counted."""
        ...

    def __len__(self) -> int:
        """Rows of one epoch."""
        ...

    @property
    def tokens_per_epoch(self) -> int:
        """Positions of `inputs` in one pass over the rows, padding not counted."""
        ...

    def take(self, indices_B: np.ndarray, numbers_B: np.ndarray | None = None) -> Batch:
        """The rows of these indices. Noise depends on `numbers_B`, places in the endless sequence."""
        ...


class PackedRows:
    """Rows of one split: row i reads tokens i*L up to (i+1)*L of the stream and predicts the next of each.

    The stream is the documents in a given order, each led by end-of-text, closed by one more end-of-text. So
    every token of the split is predicted exactly once, except that the stream's first end-of-text is not
    and its closing one is: T predictions for T tokens. The target of a document's last token is the next
    end-of-text: the model learns where documents stop.

    Rows come as dicts of (B, L) arrays: `inputs`, `targets` int32; with `mask_documents` also `segment_ids`
    int32 (1, 2, ... over the documents of the row) and `positions` int32 (distance from the document's
    start, or from the row's start where the document began before it); with `pad` also `weights` float32,
    0 on padding. Padding has input and target end-of-text, segment 0 and position 0.
    """

    def __init__(
        self,
        split: TokenSplit,
        order_D: np.ndarray,
        sequence_length: int,
        *,
        mask_documents: bool,
        pad: bool,
    ) -> None:
        """`pad` fills up the last row; without it the remainder, less than a row, is left out."""
        self.every_token_counts = True
        self._ids = split.ids
        self._mask_documents = mask_documents
        self._pad = pad
        self.sequence_length = sequence_length
        self.tokens = split.tokens
        """T."""
        lengths_D = np.diff(split.offsets)[order_D]
        ends_D = np.cumsum(lengths_D)
        # Where each document starts in the stream, and the offset from there to its place in the store. One
        # more "document" represents everything after the end, which is handled separately.
        far = self.tokens + 2 * sequence_length
        self._starts = np.concatenate([[0], ends_D, [far]]).astype(np.int64)
        self._shifts = np.append(split.offsets[:-1][order_D] - self._starts[:-2], 0)
        full, rest = divmod(self.tokens, sequence_length)
        self._count = full + (1 if pad and rest else 0)
        last = min(self.tokens, self._count * sequence_length)
        self.shares = PackingShares(
            padding=0.0 if not self._count else 1 - last / (self._count * sequence_length),
            split_documents=float(
                np.mean((ends_D - 1) // sequence_length > self._starts[:-2] // sequence_length)
            ),
        )

    def __len__(self) -> int:
        return self._count

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens predicted in one pass over the rows, padding not counted."""
        return min(self.tokens, self._count * self.sequence_length)

    def __getitem__(self, index: int) -> Batch:
        """One row, (L,) arrays."""
        return {key: value[0] for key, value in self.take(np.array([index])).items()}

    def take(self, indices_B: np.ndarray, numbers_B: np.ndarray | None = None) -> Batch:
        """The rows of these indices, (B, L) arrays. Raises IndexError for an index without a row."""
        if len(indices_B) and (indices_B.min() < 0 or indices_B.max() >= self._count):
            raise IndexError(f"rows {indices_B} of {self._count}")
        B, L = len(indices_B), self.sequence_length
        begins_B = indices_B.astype(np.int64) * L
        # The pieces of documents that rows are made of, S in all, one row after another. A row is read one
        # token further than its inputs: that is the last target.
        first_B = np.searchsorted(self._starts, begins_B, side="right") - 1
        last_B = np.searchsorted(self._starts, begins_B + L, side="right") - 1
        pieces_B = last_B - first_B + 1
        number_S = np.arange(pieces_B.sum()) - np.repeat(np.cumsum(pieces_B) - pieces_B, pieces_B)
        document_S = number_S + np.repeat(first_B, pieces_B)
        row_begin_S = np.repeat(begins_B, pieces_B)
        start_S = np.maximum(self._starts[document_S], row_begin_S)
        length_S = np.minimum(self._starts[document_S + 1], row_begin_S + (L + 1)) - start_S

        stream_BM = begins_B[:, None] + np.arange(L + 1)  # M = L + 1, places in the stream
        stored_BM = stream_BM + np.repeat(self._shifts[document_S], length_S).reshape(B, L + 1)
        beyond_BM = stream_BM >= self.tokens if last_B.max(initial=0) == len(self._starts) - 2 else None
        if beyond_BM is not None:
            stored_BM[beyond_BM] = 0  # a document starts there, so it holds end-of-text
        window_BM = self._ids[stored_BM].astype(np.int32)
        batch = {"inputs": window_BM[:, :-1].copy(), "targets": window_BM[:, 1:].copy()}
        if self._mask_documents:
            segments_BM = np.repeat(number_S + 1, length_S).reshape(B, L + 1)
            positions_BM = stream_BM - np.repeat(start_S, length_S).reshape(B, L + 1)
            if beyond_BM is not None:
                segments_BM[beyond_BM] = 0
                positions_BM[beyond_BM] = 0
            batch["segment_ids"] = segments_BM[:, :-1].astype(np.int32)
            batch["positions"] = positions_BM[:, :-1].astype(np.int32)
        if self._pad:
            batch["weights"] = (stream_BM[:, :-1] < self.tokens).astype(np.float32)
        return batch


class ObjectiveRows:
    """Rows of text, each made into an example by its own noise.

    A row's noise depends on the seed and on its number in the endless sequence of rows, or on its index if
    the objective is static: never on the batch, the host or a restart. Rows are not padded: a split's last,
    incomplete window is left out.
    """

    every_token_counts = False
    shares = None

    def __init__(
        self,
        split: TokenSplit,
        order_D: np.ndarray,
        config: DataConfig,
        objective: Objective,
        specials: Specials,
        tokenizer: Tokenizer,
        *,
        seed: int,
    ) -> None:
        """`seed` is of 64 bits, from `mix_seed`.

        Raises:
          BadInputError: the split is shorter than one row, or has too few documents for pairs of segments.
        """
        self.sequence_length = L = config.sequence_length
        self._seed, self._static = seed, is_static(objective)
        lengths = row_lengths(objective, L)
        self._text: Callable[[np.ndarray, np.ndarray], Batch]
        if isinstance(objective, MaskedObjective) and objective.sentences != "none":
            starts_D, lengths_D = split.offsets[:-1][order_D] + 1, np.diff(split.offsets)[order_D] - 1
            pairs = SentencePairs(
                split.ids,
                starts_D,
                lengths_D,
                L,
                specials,
                kind=objective.sentences,
                short=objective.short,
            )
            self._text, self._count = pairs.take, len(pairs)
        else:
            mask = config.mask_documents and lengths.target is None
            rows = PackedRows(split, order_D, lengths.window, mask_documents=mask, pad=False)
            self._text, self._count = rows.take, len(rows)
        if self._count == 0:
            raise BadInputError(
                f"data.sequence_length={L}: objective {objective.name} reads {lengths.window} tokens per "
                f"row, and one side of the split has only {split.tokens}; shorten it, give data.source more "
                "text, or change data.validation_fraction"
            )
        words = tokenizer.word_flags() if isinstance(objective, MaskedObjective) else None
        self._make = build_objective(objective, L, specials, tokenizer.byte_lengths() > 0, words)

    def __len__(self) -> int:
        return self._count

    @property
    def tokens(self) -> int:
        """Positions of `inputs` in all rows."""
        return self._count * self.sequence_length

    @property
    def tokens_per_epoch(self) -> int:
        """Positions of `inputs` in one pass over the rows."""
        return self.tokens

    def take(self, indices_B: np.ndarray, numbers_B: np.ndarray | None = None) -> Batch:
        """The rows of these indices, at these places in the endless sequence (by default, in the first
        epoch).

        Raises IndexError for an index without a row.
        """
        numbers_B = indices_B if numbers_B is None or self._static else numbers_B
        keys_B = row_keys(self._seed, numbers_B)
        return self._make(self._text(indices_B, keys_B), keys_B)
