"""A task put to a model: every item's prompt, what the model said of it, and what that scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scaling.evals import metrics
from scaling.evals.encoding import Encoder
from scaling.evals.engine import GREEDY, Engine, Request
from scaling.evals.items import Item, Source
from scaling.evals.templates import Prompt, Template, prompt_of
from scaling.models.generate import Sampling
from scaling.runtime.errors import BadInputError

Advance = Callable[[int], None]

# What needs the choices' probabilities, what a text the model writes, what the given answer's probability.
OF_CHOICES = ("choice_accuracy", "choice_log_prob", "brier")
OF_TEXT = ("exact_match", "edit_similarity", "squad_exact", "squad_f1")
OF_ANSWER = ("answer_log_prob", "token_accuracy", "likeliest_match")
METRICS = (*OF_CHOICES, *OF_TEXT, *OF_ANSWER)

_MORE_THAN_ANSWER = 4  # tokens written beyond the longest answer, so that a wrong ending shows
_REASONING = 128  # tokens, where the positions allow them


@dataclass(frozen=True)
class How:
    """How a task is asked: everything but the model and the task.

    `samples` texts an item are drawn at `temperature` where there is a `pass_at`.
    """

    template: Template
    shots: int = 0
    items: int = 500
    seed: int = 0
    new_tokens: int | None = None
    pass_at: tuple[int, ...] = ()
    samples: int = 0
    temperature: float = 0.8


@dataclass
class Asked:
    """One item that was put to a model, and what it scored."""

    index: int
    item: Item
    prompt: Prompt
    text: str  # of the context
    context: tuple[int, ...]
    answer: tuple[int, ...]  # ids of the first accepted answer, or of the best choice
    values: dict[str, float] = field(default_factory=dict)
    said: str | None = None  # what the model wrote
    choice_log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A task's items that were asked, and how many were skipped: they did not fit, or were `unusable`."""

    asked: tuple[Asked, ...]
    skipped: int
    unusable: tuple[str, ...] = ()


class Asker:
    """Puts tasks to one model."""

    def __init__(self, engine: Engine, encoder: Encoder) -> None:
        self.engine, self.encoder = engine, encoder

    def ask(self, source: Source, how: How, advance: Advance = lambda count: None) -> Outcome:
        """Ask `how.items` items of a task, or all where it has fewer.

        Raises:
            BadInputError: the tokenizer does not fit the model's vocabulary, or a metric is not known.
        """
        for metric in source.metrics:
            if metric not in METRICS:
                raise BadInputError(f"task {source.name}: metric {metric!r}: known: {', '.join(METRICS)}")
        indices = chosen_items(source.size(), how.items, how.seed)
        asked = []
        reasons = {index: source.unusable(index) for index in indices}
        for index in (index for index, reason in reasons.items() if reason is None):
            item = source.item(index, how.shots, how.seed)
            prompt = prompt_of(how.template, source.description, item)
            asked.append(self._ids(index, item, prompt, prompt.prefix + prompt.question))
        asked = [one for one in asked if self._fits(one, how)]
        if how.template.marker and asked:
            asked = self._reason(asked, how)
        skipped = len(indices) - len(asked)
        if asked:
            self._of_choices(asked, source, how)
            self._of_answers(asked, source)
            self._of_texts(asked, source, how)
        advance(len(indices))
        return Outcome(tuple(asked), skipped, tuple(filter(None, reasons.values())))

    # -- prompts ---------------------------------------------------------------------------------------

    def _ids(self, index: int, item: Item, prompt: Prompt, text: str) -> Asked:
        best = int(np.argmax(item.grades)) if item.grades else 0
        context, answer = self.encoder.pair(text, prompt.targets[best])
        return Asked(index, item, prompt, text, context, answer)

    def _fits(self, one: Asked, how: How) -> bool:
        """Whether the context, with any of its targets after it, is within the model's positions."""
        longest = max(len(self.encoder.pair("", target)[1]) for target in one.prompt.targets)
        marker = len(self.encoder.context(how.template.marker)) + 1 if how.template.marker else 0
        answer = max(longest, len(one.answer))
        return self.engine.fits((*one.context, *[0] * marker), answer)

    def _shared(self, one: Asked) -> int:
        return self.encoder.shared(one.prompt.prefix, one.context)

    def _reason(self, asked: list[Asked], how: How) -> list[Asked]:
        """The same items, each with the reasoning that the model wrote and the marker in its context."""
        stops = (how.template.marker, how.template.separator)
        texts = self._written(asked, stops, _REASONING)
        marker = len(self.encoder.context(how.template.marker)) + 1
        thought = []
        for one, (ids,) in zip(asked, texts, strict=True):
            room = self.engine.config.max_length - len(one.context) - marker - len(one.answer)
            if not self.engine.reads_pairs:
                ids = ids[: max(0, room)]
            reasons = cut(self.encoder.tokenizer.decode(ids), stops).rstrip()
            text = f"{one.text}{reasons}{how.template.marker}"
            again = self._ids(one.index, one.item, one.prompt, text)
            if self._fits(again, how):
                thought.append(again)
        return thought

    # -- what is measured ------------------------------------------------------------------------------

    def _of_choices(self, asked: list[Asked], source: Source, how: How) -> None:
        """Grades of the likeliest choice under three normalisations, and what the probabilities score.

        Likelihoods of choices are compared as sums, per token, and divided by the likelihood of the choice
        where no question was asked (Brown et al. 2020, section 2.4). Probabilities are of the sums.
        """
        if not set(source.metrics) & set(OF_CHOICES):
            return
        requests, bare = [], []
        nothing = how.template.answer_context
        for one in asked:
            shared = self._shared(one)
            for target in one.prompt.targets:
                context, answer = self.encoder.pair(one.text, target)
                requests.append(Request(context, answer, shared))
                bare.append(Request(*self._bare(nothing, target)))
        scored = self.engine.score(requests)
        distinct = list(dict.fromkeys(bare))
        unasked = dict(zip(distinct, self.engine.score(distinct), strict=True))
        at = 0
        for one in asked:
            some = slice(at, at + len(one.prompt.targets))
            at = some.stop
            sums = [each.total for each in scored[some]]
            per_token = [each.total / len(each.log_probs) for each in scored[some]]
            relative = [
                each.total - unasked[request].total
                for each, request in zip(scored[some], bare[some], strict=True)
            ]
            grades = one.item.grades
            values = {
                "choice_accuracy": grades[int(np.argmax(sums))],
                "choice_accuracy_per_token": grades[int(np.argmax(per_token))],
                "choice_accuracy_unconditional": grades[int(np.argmax(relative))],
                "choice_log_prob": metrics.right_log_prob(sums, grades),
                "brier": metrics.brier(metrics.posterior(sums), grades),
            }
            one.choice_log_probs = tuple(sums)
            one.values |= {
                name: value
                for name, value in values.items()
                if name in source.metrics or name.startswith("choice_accuracy_")
            }
            best = scored[some][int(np.argmax(grades))]
            one.values |= {"answer_log_prob": best.total}

    def _bare(self, context: str, target: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A target after the answer's prefix alone; where a template has none, after the start of a text."""
        ids, answer = self.encoder.pair(context, target)
        return ids or (self.engine.start,), answer

    def _of_answers(self, asked: list[Asked], source: Source) -> None:
        wanted = [name for name in source.metrics if name in OF_ANSWER]
        if not wanted:
            return
        scored = self.engine.score([Request(one.context, one.answer, self._shared(one)) for one in asked])
        for one, each in zip(asked, scored, strict=True):
            values = {
                "answer_log_prob": each.total,
                "token_accuracy": float(np.mean(each.likeliest)),
                "likeliest_match": float(all(each.likeliest)),
            }
            one.values |= {name: values[name] for name in wanted}

    def _of_texts(self, asked: list[Asked], source: Source, how: How) -> None:
        wanted = [name for name in source.metrics if name in OF_TEXT]
        if not wanted and not how.pass_at:
            return
        template, decode = how.template, self.encoder.tokenizer.decode
        new = how.new_tokens or max(len(one.answer) for one in asked) + _MORE_THAN_ANSWER
        if wanted:
            for one, (ids,) in zip(asked, self._written(asked, template.stops, new), strict=True):
                one.said = template.said(decode(ids))
                one.values |= {name: self._of_text(name, one.said, one.item.accepted) for name in wanted}
        if how.pass_at:
            drawn = self._written(
                asked, template.stops, new, Sampling(how.temperature), how.samples, how.seed
            )
            for one, texts in zip(asked, drawn, strict=True):
                right = sum(template.said(decode(ids)) in one.item.accepted for ids in texts)
                for k in how.pass_at:
                    one.values[f"pass_at_{k}"] = metrics.pass_at_k(how.samples, right, k)

    def _of_text(self, metric: str, said: str, accepted: Sequence[str]) -> float:
        match metric:
            case "exact_match":
                return float(said in {answer.strip() for answer in accepted})
            case "squad_exact":
                return metrics.squad_exact(said, accepted)
            case "squad_f1":
                return metrics.squad_f1(said, accepted)
        encode = self.encoder.tokenizer.encode
        return max(
            metrics.edit_similarity(encode(said).tolist(), encode(answer.strip()).tolist())
            for answer in accepted
        )

    def _written(
        self,
        asked: Sequence[Asked],
        stops: Sequence[str],
        new_tokens: int,
        sampling: Sampling = GREEDY,
        samples: int = 1,
        seed: int = 0,
    ) -> list[list[list[int]]]:
        contexts, shared = [one.context for one in asked], [self._shared(one) for one in asked]
        return self.written(contexts, shared, stops, new_tokens, sampling, samples, seed)

    def written(
        self,
        contexts: Sequence[tuple[int, ...]],
        shared: Sequence[int],
        stops: Sequence[str],
        new_tokens: int,
        sampling: Sampling = GREEDY,
        samples: int = 1,
        seed: int = 0,
    ) -> list[list[list[int]]]:
        """Ids that the model writes after each context, up to the end of a text; some may follow a stop."""
        decode, end = self.encoder.tokenizer.decode, self.encoder.tokenizer.end_of_text
        texts = self.engine.write(
            contexts,
            new_tokens=new_tokens,
            ended=lambda ids: end in ids or any(stop in decode(ids) for stop in stops),
            shared=shared,
            sampling=sampling,
            samples=samples,
            seed=seed,
        )
        return [[ids[: ids.index(end)] if end in ids else ids for ids in each] for each in texts]


def chosen_items(size: int | None, items: int, seed: int) -> list[int]:
    """The numbers of the items that are asked: of more than enough a draw under the seed, in order."""
    if size is None or size <= items:
        return list(range(items if size is None else size))
    rng = np.random.default_rng((seed, size))
    return sorted(rng.choice(size, items, replace=False).tolist())


def cut(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of the stops."""
    for stop in stops:
        text = text.partition(stop)[0]
    return text
