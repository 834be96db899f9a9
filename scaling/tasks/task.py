"""What a task is: problems with answers, each on the training or the test side of a fixed split.

Two kinds of task need only a generator. The instances of an `IndependentTask` have nothing to do with each
other. An `InContextTask` draws a new hidden mapping for every prompt, so that the prompt is the only place to
learn it.

The side of an instance depends on its canonical form and on nothing else, not even on the task: 3+5 is on one
side in every task that contains it, and so is 5+3.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from scaling.tasks.splitmix import SplitMix, hash64

Split = Literal["train", "test"]

# Metrics by their names in the evaluation document (`scaling.config.record`), the main one first.
FREE_METRICS = ("exact_match", "token_accuracy", "edit_similarity", "answer_log_prob")
CHOICE_METRICS = ("choice_accuracy", "brier", "choice_log_prob")

TEST_SHARE = 0.1
"""The expected share of instances that are held out."""


@dataclass(frozen=True)
class Example:
    """A problem and its solution.

    `choices` are all the answers to choose from, including the right one; empty where the answer is free
    text. `reasoning` holds the intermediate results and ends before the answer.
    """

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True)
class Episode:
    """A query and the solved examples before it. In an in-context task they share one hidden mapping."""

    shots: tuple[Example, ...]
    query: Example


def side(canonical: str) -> Split:
    """The side of an instance; `canonical` is equal for instances that are the same problem."""
    return "test" if hash64(canonical) < TEST_SHARE * 2.0**64 else "train"


class Task(Protocol):
    """A task: a set of instances, possibly endless."""

    @property
    def name(self) -> str:
        """The name in `scaling.tasks.TASKS`."""
        ...

    @property
    def definition(self) -> str:
        """One sentence for a reader."""
        ...

    @property
    def description(self) -> str:
        """The instruction that a prompt may begin with."""
        ...

    @property
    def chance(self) -> float | None:
        """The score of the best constant or blind guess on the first metric; None where it is unknown."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Suitable metrics, the main one first."""
        ...

    def size(self, split: Split) -> int | None:
        """The number of distinct instances of a side; None where they are too many to enumerate."""
        ...

    def episode(self, split: Split, index: int, shots: int, seed: int = 0) -> Episode:
        """Episode `index` of a side: a pure function of its arguments.

        The query is from `split`; the shots are from the training side and never equal the query. If `size`
        is known the query is instance `index` modulo `size`, whatever the seed; otherwise it is drawn with
        the seed.
        """
        ...

    def lesson(self, index: int, shots: int, seed: int = 0) -> tuple[Example, ...]:
        """The solved problems of training document `index`, all from the training side."""
        ...


@dataclass(frozen=True)
class Instance:
    """An example and its canonical form, which all equivalent examples share."""

    canonical: str
    example: Example


@dataclass(frozen=True)
class IndependentTask:
    """A task whose instances are unrelated.

    `draw` makes one instance. `everything`, if given, enumerates all of them, and they are then used in turn.
    """

    name: str
    definition: str
    description: str
    chance: float | None
    draw: Callable[[SplitMix], Instance]
    everything: Callable[[], Iterable[Instance]] | None = None
    metrics: tuple[str, ...] = FREE_METRICS

    @cached_property
    def _sides(self) -> dict[Split, list[Instance]]:
        """All instances of each side, ordered by a hash of their text, so that neighbours are unrelated."""
        assert self.everything is not None
        ordered = sorted(self.everything(), key=lambda one: hash64(one.example.question))
        sides: dict[Split, list[Instance]] = {"train": [], "test": []}
        for instance in ordered:
            sides[side(instance.canonical)].append(instance)
        return sides

    def size(self, split: Split) -> int | None:
        """The number of distinct questions of a side, or None if they cannot be enumerated."""
        return None if self.everything is None else len(self._sides[split])

    def _instance(self, split: Split, random: SplitMix) -> Instance:
        if self.everything is not None:
            return random.one(self._sides[split])
        while True:
            instance = self.draw(random)
            if side(instance.canonical) == split:
                return instance

    def episode(self, split: Split, index: int, shots: int, seed: int = 0) -> Episode:
        """See `Task.episode`. An episode with more shots begins with the shots of one with fewer."""
        if self.everything is not None:
            query = self._sides[split][index % len(self._sides[split])]
        else:
            query = self._instance(split, SplitMix("query", self.name, split, index, seed))
        random = SplitMix("shots", self.name, split, index, seed)
        chosen: list[Example] = []
        while len(chosen) < shots:
            shot = self._instance("train", random)
            if shot.canonical != query.canonical:
                chosen.append(shot.example)
        return Episode(tuple(chosen), query.example)

    def lesson(self, index: int, shots: int, seed: int = 0) -> tuple[Example, ...]:
        """`shots` + 1 problems; the last one has the place of an episode's query."""
        random = SplitMix("lesson", self.name, index, seed)
        return tuple(self._instance("train", random).example for _ in range(shots + 1))


@dataclass(frozen=True)
class Mapping:
    """A hidden mapping. `canonical` identifies it; `example` draws a problem under it.

    `keys` lists every question if there are few. The shots are then distinct, and the query repeats one of
    them. Without `keys`, shots differ from the query.
    """

    canonical: str
    example: Callable[[SplitMix], Example]
    keys: tuple[Example, ...] = ()


@dataclass(frozen=True)
class InContextTask:
    """A task with a new mapping in every episode.

    The split is over mappings: no training document contains a mapping of a test episode. Without shots the
    answer is a guess for any model.
    """

    name: str
    definition: str
    description: str
    chance: float | None
    draw: Callable[[SplitMix], Mapping]
    metrics: tuple[str, ...] = FREE_METRICS

    def size(self, split: Split) -> int | None:
        """None: mappings are not enumerated."""
        return None

    def _mapping(self, split: Split, random: SplitMix) -> Mapping:
        while True:
            mapping = self.draw(random)
            if side(mapping.canonical) == split:
                return mapping

    def episode(self, split: Split, index: int, shots: int, seed: int = 0) -> Episode:
        """See `Task.episode`; mapping, query and shots belong to one episode.

        If the mapping has few keys the query is one of the shots, where there are any.
        """
        random = SplitMix("episode", self.name, split, index, seed)
        mapping = self._mapping(split, random)
        if mapping.keys:
            shown = _distinct_keys(mapping, shots, random)
            return Episode(tuple(shown), random.one(shown or mapping.keys))
        query = mapping.example(random)
        chosen: list[Example] = []
        while len(chosen) < shots:
            shot = mapping.example(random)
            if shot.question != query.question:
                chosen.append(shot)
        return Episode(tuple(chosen), query)

    def lesson(self, index: int, shots: int, seed: int = 0) -> tuple[Example, ...]:
        """Problems of one training mapping: `shots` examples and as many queries.

        If the mapping has few keys, between one and `shots` of them appear, and then each of those once more
        in random order.
        """
        random = SplitMix("lesson", self.name, index, seed)
        mapping = self._mapping("train", random)
        if mapping.keys:
            shown = _distinct_keys(mapping, 1 + random.below(max(1, shots)), random)
            again = list(shown)
            random.shuffle(again)
            return (*shown, *again)
        return tuple(mapping.example(random) for _ in range(2 * max(1, shots)))


def _distinct_keys(mapping: Mapping, shots: int, random: SplitMix) -> list[Example]:
    """Distinct keys in random order, repeated in that order where there are fewer keys than shots."""
    some = random.some(mapping.keys, min(shots, len(mapping.keys)))
    return [some[i % len(some)] for i in range(shots)]
