"""A model of this package as an lm-evaluation-harness model: `pip install 'scaling-lab[evals]'`.

    simple_evaluate(model=HarnessModel(evaluator), tasks=["hellaswag"], num_fewshot=8)

runs the harness's own tasks on the engine of `scaling evaluate`, with its cache and its mesh.
"""

import json
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from scaling.evals.evaluator import Evaluator, cut
from scaling.evals.inference import Request
from scaling.evals.prompts import common_length
from scaling.models.generate import Sampling
from scaling.runtime.errors import BadInputError

_NEW_TOKENS = 256  # the harness's own default
_KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p"}


class HarnessModel(LM):
    """Implements the three methods of the harness's `LM`.

    A context begins with the id that texts begin with in training, as in `scaling evaluate`; of imported
    weights, with what their own tokenizer puts before a text, as in the harness's `hf`. Requests that
    exceed the model's positions are refused; the harness's own models silently cut them from the left.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()
        self.evaluator = evaluator

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-probability of each continuation, in nats, and whether greedy decoding would produce it."""
        engine = self.evaluator.engine
        pairs = [self._pair(*request.args) for request in requests]
        shared = _common([context for context, _ in pairs])
        scored = engine.score([Request(context, answer, shared) for context, answer in pairs])
        return [(each.total, all(each.likeliest)) for each in scored]

    def _pair(self, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """White space at the end of a context belongs to the continuation, as in the harness's own models."""
        kept = context.rstrip()
        ids, answer = self.evaluator.encoder.pair(kept, context[len(kept) :] + continuation)
        return ids or (self.evaluator.engine.start,), answer

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text, in nats, in windows of the model's positions.

        An encoder-decoder reads the end of a text, and writes the text and its end.
        """
        engine, encoder = self.evaluator.engine, self.evaluator.encoder
        end = encoder.closing if engine.encoder_decoder else ()
        first = end[-1] if end else engine.start
        windows: list[Request] = []
        owners: list[int] = []
        for i, request in enumerate(requests):
            ids = [*encoder.tokenizer.encode(request.args[0]).tolist(), *end]
            positions = engine.config.max_length
            for window in get_rolling_token_windows(ids, first, positions, context_len=1):
                context, answer = make_disjoint_window(window)
                windows.append(Request(tuple(context), tuple(answer)))
                owners.append(i)
        totals = [0.0] * len(requests)
        for i, scored in zip(owners, engine.score(windows), strict=True):
            totals[i] += scored.total
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generated text after each context, up to the first of the request's stops."""
        texts = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(i)
        for settings, indices in groups.items():
            contexts = [requests[i].args[0] for i in indices]
            for i, text in zip(indices, self._generate(contexts, json.loads(settings)), strict=True):
                texts[i] = text
        return texts

    def _generate(self, contexts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        unknown = sorted(set(settings) - _KNOWN)
        if unknown:
            raise BadInputError(
                f"generation_kwargs: {unknown[0]!r} is not known; known: {', '.join(sorted(_KNOWN))}"
            )
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        drawn = settings.get("do_sample", settings.get("temperature", 0.0) > 0)
        sampling = Sampling(
            float(settings.get("temperature", 1.0)) if drawn else 0.0,
            settings.get("top_k") if drawn else None,
            settings.get("top_p") if drawn else None,
        )
        engine, encoder = self.evaluator.engine, self.evaluator.encoder
        ids = [encoder.context(context) or (engine.start,) for context in contexts]
        shared = [_common(ids)] * len(ids)
        new = int(settings.get("max_gen_toks", _NEW_TOKENS))
        generated = self.evaluator.generate(ids, shared, stops, new, sampling)
        return [cut(encoder.tokenizer.decode(text), stops) for (text,) in generated]


def _common(contexts: Sequence[tuple[int, ...]]) -> int:
    """The number of leading ids that all contexts share."""
    return common_length(min(contexts), max(contexts)) if contexts else 0
