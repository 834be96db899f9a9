"""A law of the loss in parameters and tokens: read, published or converted, and what follows from it.

L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv:2203.15556, equation 2).
`scaling.laws` fits it; here a known law is used by arithmetic alone, without NumPy.

Nats per token and tokens belong to one tokenizer: a law of bytes says nothing about a model with a vocabulary
of 50,257 until both are in bytes. With b the bytes per token, D tokens of the model are D b_model / b_law
tokens of the law, and its nats per token times b_model / b_law are the model's: nats per byte are equal.
"""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaling.config.base import Frozen
from scaling.config.chinchilla import EXPONENT, PARAMETERS, log_slope_ratio
from scaling.config.compute_cost import ComputeCost
from scaling.config.reach import HoldoutRow, Reach, reach
from scaling.config.reach_errors import ErrorsByReach, widened
from scaling.config.record import PARAM_WORDS, ParamCounting, TokenizerInfo
from scaling.estimate.shapes import VOCABULARY, padded_vocabulary
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint, near

NATS_PER_TOKEN = "nats per token"

Interval = tuple[float, float]

# A law.json without `counts`, as earlier versions wrote it, describes its N only in words.
_OF_WORDS: dict[str | None, ParamCounting] = {words: name for name, words in PARAM_WORDS.items()}


class LossLaw(Frozen):
    """A law of Chinchilla's form with what is known of its uncertainty.

    `intervals` are of single parameters; `draws` are bootstrap samples of all five, and are used first: the
    parameters are correlated, so that single intervals say far less.
    """

    name: str
    source: str
    E: float = Field(ge=0, le=1e3)
    A: float = Field(gt=0, le=1e200)
    B: float = Field(gt=0, le=1e200)
    alpha: float = Field(ge=EXPONENT[0], le=EXPONENT[1])
    beta: float = Field(ge=EXPONENT[0], le=EXPONENT[1])
    counts: ParamCounting = "non_embedding_with_head"
    intervals: dict[str, Interval] = Field(default_factory=dict)
    draws: tuple[tuple[float, float, float, float, float], ...] = ()
    level: float | None = None  # of the intervals and draws
    note: str | None = None  # what to know before trusting it
    ranges: dict[str, Interval] = Field(default_factory=dict)  # of params, tokens and FLOPs in its data
    unit: str = NATS_PER_TOKEN
    tokenizer: TokenizerInfo | None = None  # of its tokens; null is not known
    dataset: str | None = None
    rolling: tuple[HoldoutRow, ...] = ()  # its rolled hold-out
    rolling_by_reach: ErrorsByReach | None = None  # its errors by reach
    cost: ComputeCost | None = None  # FLOPs per token by N where its compute is not 6ND

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
        """The N and D with the least loss under 6ND = flops (Hoffmann et al. 2022, equation 4).

        With a cost, under c(N) D = flops, by bisection of the derivative.
        """
        if self.cost is not None:
            return self._costed(self.cost, math.log(flops))
        both = self.alpha + self.beta
        scale = log_slope_ratio(self.alpha, math.log(self.A), self.beta, math.log(self.B))
        params = _exp((scale + self.beta * (math.log(flops) - math.log(6))) / both)
        return params, flops / 6 / params

    def _costed(self, cost: ComputeCost, log_flops: float) -> tuple[float, float]:
        low, high = 0.0, 100.0
        ratio = log_slope_ratio(self.alpha, math.log(self.A), self.beta, math.log(self.B))
        for _ in range(100):
            n = 0.5 * (low + high)
            log_d = log_flops - cost.log_per_token(n)
            falls = ratio - self.alpha * n + self.beta * log_d - math.log(cost.slope(n)) > 0
            low, high = (n, high) if falls else (low, n)
        return math.exp(low), math.exp(log_flops - cost.log_per_token(low))

    def interval(self, params: float, tokens: float) -> tuple[Interval | None, str]:
        """Bounds of the predicted loss and a description of them; None where nothing is known."""
        if self.draws:
            losses = sorted(_loss(row, params, tokens) for row in self.draws)
            tail = (1 - (self.level or 0.95)) / 2
            bounds = _finite(_quantile(losses, tail), _quantile(losses, 1 - tail))
            share = "" if self.level is None else f" ({self.level:.0%})"
            return bounds, f"percentiles of the law's bootstrap{share}; the noise of one run is not in them"
        if all(name in self.intervals for name in PARAMETERS):
            # Each term is monotone in each parameter, so the corners of the box hold the extremes.
            corners = itertools.product(*(self.intervals[name] for name in PARAMETERS))
            losses = [_loss(corner, params, tokens) for corner in corners]
            return _finite(min(losses), max(losses)), (
                "every parameter at an end of its own interval at once: wider than any of them, because how "
                "they vary together is not known"
            )
        return None, "no interval: the law comes without the uncertainty of its parameters"

    def widened(self, params: float, tokens: float) -> tuple[Interval | None, str | None]:
        """`interval` widened by the errors of the rolled hold-out at this reach, and how or why not."""
        own, _ = self.interval(params, tokens)
        errors = self.rolling_by_reach
        if own is None or errors is None:
            return own, None
        far = errors.reach({"params": params, "tokens": tokens}, self.ranges)
        if errors.refused(far) is not None:
            return None, errors.words(far)
        return widened(self.loss(params, tokens), own, errors.bias(far)), errors.words(far)

    def reach(self, params: float, tokens: float) -> Reach | None:
        """How far beyond the law's data a prediction is; None inside, or where the data are unknown."""
        return reach({"params": params, "tokens": tokens}, self.ranges, self.rolling)


def _loss(parameters: tuple[float, ...], params: float, tokens: float) -> float:
    E, A, B, alpha, beta = parameters
    return E + A * _power(params, -alpha) + B * _power(tokens, -beta)


def _exp(exponent: float) -> float:
    """exp, clipped above zero and below infinity: a user's own law may have any exponents."""
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
    """The parts of a law.json that a plan reads (the complete document: scaling.laws.law)."""

    model_config = ConfigDict(allow_inf_nan=False)

    law: str
    parameters: dict[str, float | None]  # null of a term that the law's limiting form lacks
    intervals: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    counting: dict[str, str] = Field(default_factory=dict)
    counts: dict[str, str | None] | None = None
    cost: ComputeCost | None = None
    bootstrap: _Bootstrap | None = None
    ranges: dict[str, Interval] = Field(default_factory=dict)
    loss_unit: str = NATS_PER_TOKEN
    tokenizer: TokenizerInfo | None = None
    dataset: str | None = None
    rolling: tuple[HoldoutRow, ...] | None = None
    rolling_by_reach: ErrorsByReach | None = None
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
    missing = [name for name in PARAMETERS if document.parameters.get(name) is None]
    if missing:
        raise BadInputError(
            f"--law {path}: it has no {', '.join(missing)}: its runs do not determine how the loss falls "
            "with both parameters and tokens, and a plan needs that; fit more sizes and token budgets"
        )
    words = document.counting.get("params")
    counts = _OF_WORDS.get(words) if document.counts is None else document.counts.get("params")
    known: dict[str, Any] = {name: document.parameters[name] for name in PARAMETERS}
    boot, errors = document.bootstrap, document.rolling_by_reach
    if boot is not None and all(boot.samples.get(name) for name in PARAMETERS):
        rows = zip(*(boot.samples[name] for name in PARAMETERS), strict=False)
        known["draws"] = tuple(row for row in rows if None not in row)
        known["level"] = boot.level
    if counts is None:
        known["note"] = (
            f"the law's N is {words or 'not named'}; taken for parameters without embeddings, with the head"
        )
    try:
        return LossLaw(
            name=str(path),
            source=f"{path}, fitted by `scaling fit`",
            counts=counts or "non_embedding_with_head",
            intervals={
                name: bounds
                for name, bounds in document.intervals.items()
                if name in PARAMETERS and None not in bounds
            },
            ranges=document.ranges,
            unit=document.loss_unit,
            tokenizer=document.tokenizer,
            dataset=document.dataset,
            rolling=document.rolling or (),
            rolling_by_reach=None if errors is None else errors.without_predictions(),
            cost=document.cost,
            **known,
        )
    except ValidationError as error:
        raise BadInputError(f"--law {path}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"{where}: {message}" if where else message


# Laws that papers print, by name. What a paper does not print is not filled in. Kaplan et al. 2020 is not
# here: their advice on sizes rests on L(N, S_min), a law of steps at the critical batch; minimising their
# L(N, D) under 6ND = C would answer in their name what they did not say.

_Z95 = 1.96  # standard errors to the ends of a 95% interval


def _within(value: float, standard_error: float) -> tuple[float, float]:
    """A 95% interval; a scale or exponent is not negative."""
    return max(0.0, value - _Z95 * standard_error), value + _Z95 * standard_error


# Sizes of Table A9; tokens and FLOPs: 5 to 500 billion tokens (abstract), 6e18 to 3e21 FLOPs (section 3.2).
_RANGES = {"params": (44e6, 16.183e9), "tokens": (5e9, 500e9), "flops": (6e18, 3e21)}
# Rae et al. 2021 (arXiv:2112.11446), section 3.1: SentencePiece of 32,000 pieces, which Chinchilla kept but
# for its normalisation (section 4.1).
_TOKENIZER = TokenizerInfo(name="SentencePiece of Gopher and Chinchilla", vocab_size=32_000)

# Chinchilla's exponents are as the paper prints them, to two digits: at Gopher's 5.76e23 FLOPs they put the
# optimum at 32B, where the paper says 40B; the digits of its source (0.3392 and 0.2849) do give 40B.
# Both papers count all parameters: Table A9's sizes hold the embedding, tied to the head. Of a model with
# learned positions "with the output head" is that count without the table of positions, which theirs lack.
PUBLISHED: dict[str, LossLaw] = {
    "chinchilla": LossLaw(
        name="chinchilla",
        source="Hoffmann et al. 2022, arXiv:2203.15556, approach 3 (appendix D.3)",
        E=1.69,
        A=406.4,
        B=410.7,
        alpha=0.34,
        beta=0.28,
        note=(
            "the paper prints intervals of the optimum's exponents alone, and Besiroglu et al. 2024 "
            "(arXiv:2404.10102) could not reproduce this fit: chinchilla-replication is theirs"
        ),
        ranges=_RANGES,
        tokenizer=_TOKENIZER,
        dataset="MassiveText",
    ),
    "chinchilla-replication": LossLaw(
        name="chinchilla-replication",
        source="Besiroglu et al. 2024, arXiv:2404.10102, Table 1 (Chinchilla's points, read off a figure)",
        E=1.8172,
        A=482.01,
        B=2085.43,
        alpha=0.3478,
        beta=0.3658,
        # Standard errors in brackets in the paper's Table 1.
        intervals={
            "E": _within(1.8172, 0.03),
            "A": _within(482.01, 124.58),
            "B": _within(2085.43, 1293.23),
            "alpha": _within(0.3478, 0.02),
            "beta": _within(0.3658, 0.02),
        },
        level=0.95,
        ranges=_RANGES,
        tokenizer=_TOKENIZER,
        dataset="MassiveText",
    ),
}


def find_law(name: str) -> LossLaw:
    """A published law by its name, or the law in a file.

    Raises:
        BadInputError: neither, or a file that does not hold a law of parameters and tokens.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    path = Path(name)
    if path.suffix == ".json" or path.exists():
        return read_loss_law(path)
    raise BadInputError(
        f"--law {name}: {hint(name, PUBLISHED)}"
        if near(name, PUBLISHED)
        else f"--law {name}: give {', '.join(PUBLISHED)}, or the path of a law.json"
    )


_SAME = 0.02  # relative difference of bytes per token within one tokenizer, between texts


@dataclasses.dataclass(frozen=True)
class LawForModel:
    """A law in the tokens of a model, with the vocabulary of the model's tokenizer."""

    law: LossLaw
    vocab_size: int
    notes: tuple[str, ...]


def for_model(
    law: LossLaw, vocab_size: int | None, bytes_per_token: float | None, force: bool = False
) -> LawForModel:
    """The law for a model with a tokenizer of this vocabulary and bytes per token; by default the law's own.

    Raises:
        BadInputError: the tokenizers differ and bytes per token are missing to convert, unless forced.
    """
    theirs = law.tokenizer
    known = theirs.vocab_size if theirs else None
    bytes_of_law = theirs.bytes_per_token if theirs else None
    if law.unit != NATS_PER_TOKEN:
        return LawForModel(
            law,
            vocab_size or known or VOCABULARY,
            (f"the law is in {law.unit}: the loss is the same for any tokenizer, its tokens are not",),
        )
    same = vocab_size is None or known is None or _same_vocabulary(vocab_size, known)
    size = known if known is not None and (vocab_size is None or same) else vocab_size or VOCABULARY
    if same and bytes_per_token and bytes_of_law:
        same = abs(bytes_per_token / bytes_of_law - 1) <= _SAME
    if known is None and bytes_of_law is None:
        note = (
            "the law does not name its tokenizer: its loss and tokens are those of the tokenizer of its "
            f"runs, which must be the one of this model ({size:,} pieces)"
        )
        return LawForModel(law, size, (note,))
    if same:
        return LawForModel(law, size, ())
    if bytes_of_law and bytes_per_token:
        ratio = bytes_per_token / bytes_of_law
        note = (
            f"converted from the law's tokenizer ({bytes_of_law:.3g} bytes per token) to the model's "
            f"({bytes_per_token:.3g}): nats per byte are taken to be equal"
        )
        return LawForModel(converted(law, ratio), size, (note,))
    if force:
        note = (
            f"forced: the law is of a tokenizer of {_pieces(known)} and the model has {size:,}; the loss is "
            "not that of this model"
        )
        return LawForModel(law, size, (note,))
    remedies = ["leave --vocab-size out", "fit a law to runs of your tokenizer"]
    if bytes_of_law:
        remedies.insert(0, "give --bytes-per-token of your tokenizer")
    raise BadInputError(
        f"--vocab-size {size}: the law {law.name} is in {law.unit} of a tokenizer of {_pieces(known)}, and "
        f"another tokenizer's losses are other numbers: {', '.join(remedies)}, or plan all the same with "
        "--force"
    )


def _pieces(count: int | None) -> str:
    return "unknown size" if count is None else f"{count:,} pieces"


def _same_vocabulary(one: int, other: int) -> bool:
    """Whether two vocabularies are equal, or equal once padded for devices."""
    return one == other or padded_vocabulary(one) == padded_vocabulary(other)


def converted(law: LossLaw, ratio: float) -> LossLaw:
    """The law in tokens of `ratio` times the bytes of its own: L'(N, D) = ratio L(N, ratio D)."""

    def scaled(row: tuple[float, ...]) -> tuple[float, float, float, float, float]:
        E, A, B, alpha, beta = row
        return ratio * E, ratio * A, ratio ** (1 - beta) * B, alpha, beta

    factors = {"E": ratio, "A": ratio, "B": ratio ** (1 - law.beta)}
    E, A, B, _, _ = scaled((law.E, law.A, law.B, law.alpha, law.beta))
    ranges = {
        name: (low / ratio, high / ratio) if name == "tokens" else (low, high)
        for name, (low, high) in law.ranges.items()
    }
    if "flops" in ranges:
        ranges["flops"] = (ranges["flops"][0] / ratio, ranges["flops"][1] / ratio)
    return law.model_copy(
        update={
            "E": E,
            "A": A,
            "B": B,
            "draws": tuple(scaled(row) for row in law.draws),
            "intervals": {
                name: (low * factors.get(name, 1.0), high * factors.get(name, 1.0))
                for name, (low, high) in law.intervals.items()
            },
            "ranges": ranges,
        }
    )
