"""What is asked: items of a suite, whatever wrote them down."""

from dataclasses import dataclass
from typing import Protocol


class Shown(Protocol):
    """An example as a prompt shows it; `scaling.tasks` and the adapters have one each."""

    @property
    def question(self) -> str:
        """What is asked."""

    @property
    def answer(self) -> str:
        """The right answer."""

    @property
    def choices(self) -> tuple[str, ...]:
        """What to choose among; empty where the answer is written freely."""

    @property
    def reasoning(self) -> str:
        """Steps that lead to the answer; empty where there are none."""


@dataclass(frozen=True)
class Example:
    """An example of a file."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True)
class Item:
    """One question with the examples before it.

    `accepted` are the answers that count as right, the first of them the one whose probability is asked for;
    `grades` holds what each choice is worth.
    """

    shots: tuple[Shown, ...]
    query: Shown
    accepted: tuple[str, ...]
    grades: tuple[float, ...] = ()


class Source(Protocol):
    """A task of a suite: items by number.

    `metrics` are those of `scaling.evals.ask.METRICS`, the first the one that `chance` is of. `template` is
    how it is asked where nobody says otherwise.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def description(self) -> str:
        """What a prompt may open with."""

    @property
    def chance(self) -> float | None:
        """What guessing reaches."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured."""

    @property
    def template(self) -> str:
        """The template it is asked with by default."""

    def size(self) -> int | None:
        """How many items there are; None where there is no end of them."""

    def unusable(self, index: int) -> str | None:
        """Why item `index` cannot be asked, with file and line; None where it can."""

    def item(self, index: int, shots: int, seed: int) -> Item:
        """Item `index` after `shots` examples, drawn under `seed`."""


def right_choices(example: Shown) -> tuple[float, ...]:
    """A grade of 1 for the choices that are the answer."""
    return tuple(float(choice == example.answer) for choice in example.choices)
