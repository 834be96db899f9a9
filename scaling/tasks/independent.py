"""Tasks whose every instance stands alone: drawn at random, or counted where they are few."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from scaling.tasks.draws import Draws, hash64
from scaling.tasks.example import WRITTEN, Episode, Example, Split
from scaling.tasks.split import side


@dataclass(frozen=True)
class Instance:
    """An example and its canonical form, which it shares with every repetition of itself in other words."""

    canonical: str
    example: Example


@dataclass(frozen=True)
class Independent:
    """A task by its generator; with `everything`, all its instances, they are counted and asked in turn."""

    name: str
    definition: str
    description: str
    chance: float | None
    draw: Callable[[Draws], Instance]
    everything: Callable[[], Iterable[Instance]] | None = None
    metrics: tuple[str, ...] = WRITTEN

    @cached_property
    def _sides(self) -> dict[Split, list[Instance]]:
        """All instances of each side, in an order set by their content: neighbours are unrelated."""
        assert self.everything is not None
        ordered = sorted(self.everything(), key=lambda one: hash64(one.example.question))
        sides: dict[Split, list[Instance]] = {"train": [], "test": []}
        for instance in ordered:
            sides[side(instance.canonical)].append(instance)
        return sides

    def size(self, split: Split) -> int | None:
        """Distinct questions of a side, or None where they are not counted."""
        return None if self.everything is None else len(self._sides[split])

    def _of(self, split: Split, draws: Draws) -> Instance:
        if self.everything is not None:
            return draws.one(self._sides[split])
        while True:
            instance = self.draw(draws)
            if side(instance.canonical) == split:
                return instance

    def episode(self, split: Split, index: int, shots: int, seed: int = 0) -> Episode:
        """See `Task.episode`. The first shots of an episode are the same for any number of shots."""
        if self.everything is not None:
            query = self._sides[split][index % len(self._sides[split])]
        else:
            query = self._of(split, Draws("query", self.name, split, index, seed))
        draws = Draws("shots", self.name, split, index, seed)
        chosen: list[Example] = []
        while len(chosen) < shots:
            shot = self._of("train", draws)
            if shot.canonical != query.canonical:
                chosen.append(shot.example)
        return Episode(tuple(chosen), query.example)

    def lesson(self, index: int, shots: int, seed: int = 0) -> tuple[Example, ...]:
        """`shots` problems and one more: the last is asked as a query of an episode is."""
        draws = Draws("lesson", self.name, index, seed)
        return tuple(self._of("train", draws).example for _ in range(shots + 1))
