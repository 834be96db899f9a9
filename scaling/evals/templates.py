"""How an item becomes text: description, examples, question, and where the answer goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from scaling.evals.items import Item, Shown
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.tasks import template as of_tasks


@dataclass(frozen=True)
class Template:
    """The words around questions and answers.

    A prompt is the head, each example with its answer and a separator, and the question up to the answer's
    prefix. The answer begins with `joint`: it is scored and not given, for a token may hold both. A text
    that a model writes ends at the first of `stops`. With a `marker` the model first writes its reasoning,
    and the answer stands after the marker (Wei et al. 2022, arXiv:2201.11903; the second prompt of Kojima et
    al. 2022, arXiv:2205.11916, section 3). In an example without reasoning the marker comes at once.
    """

    name: str
    head: str = ""  # {description} stands for the task's
    question: str = ""
    answer: str = ""
    joint: str = " "
    separator: str = "\n\n"
    stops: tuple[str, ...] = ("\n",)
    marker: str = ""

    def prefix(self, description: str, shots: Sequence[Shown]) -> str:
        """Everything before the question: the same for all items with these examples."""
        head = self.head.format(description=description) if description else ""
        return head + "".join(
            f"{self.asked(shot)}{self._reasons(shot)}{self.joint}{shot.answer}{self.separator}"
            for shot in shots
        )

    def asked(self, example: Shown) -> str:
        """A question up to where its answer, or the reasoning before it, begins."""
        return f"{self.question}{example.question}{self.answer}"

    def _reasons(self, shot: Shown) -> str:
        if not self.marker:
            return ""
        return f"{self.joint}{shot.reasoning}{self.marker}" if shot.reasoning else self.marker

    @property
    def answer_context(self) -> str:
        """What stands before an answer that no question was asked for (Brown et al. 2020, section 2.4)."""
        return (self.marker or self.answer).strip()

    def said(self, text: str) -> str:
        """The answer in what a model wrote: up to the first stop, without spaces around it."""
        for stop in self.stops:
            text = text.partition(stop)[0]
        return text.strip()


@dataclass(frozen=True)
class Prompt:
    """An item as text. The context is the prefix and the question; `targets` come after it."""

    prefix: str
    question: str
    targets: tuple[str, ...]  # of choices, in order; of an item without them, the answer


def _of_tasks(template: of_tasks.Template) -> Template:
    """The words that synthetic tasks have in training documents, as a prompt."""
    return Template(
        name=template.name,
        question=template.question,
        answer=template.answer,
        joint="",
        separator=template.separator,
        stops=(template.stop,),
        marker=template.marker,
    )


TEMPLATES = {
    template.name: template
    for template in (
        _of_tasks(of_tasks.PLAIN),
        _of_tasks(of_tasks.CHAIN),
        Template("described", head="{description}\n\n", question="Q: ", answer="\nA:"),
        Template("question-answer", question="Question: ", answer="\nAnswer:"),
        Template(
            "instruction",
            head="{description} Answer each question.\n\n",
            question="### Question\n",
            answer="\n### Answer\n",
            joint="",
            stops=("\n###", "\n\n"),
        ),
        Template(
            "chain-of-thought",
            question="Q: ",
            answer="\nA: Let's think step by step.",
            marker=" So the answer is",
            stops=("\n",),
        ),
        Template("raw"),
        Template("raw-described", head="{description}\n\n"),
        Template("described-answer", head="{description}\n\n", answer="\nAnswer:"),
    )
}


def template_named(name: str) -> Template:
    """The template of a name.

    Raises:
        BadInputError: there is none; the message lists those there are.
    """
    if name not in TEMPLATES:
        raise BadInputError(f"--template {name}: unknown; {hint(name, TEMPLATES)}")
    return TEMPLATES[name]


def prompt_of(template: Template, description: str, item: Item) -> Prompt:
    """An item as text."""
    targets = item.query.choices or item.accepted[:1]
    return Prompt(
        template.prefix(description, item.shots),
        template.asked(item.query),
        tuple(template.joint + target for target in targets),
    )
