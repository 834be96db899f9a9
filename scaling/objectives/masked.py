"""BERT's objectives: masked tokens, masked words, and pairs of segments."""

from typing import Literal, NamedTuple

import numpy as np

from scaling.config.data import PAIR_MARKS
from scaling.config.objective import MaskedObjective
from scaling.objectives.draws import TokenArray, below, bits, scale, uniforms
from scaling.objectives.specials import Specials
from scaling.runtime.errors import BadInputError

Batch = dict[str, np.ndarray]
# Uses of a row's random numbers.
_CHOICE, _FATE, _REPLACEMENT = 11, 12, 13
_SHORT, _LENGTH, _OFFSET, _SPLIT, _LABEL, _DOCUMENT, _BEGIN = range(21, 28)


class WordFlags(NamedTuple):
    """Where words begin, by token: two arrays (V,) of bool.

    A token belongs to the word of the token before it if it `continues` and that one is `open`.
    """

    continues: np.ndarray
    open: np.ndarray


def word_starts(tokens_BL: np.ndarray, eligible_BL: np.ndarray, flags: WordFlags) -> np.ndarray:
    """Whether a word begins at each eligible position, (B, L) bool; ineligible positions end a word."""
    starts_BL = eligible_BL.copy()
    size = len(flags.open)
    known_BL = np.minimum(tokens_BL, size - 1)  # ids beyond the tokenizer's are never eligible
    goes_on_BL = flags.continues[known_BL[:, 1:]] & flags.open[known_BL[:, :-1]] & eligible_BL[:, :-1]
    starts_BL[:, 1:] &= ~goes_on_BL
    return starts_BL


def choose_words(
    starts_BL: np.ndarray, eligible_BL: np.ndarray, limits_B: np.ndarray, bits_BL: np.ndarray
) -> np.ndarray:
    """Positions (B, L) bool of complete words, at most `limits_B` per row.

    Words are tried in random order and taken if they still fit, as in BERT's whole-word masking. `bits_BL`
    are random; a word uses those of its first position.
    """
    B = len(starts_BL)
    words_B = starts_BL.sum(axis=1)
    S = int(words_B.max(initial=0))
    if S == 0:
        return np.zeros_like(starts_BL)
    number_BL = np.cumsum(starts_BL, axis=1) - 1
    flat_BL = np.maximum(number_BL, 0) + np.arange(B)[:, None] * S
    lengths_BS = np.bincount(flat_BL[eligible_BL], minlength=B * S).reshape(B, S)
    order_BL = np.where(starts_BL, bits_BL, np.iinfo(np.uint64).max)
    # Word by word in random order: positions of first tokens, sorted by their bits, as word numbers.
    ranked_BS = np.take_along_axis(number_BL, np.argsort(order_BL, axis=1, kind="stable")[:, :S], axis=1)
    chosen_BS = np.zeros((B, S), bool)
    room_B, rows_B = limits_B.astype(np.int64), np.arange(B)
    for rank in range(S):
        if not room_B.any():
            break
        word_B = ranked_BS[:, rank]
        length_B = lengths_BS[rows_B, word_B]
        take_B = (rank < words_B) & (length_B <= room_B)
        room_B = room_B - np.where(take_B, length_B, 0)
        chosen_BS[rows_B[take_B], word_B[take_B]] = True
    return chosen_BS.ravel()[flat_BL] & eligible_BL


class Masking:
    """Masks rows of tokens. Only tokens of text are chosen, and only they replace others."""

    def __init__(
        self,
        objective: MaskedObjective,
        specials: Specials,
        is_text_V: np.ndarray,
        words: WordFlags | None = None,
    ) -> None:
        """`is_text_V` is over the tokenizer's ids; `words` are needed for whole_words."""
        if objective.whole_words and words is None:
            raise ValueError("objective.whole_words: the tokenizer does not know where words begin")
        self._objective, self._specials = objective, specials
        self._words = words if objective.whole_words else None
        self._is_text_V = np.zeros(specials.vocab_size, bool)
        self._is_text_V[: len(is_text_V)] = is_text_V
        self._text_ids = np.flatnonzero(is_text_V).astype(np.int32)

    def chosen(self, tokens_BL: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """Positions to predict, (B, L) bool: round(rate * tokens of text) of a row, at least one."""
        eligible_BL = self._is_text_V[tokens_BL]
        count_B = eligible_BL.sum(axis=1)
        # To even at a half, as Python's round: no row exceeds scaling.config.data.masked_limit.
        limit_B = np.maximum(np.rint(self._objective.rate * count_B).astype(np.int64), 1)
        bits_BL = bits(keys_B, _CHOICE, tokens_BL.shape[1])
        if self._words is not None:
            starts_BL = word_starts(tokens_BL, eligible_BL, self._words)
            return choose_words(starts_BL, eligible_BL, limit_B, bits_BL)
        bits_BL[~eligible_BL] = np.iinfo(np.uint64).max
        last_B1 = np.take_along_axis(np.sort(bits_BL, axis=1), limit_B[:, None] - 1, axis=1)
        return (bits_BL <= last_B1) & eligible_BL

    def __call__(self, batch: Batch, keys_B: np.ndarray) -> Batch:
        """A batch of tokens (`inputs`) with some masked, and `targets`, `weights` (B, L) of those."""
        objective, tokens_BL = self._objective, batch["inputs"]
        L = tokens_BL.shape[1]
        chosen_BL = self.chosen(tokens_BL, keys_B)
        fate_BL = uniforms(keys_B, _FATE, L)
        other_BL = self._text_ids[scale(bits(keys_B, _REPLACEMENT, L), np.array(len(self._text_ids)))]
        inputs_BL = np.where(chosen_BL & (fate_BL < objective.mask + objective.random), other_BL, tokens_BL)
        inputs_BL[chosen_BL & (fate_BL < objective.mask)] = self._specials.mask
        return batch | {
            "inputs": inputs_BL,
            "targets": tokens_BL,
            "weights": chosen_BL.astype(np.float32),
        }


class SentencePairs:
    """Pairs of segments, one from each chunk of each document.

    Documents are cut into chunks of L - 3 tokens, the last of a document shorter (one of a single token is
    left out). Row i is chunk i, or for the share `short` of rows a uniformly random part of it, cut in two
    at a uniformly random token. As Devlin et al. 2018, appendix A.2, except that cuts ignore sentences.

    - `next`: half the time B is of another document, all equally likely (label 1), of B's length if
      the document is that long. It is drawn for this row alone.
    - `order`: half the time A and B are swapped (label 1).
    """

    def __init__(
        self,
        ids: TokenArray,
        starts_D: np.ndarray,
        lengths_D: np.ndarray,
        length: int,
        specials: Specials,
        *,
        kind: Literal["next", "order"],
        short: float,
    ) -> None:
        """Document d is ids[starts_D[d]:][: lengths_D[d]], without end-of-text.

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
