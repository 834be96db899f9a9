"""Special tokens: those that a tokenizer has, and the ids that objectives use."""

from dataclasses import dataclass

import numpy as np

from scaling.config.data import DataConfig, row_lengths
from scaling.config.objective import MaskedObjective, Objective
from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of a tokenizer's own special tokens; None where it has no such token."""

    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    sep: int | None = None
    pad: int | None = None
    cls: int | None = None
    mask: int | None = None
    sentinels: tuple[int, ...] = ()
    """T5's `<extra_id_0>`, `<extra_id_1>` and so on."""

    def to_dict(self) -> dict[str, int]:
        """The ids that exist, by name; of sentinels the first."""
        ids = {name: getattr(self, name) for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")}
        ids["sentinel"] = self.sentinels[0] if self.sentinels else None
        return {name: i for name, i in ids.items() if i is not None}


@dataclass(frozen=True)
class Specials:
    """The ids of special tokens in a vocabulary of `vocab_size`, whose first ids are a tokenizer's.

    They are the tokenizer's `own` where it has them. Otherwise [MASK], [CLS] and [SEP] follow the tokenizer's
    ids, and sentinels count down from the top, as T5's do. A decoder's first input, the end of a source or
    target, and padding are end-of-text.
    """

    vocab_size: int
    tokenizer_size: int
    end_of_text: int
    own: SpecialTokens = SpecialTokens()

    @property
    def mask(self) -> int:
        """[MASK]."""
        return self._id("mask")

    @property
    def cls(self) -> int:
        """[CLS], the first position of a pair of segments."""
        return self._id("cls")

    @property
    def sep(self) -> int:
        """[SEP], after each segment of a pair."""
        return self._id("sep")

    def _id(self, name: str) -> int:
        own: int | None = getattr(self.own, name)
        return self.tokenizer_size + _missing(self.own, _MARKS).index(name) if own is None else own

    @property
    def start(self) -> int:
        """The first input of a decoder."""
        return self.end_of_text

    def sentinels(self, numbers: np.ndarray) -> np.ndarray:
        """Ids of sentinels by number, from 0."""
        held = len(self.own.sentinels)
        beyond = self.vocab_size - 1 - (numbers - held)
        if not held:
            return beyond
        return np.where(numbers < held, np.array(self.own.sentinels)[np.minimum(numbers, held - 1)], beyond)

    def check(self, objective: Objective, data: DataConfig) -> None:
        """Raises BadInputError if the vocabulary has no room for the ids that the objective needs."""
        needed = specials_needed(objective, data.sequence_length, self.own)
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


_MARKS = ("mask", "cls", "sep")


def _missing(own: SpecialTokens, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(own, name) is None]


def specials_needed(objective: Objective, length: int, own: SpecialTokens = SpecialTokens()) -> int:
    """The number of ids that an objective needs beyond a tokenizer's, in rows of `length`."""
    if isinstance(objective, MaskedObjective):
        return len(_missing(own, _MARKS if objective.sentences != "none" else _MARKS[:1]))
    return max(0, row_lengths(objective, length).sentinels - len(own.sentinels))
