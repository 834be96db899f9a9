"""A task evaluated on a model: prompts in, log-probabilities and generated text out, scores of every item."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scaling.config.record import TaskScores
from scaling.evals import metrics
from scaling.evals.inference import GREEDY, InferenceEngine, Request
from scaling.evals.items import EvalTask, Item
from scaling.evals.masked_inference import MaskedEngine
from scaling.evals.metrics import ACCURACIES, ANSWER_METRICS, CHOICE_METRICS, METRICS, TEXT_METRICS
from scaling.evals.prompts import Prompt, PromptEncoder, prompt_of
from scaling.models.generate import Sampling, until
from scaling.runtime.errors import BadInputError
from scaling.tasks.demonstrations import Template

Advance = Callable[[int], None]
Engine = InferenceEngine | MaskedEngine

_BEYOND_ANSWER = 4  # tokens generated beyond the longest answer, so that a wrong ending shows
_REASONING = 128  # tokens of reasoning, if the model has the positions
_NAMED = 100  # unusable items that a document names


@dataclass(frozen=True)
class EvalSettings:
    """How a task is evaluated: everything except the model and the task.

    With `pass_at`, `samples` texts per item are drawn at `temperature`.
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
class ScoredItem:
    """One item, its prompt, and its scores."""

    index: int
    item: Item
    prompt: Prompt
    text: str  # of the context
    context: tuple[int, ...]
    answer: tuple[int, ...]  # ids of the first accepted answer, or of the best choice
    values: dict[str, float] = field(default_factory=dict)
    generated: str | None = None
    choice_log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """The scored items of a task, and how many were skipped because they did not fit or were `unusable`."""

    items: tuple[ScoredItem, ...]
    skipped: int
    unusable: tuple[str, ...] = ()

    def scores(self, task: EvalTask, settings: EvalSettings) -> TaskScores:
        """The mean of every metric that all items have, with its interval, and the mean answer length."""
        names: dict[str, Any] = {name: None for one in self.items for name in one.values}
        first = [name for name in task.metrics if name in names]
        order = [*first, *(name for name in names if name not in first)]
        values = {name: np.array([one.values[name] for one in self.items]) for name in order}
        return TaskScores(
            task=task.name,
            shots=settings.shots,
            template=settings.template.name,
            n=len(self.items),
            skipped=self.skipped,
            unusable=self.unusable[:_NAMED],
            chance=task.chance,
            answer_tokens=float(np.mean([len(one.answer) for one in self.items])) if self.items else None,
            scores={name: metrics.summary(each, settings.seed) for name, each in values.items()},
        )


class Evaluator:
    """Evaluates tasks on one model."""

    def __init__(self, engine: Engine, encoder: PromptEncoder) -> None:
        self.engine, self.encoder = engine, encoder

    def evaluate(
        self, task: EvalTask, settings: EvalSettings, advance: Advance = lambda count: None
    ) -> TaskResult:
        """Score `settings.items` items of a task, or all if it has fewer.

        Raises:
            BadInputError: the tokenizer does not fit the model's vocabulary, or a metric is unknown.
        """
        for metric in task.metrics:
            if metric not in METRICS:
                raise BadInputError(f"task {task.name}: metric {metric!r}: known: {', '.join(METRICS)}")
        indices = chosen_items(task.size(), settings.items, settings.seed)
        reasons = {index: task.unusable(index) for index in indices}
        items = []
        for index in (index for index, reason in reasons.items() if reason is None):
            item = task.item(index, settings.shots, settings.seed)
            prompt = prompt_of(settings.template, task.description, item)
            items.append(self._encoded(index, item, prompt, prompt.prefix + prompt.question))
        items = [one for one in items if self._fits(one, settings)]
        if settings.template.marker and items:
            items = self._with_reasoning(items, settings)
        if items:
            self._score_choices(items, task, settings)
            self._score_answers(items, task)
            self._score_texts(items, task, settings)
        advance(len(indices))
        skipped = len(indices) - len(items)
        return TaskResult(tuple(items), skipped, tuple(filter(None, reasons.values())))

    # -- prompts ---------------------------------------------------------------------------------------

    def _encoded(self, index: int, item: Item, prompt: Prompt, text: str) -> ScoredItem:
        best = int(np.argmax(item.grades)) if item.grades else 0
        context, answer = self.encoder.pair(text, prompt.targets[best])
        return ScoredItem(index, item, prompt, text, context, answer)

    def _fits(self, one: ScoredItem, settings: EvalSettings) -> bool:
        """Whether the context and its longest target are within the model's positions."""
        longest = max(len(self.encoder.pair("", target)[1]) for target in one.prompt.targets)
        template = settings.template
        marker = len(self.encoder.context(template.marker)) + 1 if template.marker else 0
        return self.engine.fits((*one.context, *[0] * marker), max(longest, len(one.answer)))

    def _shared(self, one: ScoredItem) -> int:
        return self.encoder.shared(one.prompt.prefix, one.context)

    def _with_reasoning(self, items: list[ScoredItem], settings: EvalSettings) -> list[ScoredItem]:
        """The same items with the model's reasoning and the marker at the end of each context."""
        template = settings.template
        stops = (template.marker, template.separator)
        texts = self._generate(items, stops, _REASONING)
        marker = len(self.encoder.context(template.marker)) + 1
        extended = []
        for one, (ids,) in zip(items, texts, strict=True):
            room = self.engine.config.max_length - len(one.context) - marker - len(one.answer)
            if not self.engine.encoder_decoder:
                ids = ids[: max(0, room)]
            reasoning = cut(self.encoder.tokenizer.decode(ids), stops).rstrip()
            text = f"{one.text}{reasoning}{template.marker}"
            again = self._encoded(one.index, one.item, one.prompt, text)
            if self._fits(again, settings):
                extended.append(again)
        return extended

    # -- scores ----------------------------------------------------------------------------------------

    def _score_choices(self, items: list[ScoredItem], task: EvalTask, settings: EvalSettings) -> None:
        """Grades of the likeliest choice under five normalisations, and scores of the probabilities.

        The log-probabilities of choices are compared as sums, per token, relative to those of the choice
        without the question (Brown et al. 2020, section 2.4), and, as lm-evaluation-harness does, per
        character of the choice (`acc_norm`) and per byte (`acc_bytes`), without what joins it to the context.
        Probabilities are those of the sums. `choice_accuracy` is the harness's `acc`.
        """
        if not set(task.metrics) & set(CHOICE_METRICS):
            return
        requests, bare = [], []
        for one in items:
            shared = self._shared(one)
            for target in one.prompt.targets:
                context, answer = self.encoder.pair(one.text, target)
                requests.append(Request(context, answer, shared))
                # Without the question: after the answer's prefix, or after the start of a text.
                context, answer = self.encoder.pair(settings.template.answer_context, target)
                bare.append(Request(context or (self.engine.start,), answer))
        scored = self.engine.score(requests)
        distinct = list(dict.fromkeys(bare))
        unconditional = dict(zip(distinct, self.engine.score(distinct), strict=True))
        at = 0
        for one in items:
            some = slice(at, at + len(one.prompt.targets))
            at = some.stop
            sums = [each.total for each in scored[some]]
            per_token = [each.total / len(each.log_probs) for each in scored[some]]
            relative = [s - unconditional[request].total for s, request in zip(sums, bare[some], strict=True)]
            grades = one.item.grades
            texts = one.item.query.choices or one.item.accepted[:1]
            per_character = [each / max(1, len(text)) for each, text in zip(sums, texts, strict=True)]
            per_byte = [each / max(1, len(text.encode())) for each, text in zip(sums, texts, strict=True)]
            values = {
                "choice_accuracy": grades[int(np.argmax(sums))],
                "choice_accuracy_per_token": grades[int(np.argmax(per_token))],
                "choice_accuracy_unconditional": grades[int(np.argmax(relative))],
                "acc_norm": grades[int(np.argmax(per_character))],
                "acc_bytes": grades[int(np.argmax(per_byte))],
                "choice_log_prob": metrics.right_log_prob(sums, grades),
                "brier": metrics.brier(metrics.choice_probabilities(sums), grades),
            }
            one.choice_log_probs = tuple(sums)
            one.values |= {
                name: value for name, value in values.items() if name in task.metrics or name in ACCURACIES
            }
            one.values |= {"answer_log_prob": sums[int(np.argmax(grades))]}

    def _score_answers(self, items: list[ScoredItem], task: EvalTask) -> None:
        wanted = [name for name in task.metrics if name in ANSWER_METRICS]
        if not wanted:
            return
        scored = self.engine.score([Request(one.context, one.answer, self._shared(one)) for one in items])
        for one, each in zip(items, scored, strict=True):
            values = {
                "answer_log_prob": each.total,
                "token_accuracy": float(np.mean(each.likeliest)),
                "likeliest_match": float(all(each.likeliest)),
            }
            one.values |= {name: values[name] for name in wanted}

    def _score_texts(self, items: list[ScoredItem], task: EvalTask, settings: EvalSettings) -> None:
        writes = not isinstance(self.engine, MaskedEngine)
        wanted = [name for name in task.metrics if name in TEXT_METRICS and writes]
        template, decode = settings.template, self.encoder.tokenizer.decode
        new = settings.new_tokens or max(len(one.answer) for one in items) + _BEYOND_ANSWER
        if wanted:
            for one, (ids,) in zip(items, self._generate(items, template.stops, new), strict=True):
                one.generated = template.answer_in(decode(ids))
                one.values |= {n: self._text_score(n, one.generated, one.item.accepted) for n in wanted}
        if settings.pass_at:
            sampling, samples = Sampling(settings.temperature), settings.samples
            drawn = self._generate(items, template.stops, new, sampling, samples, settings.seed)
            for one, texts in zip(items, drawn, strict=True):
                right = sum(template.answer_in(decode(ids)) in one.item.accepted for ids in texts)
                for k in settings.pass_at:
                    one.values[f"pass_at_{k}"] = metrics.pass_at_k(samples, right, k)

    def _text_score(self, metric: str, text: str, accepted: Sequence[str]) -> float:
        match metric:
            case "exact_match":
                return float(text in {answer.strip() for answer in accepted})
            case "squad_exact":
                return metrics.squad_exact(text, accepted)
            case "squad_f1":
                return metrics.squad_f1(text, accepted)
        encode = self.encoder.tokenizer.encode
        return max(
            metrics.edit_similarity(encode(text).tolist(), encode(answer.strip()).tolist())
            for answer in accepted
        )

    def _generate(
        self,
        items: Sequence[ScoredItem],
        stops: Sequence[str],
        new_tokens: int,
        sampling: Sampling = GREEDY,
        samples: int = 1,
        seed: int = 0,
    ) -> list[list[list[int]]]:
        contexts, shared = [one.context for one in items], [self._shared(one) for one in items]
        return self.generate(contexts, shared, stops, new_tokens, sampling, samples, seed)

    def generate(
        self,
        contexts: Sequence[tuple[int, ...]],
        shared: Sequence[int],
        stops: Sequence[str],
        new_tokens: int,
        sampling: Sampling = GREEDY,
        samples: int = 1,
        seed: int = 0,
    ) -> list[list[list[int]]]:
        """Ids generated after each context, up to the end of a text; some may follow a stop."""
        decode, ends = self.encoder.tokenizer.decode, self.encoder.ends
        texts = self.engine.generate(
            contexts,
            new_tokens=new_tokens,
            ended=lambda ids: until(ids, ends) != ids or any(stop in decode(ids) for stop in stops),
            shared=shared,
            sampling=sampling,
            samples=samples,
            seed=seed,
        )
        return [[until(ids, ends) for ids in each] for each in texts]


def chosen_items(size: int | None, items: int, seed: int) -> list[int]:
    """The numbers of the items to score, in order: all of `size`, or a random `items` of them."""
    if size is None or size <= items:
        return list(range(items if size is None else size))
    rng = np.random.default_rng((seed, size))
    return sorted(rng.choice(size, items, replace=False).tolist())


def cut(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of the stops."""
    for stop in stops:
        text = text.partition(stop)[0]
    return text
