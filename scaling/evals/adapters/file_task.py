"""A task whose items all lie in files."""

import random
from dataclasses import dataclass

from scaling.config.errors import BadInputError
from scaling.evals.items import Example, Item


@dataclass(frozen=True)
class Asking:
    """One entry of a file: the example, the answers that count, and what each choice is worth."""

    example: Example
    accepted: tuple[str, ...]
    grades: tuple[float, ...] = ()


@dataclass(frozen=True)
class FileTask:
    """Questions, and where examples come from: `pool`, or the other questions where that is empty.

    Every item gets the same examples in the same order, drawn under the seed; where one of them is the item
    itself, the next of the draw stands in for it.
    """

    name: str
    questions: tuple[Asking, ...]
    metrics: tuple[str, ...]
    chance: float | None = None
    description: str = ""
    template: str = "question-answer"
    pool: tuple[Asking, ...] = ()

    def size(self) -> int:
        """How many questions there are."""
        return len(self.questions)

    def item(self, index: int, shots: int, seed: int) -> Item:
        """Question `index` after `shots` others.

        Raises:
            BadInputError: there are not so many.
        """
        pool = self.pool or self.questions
        spare = 0 if self.pool else 1
        if shots + spare > len(pool):
            raise BadInputError(
                f"--shots {shots}: task {self.name} can show {len(pool) - spare}; give at most that"
            )
        drawn = random.Random(f"{seed} {self.name}").sample(range(len(pool)), shots + spare)
        if not self.pool:
            drawn = [i for i in drawn if i != index][:shots]
        asked = self.questions[index]
        shown = tuple(pool[i].example for i in drawn)
        return Item(shown, asked.example, asked.accepted, asked.grades)


def chosen(question: str, choices: tuple[str, ...], right: int) -> Asking:
    """A question with one right choice."""
    grades = tuple(float(i == right) for i in range(len(choices)))
    return Asking(Example(question, choices[right], choices), (choices[right],), grades)


def mean_chance(questions: tuple[Asking, ...]) -> float:
    """What choosing blindly is worth on average."""
    return sum(sum(q.grades) / len(q.grades) for q in questions) / len(questions)


OF_CHOICES: tuple[str, ...] = ("choice_accuracy", "choice_log_prob", "brier")
