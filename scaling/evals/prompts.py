"""From an item to token ids: named templates, prompts as text, the cut between context and target."""

from dataclasses import dataclass
from functools import lru_cache

from scaling.data.tokenizers import Tokenizer
from scaling.evals.items import Item
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.tasks.demonstrations import CHAIN, PLAIN, Template

TEMPLATES = {
    template.name: template
    for template in (
        PLAIN,  # these two as in training documents
        CHAIN,
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
        ),
        Template("raw"),
        Template("raw-described", head="{description}\n\n"),
        Template("described-answer", head="{description}\n\n", answer="\nAnswer:"),
    )
}


def template_named(name: str) -> Template:
    """The template of a name.

    Raises:
        BadInputError: there is none; the message lists the templates.
    """
    if name not in TEMPLATES:
        raise BadInputError(f"--template {name}: unknown; {hint(name, TEMPLATES)}")
    return TEMPLATES[name]


@dataclass(frozen=True)
class Prompt:
    """An item as text. The context is the prefix and the question; each target may follow it."""

    prefix: str
    question: str
    targets: tuple[str, ...]  # the choices in order; without choices, the answer


def prompt_of(template: Template, description: str, item: Item) -> Prompt:
    """An item as text."""
    targets = item.query.choices or item.accepted[:1]
    return Prompt(
        template.prefix(description, item.shots),
        template.unsolved(item.query),
        tuple(template.joint + target for target in targets),
    )


class PromptEncoder:
    """Encodes prompts for one model.

    `begin` is the id that opens a decoder's context, as it opened texts in training; None for an
    encoder-decoder. Of imported weights, `opening` and `closing` are the ids that their tokenizer puts around
    a text: contexts then begin with `opening`, and with `begin` only if they are empty otherwise; the source
    of an encoder-decoder also ends with `closing`. `ends` are the ids that end generated text; None is the
    tokenizer's end of text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        begin: int | None,
        opening: tuple[int, ...] | None = None,
        closing: tuple[int, ...] = (),
        ends: tuple[int, ...] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.ends = (tokenizer.end_of_text,) if ends is None else ends
        self._begin = () if begin is None else (begin,)
        self._opening = self._begin if opening is None else opening
        self.closing = closing if begin is None else ()
        self._encode = lru_cache(maxsize=4096)(lambda text: tuple(tokenizer.encode(text).tolist()))

    def context(self, text: str) -> tuple[int, ...]:
        """The ids of a context."""
        return (*self._opening, *self._encode(text), *self.closing) or self._begin

    def pair(self, context: str, target: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of a context and of the target after it.

        Both are encoded as one text, which is cut where the context alone ends, so that a piece that begins
        with a space belongs to the target. For the same reason the context's trailing spaces move to the
        target. If that leaves no target, the two are encoded separately.
        """
        kept = context.rstrip(" ")
        target = context[len(kept) :] + target
        if self._begin:
            both, alone = self._encode(kept + target), self._encode(kept)
            if len(both) > len(alone):
                return (*self._opening, *both[: len(alone)]) or self._begin, both[len(alone) :]
        return self.context(kept), self._encode(target)

    def shared(self, prefix: str, context: tuple[int, ...]) -> int:
        """The number of leading ids of a context that encode a prefix which other contexts share."""
        return common_length(self.context(prefix), context)


def common_length(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """The number of leading ids that two sequences share."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
