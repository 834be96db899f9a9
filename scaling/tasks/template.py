"""How an example becomes text. Training documents and prompts use the same ones, so that they agree."""

from collections.abc import Sequence
from dataclasses import dataclass

from scaling.tasks.example import Example


@dataclass(frozen=True)
class Template:
    """The words around questions and answers.

    A prompt is each shot and `separator`, then the question up to and with `answer`. What a model writes
    after that is its answer up to `stop`. With a `marker` the reasoning is written first, and the answer
    after the marker (Wei et al. 2022, arXiv:2201.11903); an example without reasoning has the marker alone.
    """

    name: str
    question: str = ""
    answer: str = "="
    separator: str = "\n"
    stop: str = "\n"
    marker: str = ""

    def asked(self, example: Example) -> str:
        """A question up to where its answer, or the reasoning before it, begins."""
        return f"{self.question}{example.question}{self.answer}"

    def solved(self, example: Example) -> str:
        """A question with its answer and the separator."""
        reasoning = f"{example.reasoning}{self.marker}" if self.marker else ""
        return f"{self.asked(example)}{reasoning}{example.answer}{self.separator}"

    def prompt(self, shots: Sequence[Example], query: Example) -> str:
        """Everything before the answer of the query."""
        return "".join(map(self.solved, shots)) + self.asked(query)


PLAIN = Template("plain")
"""`12+34=46` and a newline: few bytes, for models whose context is short."""
CHAIN = Template("chain", marker=":")
"""`7+5-3+8=2,9:7` and a newline: intermediate results, then the answer."""
