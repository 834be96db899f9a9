"""Contexts grouped by the prefix that they share, and padded to few distinct lengths.

Every new shape of an array is one more program to compile, which takes seconds, so lengths are rounded up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_SHORTEST = 8
_HALF_STEPS_FROM = 128
_CACHE_LENGTHS = tuple(32 * 4**i for i in range(13))
_WORTH_SHARING = 8  # tokens; for fewer, compiling one more program costs more than computing them again


def bucket(length: int) -> int:
    """The least of 8, 16, 32, 64, 128, 192, 256, 384, 512, ... that is at least `length`."""
    size = _SHORTEST
    while size < length:
        if size >= _HALF_STEPS_FROM and length <= size + size // 2:
            return size + size // 2
        size *= 2
    return size


def cache_length(length: int, positions: int) -> int:
    """The length of a cache for `length` tokens: 32, 128, 512, ..., or what the model's `positions` need."""
    return min(size for size in (bucket(positions), *_CACHE_LENGTHS) if size >= length)


def power_of_two(count: int) -> int:
    """The least power of two that is at least `count`."""
    return 1 << max(0, count - 1).bit_length()


def padded(rows: Sequence[Sequence[int]], height: int, width: int) -> np.ndarray:
    """int32 (height, width): the rows, with zeros to their right and below."""
    out = np.zeros((height, width), np.int32)
    for line, row in zip(out, rows, strict=False):
        line[: len(row)] = row
    return out


def column(values: Sequence[int], height: int, fill: int = 0) -> np.ndarray:
    """int32 (height,): the values, and `fill` after them."""
    return np.array([*values, *[fill] * (height - len(values))], np.int32)


@dataclass(frozen=True)
class Group:
    """Distinct contexts that begin with the same ids, shortest first.

    `members[i]` are the numbers of the requests whose context is `contexts[i]`.
    """

    prefix: tuple[int, ...]
    contexts: tuple[tuple[int, ...], ...]
    members: tuple[tuple[int, ...], ...]

    def length(self, answer: int, positions: int) -> int:
        """The length of a cache that holds each padded context and `answer` more tokens."""
        longest = max(map(len, self.contexts))
        own = bucket(longest - 1 - len(self.prefix))
        needed = max(len(self.prefix) + own, longest + answer, bucket(len(self.prefix)))
        return cache_length(needed, positions)

    @property
    def size(self) -> int:
        """The number of requests."""
        return sum(map(len, self.members))

    def batches(self, rows: int) -> Iterator["Group"]:
        """The group in parts of at most `rows` contexts."""
        for first in range(0, len(self.contexts), rows):
            some = slice(first, first + rows)
            yield Group(self.prefix, self.contexts[some], self.members[some])


def groups_of(requests: Sequence[tuple[tuple[int, ...], int]], separate: bool) -> list[Group]:
    """Group requests (context, number of leading ids shared with others) by prefix.

    `separate` contexts share nothing. A prefix that only one context has is not shared.
    """
    members: dict[tuple[int, ...], list[int]] = {}
    shared: dict[tuple[int, ...], int] = {}
    for i, (context, count) in enumerate(requests):
        members.setdefault(context, []).append(i)
        # The last token is read together with the answer, so it is never part of the shared prefix.
        shared[context] = min(count, len(context) - 1)
    by_prefix: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for context, count in shared.items():
        prefix = () if separate or count < _WORTH_SHARING else context[:count]
        by_prefix.setdefault(prefix, []).append(context)
    alone = [contexts[0] for prefix, contexts in by_prefix.items() if prefix and len(contexts) == 1]
    groups = {
        prefix: list(contexts) for prefix, contexts in by_prefix.items() if not prefix or len(contexts) > 1
    }
    if alone:
        groups.setdefault((), []).extend(alone)
    return [
        Group(prefix, tuple(ordered), tuple(tuple(members[context]) for context in ordered))
        for prefix, contexts in groups.items()
        for ordered in [sorted(contexts, key=lambda context: (len(context), context))]
    ]
