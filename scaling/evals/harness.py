"""A model of this package behind lm-evaluation-harness's interface: `pip install 'scaling-lab[evals]'`.

    simple_evaluate(model=HarnessModel(asker), tasks=["hellaswag"], num_fewshot=8)

runs the harness's own tasks over the engine of `scaling evaluate`, with its cache and its mesh.
"""

import json
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from scaling.evals.ask import Asker, cut
from scaling.evals.engine import Request
from scaling.models.generate import Sampling
from scaling.runtime.errors import BadInputError

_NEW_TOKENS = 256  # the harness's own default
_KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p"}


class HarnessModel(LM):
    """Answers the harness's three questions.

    A context begins with the id that texts begin with in training, as `scaling evaluate` has it. What does
    not fit the model's positions is refused: the harness's own models cut it from the left without a word.
    """

    def __init__(self, asker: Asker) -> None:
        super().__init__()
        self.asker = asker

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-probability of each continuation, in nats, and whether greedy writing would write it."""
        pairs = [self.asker.encoder.pair(*request.args) for request in requests]
        start = (self.asker.engine.start,)
        pairs = [(context or start, answer) for context, answer in pairs]
        shared = _common([context for context, _ in pairs])
        scored = self.asker.engine.score([Request(context, answer, shared) for context, answer in pairs])
        return [(each.total, all(each.likeliest)) for each in scored]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each whole text, in nats, in windows of as many positions as there are."""
        engine, encoder = self.asker.engine, self.asker.encoder
        if engine.reads_pairs:
            raise BadInputError("an encoder-decoder has no probability of a text by itself")
        windows: list[Request] = []
        owners: list[int] = []
        for i, request in enumerate(requests):
            ids = encoder.tokenizer.encode(request.args[0]).tolist()
            positions = engine.config.max_length
            for window in get_rolling_token_windows(ids, engine.start, positions, context_len=1):
                context, answer = make_disjoint_window(window)
                windows.append(Request(tuple(context), tuple(answer)))
                owners.append(i)
        totals = [0.0] * len(requests)
        for i, scored in zip(owners, engine.score(windows), strict=True):
            totals[i] += scored.total
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to the first of the request's stops."""
        texts = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(i)
        for settings, indices in groups.items():
            contexts = [requests[i].args[0] for i in indices]
            for i, text in zip(indices, self._write(contexts, json.loads(settings)), strict=True):
                texts[i] = text
        return texts

    def _write(self, contexts: Sequence[str], settings: dict[str, Any]) -> list[str]:
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
        tokenizer = self.asker.encoder.tokenizer
        ids = [self.asker.encoder.context(context) or (self.asker.engine.start,) for context in contexts]
        shared = [_common(ids)] * len(ids)
        new = int(settings.get("max_gen_toks", _NEW_TOKENS))
        written = self.asker.written(ids, shared, stops, new, sampling)
        return [cut(tokenizer.decode(text), stops) for (text,) in written]


def _common(contexts: Sequence[tuple[int, ...]]) -> int:
    """How many ids all contexts begin with."""
    if not contexts:
        return 0
    first, last = min(contexts), max(contexts)
    count = 0
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        count += 1
    return count
