"""How examples become text: one template for training documents and prompts, so that the two agree."""

from collections.abc import Sequence
from dataclasses import dataclass

from scaling.tasks.task import Example, Task


@dataclass(frozen=True)
class Template:
    """The text between and around questions and answers.

    A prompt is the head, each example with its answer and a separator, and the question up to `answer`. The
    answer follows `joint`, which belongs to the scored text, because one token may span both. Generated text
    ends at the first of `stops`. With a `marker` the model first writes its reasoning, then the marker and
    the answer (Wei et al. 2022, arXiv:2201.11903; the second prompt of Kojima et al. 2022, arXiv:2205.11916,
    section 3); an example without reasoning has the marker alone.
    """

    name: str
    head: str = ""  # with {description} for the task's description
    question: str = ""
    answer: str = ""
    joint: str = " "
    separator: str = "\n\n"
    stops: tuple[str, ...] = ("\n",)
    marker: str = ""

    def prefix(self, description: str, shots: Sequence[Example]) -> str:
        """Everything before the question: the same for all items with these examples."""
        head = self.head.format(description=description) if description else ""
        return head + "".join(map(self.solved, shots))

    def unsolved(self, example: Example) -> str:
        """A question up to the point where its answer, or the reasoning before it, begins."""
        return f"{self.question}{example.question}{self.answer}"

    def solved(self, example: Example) -> str:
        """A question with its reasoning, its answer and the separator."""
        reasoning = self.marker
        if self.marker and example.reasoning:
            reasoning = f"{self.joint}{example.reasoning}{self.marker}"
        return f"{self.unsolved(example)}{reasoning}{self.joint}{example.answer}{self.separator}"

    @property
    def answer_context(self) -> str:
        """The text before an answer when there is no question (Brown et al. 2020, section 2.4)."""
        return (self.marker or self.answer).strip()

    def answer_in(self, text: str) -> str:
        """The answer in generated text: up to the first stop, without surrounding spaces."""
        for stop in self.stops:
            text = text.partition(stop)[0]
        return text.strip()


PLAIN = Template("plain", answer="=", joint="", separator="\n")
"""`12+34=46` and a newline: few bytes, for models with a short context."""
CHAIN = Template("chain", answer="=", joint="", separator="\n", marker=":")
"""`7+5-3+8=2,9:7` and a newline: intermediate results, then the answer."""


def demonstration(task: Task, index: int, shots: int, seed: int = 0, *, template: Template = PLAIN) -> str:
    """Training document `index` of a task: a pure function of its arguments.

    It has `shots` + 1 solved problems from the training side in the format of prompts; in an in-context task
    they share one mapping. With the template `CHAIN` the intermediate results precede each answer.
    """
    return "".join(map(template.solved, task.lesson(index, shots, seed)))
