"""Masked language modelling: which positions are chosen, and what becomes of them."""

import numpy as np

from scaling.config.objective import MaskedObjective
from scaling.objectives.draws import bits, scale, uniforms
from scaling.objectives.specials import Specials
from scaling.objectives.words import WordFlags, choose_words, word_starts

Batch = dict[str, np.ndarray]
_CHOICE, _FATE, _REPLACEMENT = 11, 12, 13


class Masking:
    """Masks rows of tokens. Only tokens of text are ever chosen, or put in another's place."""

    def __init__(
        self,
        objective: MaskedObjective,
        specials: Specials,
        is_text_V: np.ndarray,
        words: WordFlags | None = None,
    ) -> None:
        """`is_text_V` is over the tokenizer's ids; `words` are needed for whole_words."""
        if objective.whole_words and words is None:
            raise ValueError("objective.whole_words: the tokenizer does not say where words begin")
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
