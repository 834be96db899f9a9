"""Contexts that begin alike are grouped, those of like length batched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scaling.evals.buckets import bucket, cache_length

_WORTH_SHARING = 8  # tokens; below, one more program is dearer than reading them again


@dataclass(frozen=True)
class Group:
    """Distinct contexts that begin with the same ids, shortest first.

    `members[i]` are the requests, by their number, that have the context `contexts[i]`.
    """

    prefix: tuple[int, ...]
    contexts: tuple[tuple[int, ...], ...]
    members: tuple[tuple[int, ...], ...]

    def length(self, answer: int, positions: int) -> int:
        """Room of a cache in which each padded context fits, and after it `answer` more tokens."""
        longest = max(map(len, self.contexts))
        own = bucket(longest - 1 - len(self.prefix))
        needed = max(len(self.prefix) + own, longest + answer, bucket(len(self.prefix)))
        return cache_length(needed, positions)

    @property
    def size(self) -> int:
        """How many requests there are."""
        return sum(map(len, self.members))

    def batches(self, rows: int) -> Iterator["Group"]:
        """The group in parts of at most `rows` contexts."""
        for first in range(0, len(self.contexts), rows):
            some = slice(first, first + rows)
            yield Group(self.prefix, self.contexts[some], self.members[some])


def groups_of(requests: Sequence[tuple[tuple[int, ...], int]], whole: bool) -> list[Group]:
    """Group (context, ids shared with others) by what they share; `whole` contexts share nothing.

    A prefix of one context alone is not shared.
    """
    members: dict[tuple[int, ...], list[int]] = {}
    shared: dict[tuple[int, ...], int] = {}
    for i, (context, count) in enumerate(requests):
        members.setdefault(context, []).append(i)
        # The last token is read with the answer, and so is never part of what is shared.
        shared[context] = min(count, len(context) - 1)
    by_prefix: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for context, count in shared.items():
        prefix = () if whole or count < _WORTH_SHARING else context[:count]
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


def padded(rows: Sequence[Sequence[int]], height: int, width: int) -> np.ndarray:
    """int32 (height, width): the rows, zeros after and below them."""
    out = np.zeros((height, width), np.int32)
    for line, row in zip(out, rows, strict=False):
        line[: len(row)] = row
    return out
