"""A task whose items all lie in files."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scaling.evals.adapters.reading import EmptyFieldError
from scaling.evals.items import Example, Item
from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class Asking:
    """One entry of a file: the example, the answers that count, and what each choice is worth."""

    example: Example
    accepted: tuple[str, ...]
    grades: tuple[float, ...] = ()


@dataclass(frozen=True)
class Unusable:
    """An entry that cannot be asked, and why: file, line and field."""

    reason: str


Question = Asking | Unusable


@dataclass(frozen=True)
class FileTask:
    """Questions, and where examples come from: `pool`, or the other questions where that is empty.

    Every item gets the same examples in the same order, drawn under the seed; an example that is the item
    itself is replaced by the next one drawn. Unusable entries keep their numbers and are never shown.
    """

    name: str
    questions: tuple[Question, ...]
    metrics: tuple[str, ...]
    chance: float | None = None
    description: str = ""
    template: str = "question-answer"
    pool: tuple[Question, ...] = ()

    def size(self) -> int:
        """How many questions there are, unusable ones included."""
        return len(self.questions)

    def unusable(self, index: int) -> str | None:
        """Why question `index` cannot be asked; None where it can."""
        question = self.questions[index]
        return question.reason if isinstance(question, Unusable) else None

    def item(self, index: int, shots: int, seed: int) -> Item:
        """Question `index` after `shots` others.

        Raises:
            BadInputError: there are not so many.
        """
        pool = self.pool or self.questions
        usable = [i for i, question in enumerate(pool) if isinstance(question, Asking)]
        spare = 0 if self.pool else 1
        if shots + spare > len(usable):
            raise BadInputError(
                f"--shots {shots}: task {self.name} can show {len(usable) - spare}; give at most that"
            )
        drawn = random.Random(f"{seed} {self.name}").sample(usable, shots + spare)
        if not self.pool:
            drawn = [i for i in drawn if i != index][:shots]
        asked = self.questions[index]
        assert isinstance(asked, Asking)  # nobody asks an unusable one
        shown = tuple(one.example for one in map(pool.__getitem__, drawn) if isinstance(one, Asking))
        return Item(shown, asked.example, asked.accepted, asked.grades)


def chosen(question: str, choices: tuple[str, ...], right: int) -> Asking:
    """A question with one right choice."""
    grades = tuple(float(i == right) for i in range(len(choices)))
    return Asking(Example(question, choices[right], choices), (choices[right],), grades)


T = TypeVar("T")


def questions_of(entries: Iterable[T], make: Callable[[T], Asking]) -> tuple[Question, ...]:
    """The question of each entry; one with an empty field is kept as unusable.

    Raises:
        BadInputError: an entry is damaged, or none is usable.
    """
    questions: list[Question] = []
    for entry in entries:
        try:
            questions.append(make(entry))
        except EmptyFieldError as error:
            questions.append(Unusable(str(error)))
    reasons = [one.reason for one in questions if isinstance(one, Unusable)]
    if reasons and len(reasons) == len(questions):
        others = f", and {len(reasons) - 1} more like it" if len(reasons) > 1 else ""
        raise BadInputError(f"{reasons[0]}{others}: there is no item left to ask")
    return tuple(questions)


def mean_chance(questions: Sequence[Question]) -> float:
    """What choosing blindly is worth on average."""
    worth = [sum(q.grades) / len(q.grades) for q in questions if isinstance(q, Asking)]
    return sum(worth) / len(worth)


OF_CHOICES: tuple[str, ...] = ("choice_accuracy", "choice_log_prob", "brier")
