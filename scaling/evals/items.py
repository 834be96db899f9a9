"""The items of a suite's tasks: questions with the examples before them, synthetic or read from files."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from scaling.runtime.errors import BadInputError
from scaling.tasks.task import Example, Task


@dataclass(frozen=True)
class Item:
    """One question and the examples before it.

    `accepted` are the answers that count as right; the first one is the answer whose probability is measured.
    `grades` holds the value of each choice.
    """

    shots: tuple[Example, ...]
    query: Example
    accepted: tuple[str, ...]
    grades: tuple[float, ...] = ()


class EvalTask(Protocol):
    """A task of a suite: numbered items, and how they are prompted and scored."""

    @property
    def name(self) -> str:
        """The name in results."""

    @property
    def description(self) -> str:
        """The instruction that a prompt may begin with."""

    @property
    def chance(self) -> float | None:
        """The score of guessing on the first metric; None where it is unknown."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names in `scaling.evals.metrics.METRICS`, the main one first."""

    @property
    def template(self) -> str:
        """The default template."""

    def size(self) -> int | None:
        """The number of items; None if there is no limit."""

    def unusable(self, index: int) -> str | None:
        """Why item `index` cannot be used, with file and line; None if it can."""

    def item(self, index: int, shots: int, seed: int) -> Item:
        """Item `index` after `shots` examples drawn with `seed`."""


@dataclass(frozen=True)
class SyntheticTask:
    """The test side of a task of `scaling.tasks`; its examples are from the training side."""

    task: Task
    template: str = "plain"

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def description(self) -> str:
        """The instruction that a prompt may begin with."""
        return self.task.description

    @property
    def chance(self) -> float | None:
        """The score of guessing on the first metric."""
        return self.task.chance

    @property
    def metrics(self) -> tuple[str, ...]:
        """The task's own, the main one first."""
        return self.task.metrics

    def size(self) -> int | None:
        """The number of distinct items on the test side; None if there is no limit."""
        return self.task.size("test")

    def unusable(self, index: int) -> str | None:
        """None: every item can be used."""
        return None

    def item(self, index: int, shots: int, seed: int) -> Item:
        """Episode `index` of the test side."""
        episode = self.task.episode("test", index, shots, seed)
        query = episode.query
        grades = tuple(float(choice == query.answer) for choice in query.choices)
        return Item(episode.shots, query, (query.answer,), grades)


@dataclass(frozen=True)
class Question:
    """One row of a benchmark file: the example, the accepted answers, and the value of each choice."""

    example: Example
    accepted: tuple[str, ...]
    grades: tuple[float, ...] = ()


@dataclass(frozen=True)
class Unusable:
    """A row that cannot be used, and why: file, line and field."""

    reason: str


@dataclass(frozen=True)
class BenchmarkTask:
    """Questions from files. Examples come from `pool`, or from the other questions where it is empty.

    Every item gets the same examples in the same order, drawn with the seed; an example that is the item
    itself is replaced by the next one drawn. Unusable rows keep their numbers and are never shown.
    """

    name: str
    questions: tuple[Question | Unusable, ...]
    metrics: tuple[str, ...]
    chance: float | None = None
    description: str = ""
    template: str = "question-answer"
    pool: tuple[Question | Unusable, ...] = ()

    def size(self) -> int:
        """The number of questions, including unusable ones."""
        return len(self.questions)

    def unusable(self, index: int) -> str | None:
        """Why question `index` cannot be used; None if it can."""
        question = self.questions[index]
        return question.reason if isinstance(question, Unusable) else None

    def item(self, index: int, shots: int, seed: int) -> Item:
        """Question `index` after `shots` others.

        Raises:
            BadInputError: there are fewer others.
        """
        pool = self.pool or self.questions
        usable = [i for i, question in enumerate(pool) if isinstance(question, Question)]
        spare = 0 if self.pool else 1
        if shots + spare > len(usable):
            raise BadInputError(
                f"--shots {shots}: task {self.name} can show {len(usable) - spare}; give at most that"
            )
        drawn = random.Random(f"{seed} {self.name}").sample(usable, shots + spare)
        if not self.pool:
            drawn = [i for i in drawn if i != index][:shots]
        query = self.questions[index]
        assert isinstance(query, Question)  # callers skip unusable questions
        shown = tuple(one.example for one in map(pool.__getitem__, drawn) if isinstance(one, Question))
        return Item(shown, query.example, query.accepted, query.grades)


def choice_question(question: str, choices: tuple[str, ...], right: int) -> Question:
    """A question with one right choice."""
    grades = tuple(float(i == right) for i in range(len(choices)))
    return Question(Example(question, choices[right], choices), (choices[right],), grades)


def mean_chance(questions: Sequence[Question | Unusable]) -> float:
    """The average value of a choice: the score of guessing."""
    worth = [sum(q.grades) / len(q.grades) for q in questions if isinstance(q, Question)]
    return sum(worth) / len(worth)
