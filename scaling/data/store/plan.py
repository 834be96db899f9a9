"""From the parts of a source to shards: which parts each is made of, the same in every process."""

from collections.abc import Sequence

from scaling.data.sources.interface import Part, Source

TARGET = 8 << 20
"""Bytes that are read for a shard of a small corpus: what a killed preparation loses, per worker."""
MOST = 256
"""Shards of a large corpus, all of which are open while it is read. Their size grows with the corpus."""


def plan(source: Source, jobs: int | None = None) -> list[tuple[Part, ...]]:
    """The parts of each shard, in the order of the source; at least a shard per job if it can be cut so."""
    parts = source.parts(TARGET)
    total, most = _total(parts), max(MOST, 2 * (jobs or 1))
    target = max(TARGET, -(-total // most))
    if jobs is not None and total < jobs * target:
        target = max(1, total // jobs)
    if target != TARGET:
        parts = source.parts(target)
    shards: list[tuple[Part, ...]] = []
    group: list[Part] = []
    for part in parts:
        if group and _total(group) + part.size > target:
            shards.append(tuple(group))
            group = []
        group.append(part)
    return [*shards, tuple(group)] if group else shards


def _total(parts: Sequence[Part]) -> int:
    return sum(part.size for part in parts)
