"""What a task is made of: examples, episodes, and what every task can be asked."""

from dataclasses import dataclass
from typing import Literal, Protocol

Split = Literal["train", "test"]

# Metrics by the names of the evaluation document (`scaling.config.record`), the main one first.
WRITTEN = ("exact_match", "token_accuracy", "edit_similarity", "answer_log_prob")
CHOSEN = ("choice_accuracy", "brier", "choice_log_prob")


@dataclass(frozen=True)
class Example:
    """A problem and its solution.

    `choices` are all the answers to choose among, the right one with them; empty where it is written freely.
    `reasoning` holds the intermediate results and ends before the answer.
    """

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True)
class Episode:
    """A query and the solved examples before it. In-context tasks: all share the query's hidden mapping."""

    shots: tuple[Example, ...]
    query: Example


class Task(Protocol):
    """A task: an endless or countable set of instances, each on one side of a fixed split."""

    @property
    def name(self) -> str:
        """What it is called in `TASKS`."""
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
        """What the best constant or blind guess reaches on the first metric; None where nobody knows."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that fit, the main one first."""
        ...

    def size(self, split: Split) -> int | None:
        """Distinct instances of a side where they are few enough to be counted, else None."""
        ...

    def episode(self, split: Split, index: int, shots: int, seed: int = 0) -> Episode:
        """Episode `index` of a side: a pure function of its arguments.

        The query is of `split`, the shots are of the training side and never the query. Where `size` is
        known the query is instance `index` modulo it, whatever the seed; else it is drawn under the seed.
        """
        ...

    def lesson(self, index: int, shots: int, seed: int = 0) -> tuple[Example, ...]:
        """The solved problems of training document `index`, all of the training side."""
        ...
