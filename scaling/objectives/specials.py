"""Ids that objectives need beyond a tokenizer's."""

from dataclasses import dataclass

import numpy as np

from scaling.config.data import DataConfig, row_lengths
from scaling.config.objective import MaskedObjective, Objective
from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class Specials:
    """Where special tokens lie in a vocabulary of `vocab_size`, of which a tokenizer has the first ids.

    [MASK], [CLS] and [SEP] follow upon the tokenizer's; sentinels are counted down from the top (as T5's
    are). A decoder's first input, the end of a source or target, and padding are end-of-text.
    """

    vocab_size: int
    tokenizer_size: int
    end_of_text: int

    @property
    def mask(self) -> int:
        """[MASK]."""
        return self.tokenizer_size

    @property
    def cls(self) -> int:
        """[CLS], the first position of a pair of segments."""
        return self.tokenizer_size + 1

    @property
    def sep(self) -> int:
        """[SEP], after each segment of a pair."""
        return self.tokenizer_size + 2

    @property
    def start(self) -> int:
        """What a decoder reads before it has made anything."""
        return self.end_of_text

    def sentinels(self, numbers: np.ndarray) -> np.ndarray:
        """Ids of the sentinels of these numbers, which count from 0."""
        return self.vocab_size - 1 - numbers

    def check(self, objective: Objective, data: DataConfig) -> None:
        """Raises BadInputError where the vocabulary has no room for what the objective needs."""
        needed = specials_needed(objective, data.sequence_length)
        least = self.tokenizer_size + needed
        if least <= self.vocab_size:
            return
        message = (
            f"model.vocab_size={self.vocab_size} is smaller than the vocabulary of "
            f"data.tokenizer={data.tokenizer} ({self.tokenizer_size})"
        )
        if needed:
            kind = "for [MASK], [CLS], [SEP]" if isinstance(objective, MaskedObjective) else "as sentinels"
            message += f" and {needed} more that objective {objective.name} needs {kind}"
        raise BadInputError(f"{message}: give at least {least}")


def specials_needed(objective: Objective, length: int) -> int:
    """How many ids an objective needs beyond a tokenizer's, in rows of `length`."""
    if isinstance(objective, MaskedObjective):
        return 1 if objective.sentences == "none" else 3
    return row_lengths(objective, length).sentinels
