"""A law of the loss in parameters and tokens, and what follows from it by arithmetic alone.

L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv:2203.15556, equation 2).
`scaling.laws` fits it; here one that is known already is read and used, without NumPy.
"""

import itertools
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaling.config.base import Frozen
from scaling.config.errors import BadInputError
from scaling.config.reach import HoldoutRow, Reach, reach
from scaling.config.record import TokenizerInfo

NATS_PER_TOKEN = "nats per token"

Counting = Literal["total", "non_embedding", "non_embedding_with_head"]
Interval = tuple[float, float]

_NAMES = ("E", "A", "B", "alpha", "beta")
# What a law.json of `scaling fit` says that its N counts, in words.
_IN_WORDS: dict[str, Counting] = {
    "all parameters": "total",
    "parameters without embeddings": "non_embedding",
    "parameters without embeddings, with the output head": "non_embedding_with_head",
}


class LossLaw(Frozen):
    """A law of Chinchilla's form with what is known of its uncertainty.

    `intervals` are of single parameters; `draws` are rows of all five, of a bootstrap, and are used first:
    the parameters lean on each other, so that their single intervals say far less than the rows do.
    """

    name: str
    source: str
    E: float = Field(ge=0, le=1e3)
    A: float = Field(gt=0, le=1e200)
    B: float = Field(gt=0, le=1e200)
    alpha: float = Field(ge=1e-3, le=4)  # as `scaling fit` bounds them
    beta: float = Field(ge=1e-3, le=4)
    counts: Counting = "non_embedding_with_head"
    intervals: dict[str, Interval] = Field(default_factory=dict)
    draws: tuple[tuple[float, float, float, float, float], ...] = ()
    level: float | None = None  # of the intervals and draws
    note: str | None = None  # what to know before trusting it
    ranges: dict[str, Interval] = Field(default_factory=dict)  # of params, tokens and FLOPs in its data
    unit: str = NATS_PER_TOKEN
    tokenizer: TokenizerInfo | None = None  # of its tokens; null is not known
    dataset: str | None = None
    rolling: tuple[HoldoutRow, ...] = ()  # its rolled hold-out

    def loss(self, params: float, tokens: float) -> float:
        """In `unit`."""
        return _loss((self.E, self.A, self.B, self.alpha, self.beta), params, tokens)

    def tokens_for(self, params: float, loss: float) -> float:
        """Tokens after which N parameters reach a loss; infinite where they never do."""
        left = loss - self.E - self.A * _power(params, -self.alpha)
        if left <= 0:
            return math.inf
        exponent = (math.log(self.B) - math.log(left)) / self.beta
        return math.exp(exponent) if exponent < 700 else math.inf

    def optimum(self, flops: float) -> tuple[float, float]:
        """The N and D with the least loss under 6ND = flops (Hoffmann et al. 2022, equation 4)."""
        both = self.alpha + self.beta
        scale = math.log(self.alpha) + math.log(self.A) - math.log(self.beta) - math.log(self.B)
        params = _exp((scale + self.beta * (math.log(flops) - math.log(6))) / both)
        return params, flops / 6 / params

    def interval(self, params: float, tokens: float) -> tuple[Interval | None, str]:
        """Bounds of the predicted loss, and in words what they are; None where nothing is known."""
        if self.draws:
            losses = sorted(_loss(row, params, tokens) for row in self.draws)
            tail = (1 - (self.level or 0.95)) / 2
            bounds = _finite(_quantile(losses, tail), _quantile(losses, 1 - tail))
            share = "" if self.level is None else f" ({self.level:.0%})"
            return bounds, f"percentiles of the law's bootstrap{share}; the noise of one run is not in them"
        if all(name in self.intervals for name in _NAMES):
            # Each term is monotone in each parameter, so the corners of the box hold the extremes.
            corners = itertools.product(*(self.intervals[name] for name in _NAMES))
            losses = [_loss(corner, params, tokens) for corner in corners]
            return _finite(min(losses), max(losses)), (
                "every parameter at an end of its own interval at once: wider than any of them, because how "
                "they vary together is not known"
            )
        return None, "no interval: the law comes without the uncertainty of its parameters"

    def reach(self, params: float, tokens: float) -> Reach | None:
        """How far beyond the law's data a prediction is; None inside them, or where they are unknown."""
        return reach({"params": params, "tokens": tokens}, self.ranges, self.rolling)


def _loss(parameters: tuple[float, ...], params: float, tokens: float) -> float:
    E, A, B, alpha, beta = parameters
    return E + A * _power(params, -alpha) + B * _power(tokens, -beta)


def _exp(exponent: float) -> float:
    """exp that stops short of infinity and of zero: a law of one's own may hold any exponents."""
    return math.exp(min(690.0, max(-690.0, exponent)))


def _power(base: float, exponent: float) -> float:
    return _exp(exponent * math.log(base))


def _finite(low: float, high: float) -> Interval | None:
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


class _Bootstrap(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    level: float = Field(gt=0, lt=1)
    samples: dict[str, tuple[float | None, ...]]


class _Document(BaseModel):
    """The parts of a law.json that a plan reads (the whole document: scaling.laws.law)."""

    model_config = ConfigDict(allow_inf_nan=False)

    law: str
    parameters: dict[str, float | None]  # null of a term that the law's limiting form lacks
    intervals: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    counting: dict[str, str] = Field(default_factory=dict)
    bootstrap: _Bootstrap | None = None
    ranges: dict[str, Interval] = Field(default_factory=dict)
    loss_unit: str = NATS_PER_TOKEN
    tokenizer: TokenizerInfo | None = None
    dataset: str | None = None
    rolling: tuple[HoldoutRow, ...] | None = None
    warnings: tuple[str, ...] = ()


def read_loss_law(path: Path) -> LossLaw:
    """The law in a law.json of `scaling fit`.

    Raises:
        BadInputError: no such file, not a law.json, or a law of another form.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"--law {path}: {error.strerror}; give a law.json of `scaling fit`") from error
    try:
        document = _Document.model_validate_json(text)
    except ValidationError as error:
        raise BadInputError(f"--law {path}: not a law.json of `scaling fit`: {_first(error)}") from error
    if document.law != "chinchilla":
        raise BadInputError(
            f"--law {path}: the law is {document.law!r}; a plan needs the loss as a function of parameters "
            f"and tokens: fit one with `scaling fit ... --law chinchilla`"
        )
    missing = [name for name in _NAMES if document.parameters.get(name) is None]
    if missing:
        raise BadInputError(
            f"--law {path}: it has no {', '.join(missing)}: its runs do not determine how the loss falls "
            "with both parameters and tokens, and a plan needs that; fit more sizes and token budgets"
        )
    words = document.counting.get("params", "")
    known: dict[str, Any] = {name: document.parameters[name] for name in _NAMES}
    boot = document.bootstrap
    if boot is not None and all(boot.samples.get(name) for name in _NAMES):
        rows = zip(*(boot.samples[name] for name in _NAMES), strict=False)
        known["draws"] = tuple(row for row in rows if None not in row)
        known["level"] = boot.level
    if words not in _IN_WORDS:
        known["note"] = (
            f"the law's N is {words or 'not named'}; taken for parameters without embeddings, with the head"
        )
    try:
        return LossLaw(
            name=str(path),
            source=f"{path}, fitted by `scaling fit`",
            counts=_IN_WORDS.get(words, "non_embedding_with_head"),
            intervals={
                name: bounds
                for name, bounds in document.intervals.items()
                if name in _NAMES and None not in bounds
            },
            ranges=document.ranges,
            unit=document.loss_unit,
            tokenizer=document.tokenizer,
            dataset=document.dataset,
            rolling=document.rolling or (),
            **known,
        )
    except ValidationError as error:
        raise BadInputError(f"--law {path}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"{where}: {message}" if where else message
