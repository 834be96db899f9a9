"""SplitMix64, the random numbers of tasks: written out, so that every version of Python draws the same."""

import hashlib
from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def hash64(text: str) -> int:
    """64 bits of blake2b, uniform below 2^64."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class SplitMix:
    """An endless sequence of random numbers, determined by the parts of its key (Steele, Lea, Flood 2014)."""

    def __init__(self, *key: str | int) -> None:
        self._state = hash64(repr(key))

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = z = (self._state + _GOLDEN) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, bound: int) -> int:
        """An integer from 0 to bound - 1, uniform to within bound / 2^64."""
        return (self.bits() * bound) >> 64

    def one(self, of: Sequence[T]) -> T:
        """One element of a sequence."""
        return of[self.below(len(of))]

    def some(self, of: Sequence[T], count: int) -> list[T]:
        """`count` elements of a sequence in random order, without replacement."""
        pool = list(of)
        for i in range(count):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Shuffle a list in place (Fisher and Yates)."""
        items[:] = self.some(items, len(items))

    def letters(self, of: str, count: int) -> str:
        """`count` characters of `of`, with replacement."""
        return "".join([of[self.below(len(of))] for _ in range(count)])
