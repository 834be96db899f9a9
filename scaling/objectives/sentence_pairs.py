"""Rows of two segments, [CLS] A [SEP] B [SEP], for next-sentence and sentence-order prediction."""

from typing import Literal

import numpy as np

from scaling.config.data import PAIR_MARKS
from scaling.objectives.draws import below, uniforms
from scaling.objectives.specials import Specials
from scaling.runtime.errors import BadInputError

Batch = dict[str, np.ndarray]
_SHORT, _LENGTH, _OFFSET, _SPLIT, _LABEL, _DOCUMENT, _BEGIN = range(21, 28)


class SentencePairs:
    """Pairs of segments, one from each chunk of each document.

    Documents are cut into chunks of L - 3 tokens, the last of a document shorter (one of a single token is
    left out). Row i is chunk i, or with the share `short` a uniformly random stretch of it; it is cut in two
    at a uniformly random token. Devlin et al. 2018, appendix A.2, but that cuts are not at sentences.

    - `next`: half the time B is of another document, any with the same chance (label 1), of B's length where
      the document has that much. It is taken for this row alone.
    - `order`: half the time A and B are swapped (label 1).
    """

    def __init__(
        self,
        ids: np.ndarray,
        starts_D: np.ndarray,
        lengths_D: np.ndarray,
        length: int,
        specials: Specials,
        *,
        kind: Literal["next", "order"],
        short: float,
    ) -> None:
        """Document d is ids[starts_D[d]:][: lengths_D[d]], no end-of-text in it.

        Raises:
            BadInputError: no document of two tokens, or only one where `kind` is next.
        """
        self._ids, self._specials, self._kind, self._short = ids, specials, kind, short
        self.sequence_length = length
        self._most = length - PAIR_MARKS
        usable_D = lengths_D >= 2
        self._starts_D, self._lengths_D = starts_D[usable_D], lengths_D[usable_D]
        if len(self._starts_D) < (2 if kind == "next" else 1):
            raise BadInputError(
                f"objective.sentences={kind} takes segments from {len(self._starts_D)} documents of at least "
                f"two tokens, too few on one side of the split; give data.source more documents"
            )
        chunks_D = (self._lengths_D + self._most - 2) // self._most
        self._ends_D = np.cumsum(chunks_D)
        self._firsts_D = self._ends_D - chunks_D

    def __len__(self) -> int:
        return int(self._ends_D[-1])

    def take(self, indices_B: np.ndarray, keys_B: np.ndarray) -> Batch:
        """Rows: `inputs`, `token_types`, `segment_ids` (B, L), `sentence_targets` (B,), all int32.

        `token_types` is 1 on B and its [SEP]; `segment_ids` is 0 on padding.
        """
        if len(indices_B) and (indices_B.min() < 0 or indices_B.max() >= len(self)):
            raise IndexError(f"rows {indices_B} of {len(self)}")
        document_B = np.searchsorted(self._ends_D, indices_B, side="right")
        within_B = (indices_B - self._firsts_D[document_B]) * self._most
        whole_B = np.minimum(self._lengths_D[document_B] - within_B, self._most)
        short_B = uniforms(keys_B, _SHORT, 1)[:, 0] < self._short
        drawn_B = 2 + below(keys_B, _LENGTH, whole_B - 1)
        length_B = np.where(short_B, drawn_B, whole_B)
        begin_a_B = self._starts_D[document_B] + within_B + below(keys_B, _OFFSET, whole_B - length_B + 1)
        a_B = 1 + below(keys_B, _SPLIT, length_B - 1)
        begin_b_B, b_B = begin_a_B + a_B, length_B - a_B
        label_B = uniforms(keys_B, _LABEL, 1)[:, 0] < 0.5
        if self._kind == "next":
            other_B = below(keys_B, _DOCUMENT, np.full(len(keys_B), len(self._starts_D) - 1))
            other_B += other_B >= document_B
            there_B = self._lengths_D[other_B]
            taken_B = np.minimum(b_B, there_B)
            begin_B = self._starts_D[other_B] + below(keys_B, _BEGIN, there_B - taken_B + 1)
            begin_b_B, b_B = np.where(label_B, begin_B, begin_b_B), np.where(label_B, taken_B, b_B)
        else:
            begin_a_B, begin_b_B = np.where(label_B, (begin_b_B, begin_a_B), (begin_a_B, begin_b_B))
            a_B, b_B = np.where(label_B, (b_B, a_B), (a_B, b_B))
        batch = self._rows(begin_a_B, a_B, begin_b_B, b_B)
        return batch | {"sentence_targets": label_B.astype(np.int32)}

    def _rows(self, begin_a_B: np.ndarray, a_B: np.ndarray, begin_b_B: np.ndarray, b_B: np.ndarray) -> Batch:
        specials = self._specials
        place_L = np.arange(self.sequence_length)
        first_sep_B1, last_sep_B1 = (a_B + 1)[:, None], (a_B + b_B + 2)[:, None]
        in_b_BL = place_L > first_sep_B1
        from_B1 = (begin_a_B - 1)[:, None], (begin_b_B - a_B - 2)[:, None]
        text_BL = (place_L > 0) & (place_L < last_sep_B1) & (place_L != first_sep_B1)
        stored_BL = np.where(text_BL, np.where(in_b_BL, from_B1[1], from_B1[0]) + place_L, 0)
        inputs_BL = self._ids[stored_BL].astype(np.int32)
        inputs_BL[:, 0] = specials.cls
        inputs_BL[(place_L == first_sep_B1) | (place_L == last_sep_B1)] = specials.sep
        real_BL = place_L <= last_sep_B1
        inputs_BL[~real_BL] = specials.end_of_text
        return {
            "inputs": inputs_BL,
            "token_types": (in_b_BL & real_BL).astype(np.int32),
            "segment_ids": real_BL.astype(np.int32),
        }
