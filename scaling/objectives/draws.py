"""What every objective draws on: random numbers by counter, and ids beyond a tokenizer's."""

from dataclasses import dataclass

import numpy as np

from scaling.config.data import DataConfig, row_lengths
from scaling.config.objective import MaskedObjective, Objective
from scaling.runtime.errors import BadInputError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea, Flood 2014) on uint64, a bijection that scatters bits.

    Spelled out, so that the order of a corpus does not depend on the version of a random generator.
    """
    with np.errstate(over="ignore"):
        z = values.astype(np.uint64) + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def mix_seed(seed: int, stream: int) -> int:
    """A 64-bit seed for one use (`stream`) of a run's seed: neighbouring seeds give unrelated results."""
    return int(mix64(mix64(np.array([seed], np.uint64)) ^ np.uint64(stream))[0])


def row_keys(seed: int, numbers_B: np.ndarray) -> np.ndarray:
    """The keys (B,) uint64 of rows by their numbers; `seed` is of 64 bits, from `mix_seed`."""
    return mix64(mix64(numbers_B.astype(np.uint64)) ^ np.uint64(seed))


def bits(keys_B: np.ndarray, use: int, count: int) -> np.ndarray:
    """Random uint64 (B, count): a SplitMix64 sequence for each key. `use` distinguishes the draws of a
    row."""
    with np.errstate(over="ignore"):
        start_B = mix64(keys_B ^ np.uint64(use))
        return mix64(start_B[:, None] + np.arange(count, dtype=np.uint64) * _GOLDEN)


def uniforms(keys_B: np.ndarray, use: int, count: int) -> np.ndarray:
    """Random float64 (B, count) in [0, 1)."""
    return (bits(keys_B, use, count) >> np.uint64(11)) * 2.0**-53


def below(keys_B: np.ndarray, use: int, bounds_B: np.ndarray) -> np.ndarray:
    """Random int64 (B,) from 0 to bounds - 1; bounds of at least 1, below 2^32."""
    return scale(bits(keys_B, use, 1)[:, 0], bounds_B)


def scale(bits_: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Random bits to int64 from 0 to bounds - 1, uniform to within bounds / 2^32."""
    return ((bits_ >> np.uint64(32)) * bounds.astype(np.uint64) >> np.uint64(32)).astype(np.int64)


@dataclass(frozen=True)
class Specials:
    """The ids of special tokens in a vocabulary of `vocab_size`, whose first ids are a tokenizer's.

    [MASK], [CLS] and [SEP] follow the tokenizer's ids; sentinels count down from the top, as T5's do. A
    decoder's first input, the end of a source or target, and padding are end-of-text.
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
        """The first input of a decoder."""
        return self.end_of_text

    def sentinels(self, numbers: np.ndarray) -> np.ndarray:
        """Ids of sentinels by number, from 0."""
        return self.vocab_size - 1 - numbers

    def check(self, objective: Objective, data: DataConfig) -> None:
        """Raises BadInputError if the vocabulary has no room for the ids that the objective needs."""
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
    """The number of ids that an objective needs beyond a tokenizer's, in rows of `length`."""
    if isinstance(objective, MaskedObjective):
        return 1 if objective.sentences == "none" else 3
    return row_lengths(objective, length).sentinels
