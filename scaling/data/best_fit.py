"""Best-fit packing: documents that fit a row are kept in one piece, and rows are filled up by padding.

Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv:2404.10830), section 3: documents
longer than a row are cut into rows; the rest and all other documents are packed by best-fit-decreasing, the
longest first, each into the row with the least room that it fits into.
"""

from bisect import bisect_left, insort

import numpy as np

from scaling.data.rows import Batch, PackingShares
from scaling.data.store import TokenSplit

WINDOW = 1 << 20  # documents that are packed together


class BestFitRows:
    """Rows of one split, each of complete documents or of pieces of documents longer than a row.

    Rows are dicts of (B, L) arrays as those of `PackedRows`, and always have float32 `weights`, 0 on the
    padding at their end: input and target end-of-text, segment 0 and position 0. The target of a document's
    last token is end-of-text, that of a piece's last token is the next token of the document: every token of
    the split is predicted once per epoch, as by `PackedRows`.

    Memory is about 20 bytes per document; packing itself works on `WINDOW` documents at a time.
    """

    every_token_counts = True

    def __init__(
        self,
        split: TokenSplit,
        order_D: np.ndarray,
        sequence_length: int,
        *,
        mask_documents: bool,
        window: int = WINDOW,
    ) -> None:
        self._ids, self._mask_documents = split.ids, mask_documents
        self.sequence_length = sequence_length
        self.tokens = split.tokens
        begins, lengths, pieces, split_documents = [], [], [], 0
        for at in range(0, len(order_D), window):
            documents = order_D[at : at + window]
            begins_D = split.offsets[documents]
            lengths_D = split.offsets[documents + 1] - begins_D
            split_documents += int(np.count_nonzero(lengths_D > sequence_length))
            begin_P, length_P, row_P = packed(begins_D, lengths_D, sequence_length)
            begins.append(begin_P)
            lengths.append(length_P.astype(np.int32))
            pieces.append(np.bincount(row_P))
        self._begin_P, self._length_P = np.concatenate(begins), np.concatenate(lengths)
        pieces_R = np.concatenate(pieces)
        self._first_R = np.cumsum(pieces_R) - pieces_R  # a row's first piece
        self._pieces_R = pieces_R
        self.shares = PackingShares(
            padding=1 - self.tokens / (len(pieces_R) * sequence_length),
            split_documents=split_documents / len(order_D),
        )

    def __len__(self) -> int:
        return len(self._pieces_R)

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens predicted in one pass over the rows, padding not counted."""
        return self.tokens

    def take(self, indices_B: np.ndarray, numbers_B: np.ndarray | None = None) -> Batch:
        """The rows of these indices, (B, L) arrays. Raises IndexError for an index without a row."""
        if len(indices_B) and (indices_B.min() < 0 or indices_B.max() >= len(self)):
            raise IndexError(f"rows {indices_B} of {len(self)}")
        B, L = len(indices_B), self.sequence_length
        pieces_B = self._pieces_R[indices_B]
        number_S = _counted(pieces_B)  # of a piece in its row
        piece_S = number_S + np.repeat(self._first_R[indices_B], pieces_B)
        length_S = self._length_P[piece_S].astype(np.int64)
        # Where each piece begins in the flat (B * L) arrays: after the earlier pieces of its row.
        row_S = np.repeat(np.arange(B), pieces_B)
        ends_S = np.cumsum(length_S)
        ends_B = ends_S[np.cumsum(pieces_B) - 1]
        row_begin_B = np.concatenate([[0], ends_B[:-1]])
        place_S = row_S * L + ends_S - length_S - row_begin_B[row_S]

        within_T = _counted(length_S)
        at_T = np.repeat(place_S, length_S) + within_T
        stored_T = np.repeat(self._begin_P[piece_S], length_S) + within_T
        end_of_text = int(self._ids[0:1][0])  # a document starts there
        inputs, targets = (np.full(B * L, end_of_text, np.int32) for _ in range(2))
        inputs[at_T] = self._ids[stored_T]
        next_T = stored_T + 1
        next_T[next_T == self.tokens] = 0
        targets[at_T] = self._ids[next_T]
        weights = np.zeros(B * L, np.float32)
        weights[at_T] = 1
        batch = {"inputs": inputs, "targets": targets, "weights": weights}
        if self._mask_documents:
            segments, positions = np.zeros((2, B * L), np.int32)
            segments[at_T] = np.repeat(number_S + 1, length_S)
            positions[at_T] = within_T
            batch |= {"segment_ids": segments, "positions": positions}
        return {name: array.reshape(B, L) for name, array in batch.items()}


def _counted(lengths_S: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each length, one after another."""
    ends_S = np.cumsum(lengths_S)
    return np.arange(ends_S[-1] if len(ends_S) else 0) - np.repeat(ends_S - lengths_S, lengths_S)


def packed(
    begins_D: np.ndarray, lengths_D: np.ndarray, sequence_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces of documents in the order of their rows: (begin, length, row) of each, (P,).

    Documents start at `begins_D` and are in the order that pieces of a row keep.
    """
    L = sequence_length
    full_D = lengths_D // L
    document_F = np.repeat(np.arange(len(lengths_D)), full_D)
    begin_F = begins_D[document_F] + L * _counted(full_D)
    rest_D = lengths_D - full_D * L
    with_rest = np.flatnonzero(rest_D)
    row_E = best_fit_decreasing(rest_D[with_rest], L) + len(begin_F)
    order_E = np.lexsort((with_rest, row_E))
    rests = with_rest[order_E]
    begin_E = begins_D[rests] + L * full_D[rests]
    return (
        np.concatenate([begin_F, begin_E]),
        np.concatenate([np.full(len(begin_F), L, np.int64), rest_D[rests]]),
        np.concatenate([np.arange(len(begin_F)), row_E[order_E]]),
    )


def best_fit_decreasing(lengths_I: np.ndarray, capacity: int) -> np.ndarray:
    """The bin (I,) of each item, of lengths 1 to `capacity`, by best-fit-decreasing.

    Items of one length are placed together, as many into a bin as fit: one after another, each of them would
    go into the bin that the one before it has just filled further. So the work in Python grows with the
    number of different lengths and not with the items.
    """
    bins_I = np.zeros(len(lengths_I), np.int64)
    order_I = np.argsort(-lengths_I, kind="stable")
    found, starts, counts = np.unique(-lengths_I[order_I], return_index=True, return_counts=True)
    room: dict[int, np.ndarray] = {}  # bins with so much room, in the order in which they are filled
    sizes: list[int] = []  # the keys of `room`, rising
    made = 0
    for length, start, count in zip((-found).tolist(), starts.tolist(), counts.tolist(), strict=True):
        items = order_I[start : start + count]
        while len(items):
            place = bisect_left(sizes, length)
            if place == len(sizes):
                bins = made + np.arange(-(-len(items) // (capacity // length)))
                made += len(bins)
                left = capacity
            else:
                left = sizes.pop(place)
                bins = room.pop(left)
            each = left // length
            full, rest = divmod(min(len(items), each * len(bins)), each)
            bins_I[items[: full * each]] = np.repeat(bins[:full], each)
            bins_I[items[full * each :][:rest]] = bins[full : full + (rest > 0)].repeat(rest)
            items = items[full * each + rest :]
            changed = (
                (left - each * length, bins[:full]),
                (left - rest * length, bins[full : full + (rest > 0)]),
                (left, bins[full + (rest > 0) :]),
            )
            for size, some in changed:
                if size and len(some):
                    if size in room:
                        room[size] = np.concatenate([room[size], some])
                    else:
                        room[size] = some
                        insort(sizes, size)
    return bins_I
