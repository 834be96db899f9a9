"""Training objectives: what a model reads of a row, and what it predicts. One class per objective."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from scaling.config.base import Frozen
from scaling.config.model import FAMILIES, ModelConfig


class Objective(Frozen):
    """The base of all objectives; `name` selects one."""

    token_of_loss: ClassVar[str]
    """The positions that the loss is a mean over: where `weights` are 1."""

    name: str


class CausalObjective(Objective):
    """Each token from those before it (of its document, with data.mask_documents).

    A token of loss: every token of the row.
    """

    token_of_loss = "a token of text or end-of-text, given those before it"
    name: Literal["causal"] = "causal"


class PrefixObjective(Objective):
    """A prefix LM: the prefix is read in both directions, the rest is predicted from left to right.

    A document's part of a row (the complete row, without data.mask_documents) splits at a uniformly random
    point with at least one token on either side; a part of one token has no prefix. Liu et al. 2018
    (arXiv:1801.10198); Raffel et al. 2019 (arXiv:1910.10683), section 3.2.1.

    A token of loss: every token after the prefix, the first of them predicted at the prefix's last position.
    """

    token_of_loss = "a token after the prefix, given the prefix and the tokens between"
    name: Literal["prefix"] = "prefix"


class MaskedObjective(Objective):
    """Masked language modelling: Devlin et al. 2018 (arXiv:1810.04805), section 3.1 and appendix A.

    In each row, round(rate * count) tokens of text are chosen, at least one. `dynamic` follows Liu et al.
    2019 (arXiv:1907.11692), section 4.1. `whole_words` chooses at most that many tokens, so a row whose words
    are all longer has none.

    `sentences` makes rows of two segments, [CLS] A [SEP] B [SEP], instead of windows of packed text. The
    model also predicts whether B is from another place, as it is half the time (`next`: 1 is from another
    place), or whether A and B were swapped (`order`: 1 is swapped; Lan et al. 2019, arXiv:1909.11942,
    section 3.1).

    A token of loss: every chosen token, whether masked, replaced or kept.
    """

    token_of_loss = "a chosen token (masked, replaced or kept), given the rest of the row"
    name: Literal["masked"] = "masked"
    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of a row's tokens that are chosen."""
    mask: float = Field(default=0.8, ge=0, le=1)
    """Share of the chosen tokens that become [MASK]."""
    random: float = Field(default=0.1, ge=0, le=1)
    """Share of the chosen tokens that become a random token; the rest stay."""
    dynamic: bool = True
    """Choose anew in each epoch; false masks a row the same way each time."""
    whole_words: bool = False
    """Choose all tokens of a word or none."""
    sentences: Literal["none", "next", "order"] = "none"
    """Second task, on pairs of segments: `next` sentence or sentence `order`."""
    short: float = Field(default=0.1, ge=0, le=1)
    """Share of pairs that are cut to a random length."""

    @model_validator(mode="after")
    def _check(self) -> "MaskedObjective":
        if self.mask + self.random > 1 + 1e-9:
            raise ValueError(f"mask={self.mask} and random={self.random} are shares: at most 1 together")
        return self


class SpansObjective(Objective):
    """Span corruption: Raffel et al. 2019 (arXiv:1910.10683), section 3.1.4 and 3.3.

    In the source a sentinel replaces each dropped span; in the target it precedes the span's tokens. Both
    sides end with end-of-text. The window has the length that fills the source: 568 tokens, with a target of
    114, if data.sequence_length is 512.

    With `iid`, `mean_length` is not used and neighbouring dropped tokens share a sentinel. Lengths then vary:
    the source is padded, and the target has room for four standard deviations above its mean; beyond that, a
    row's tokens are not dropped (about one row in 30,000).

    A token of loss: every symbol of the target: dropped tokens, sentinels and the end.
    """

    token_of_loss = "a symbol of the target (dropped token, sentinel or end), given source and target so far"
    name: Literal["spans"] = "spans"
    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of a window's tokens that are dropped."""
    mean_length: float = Field(default=3.0, ge=1)
    """Mean length of a dropped span, in tokens."""
    iid: bool = False
    """Drop each token independently instead of in spans."""


class SpanNoise(Frozen):
    """One setting of span corruption."""

    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of a window's tokens that are dropped."""
    mean_length: float | None = Field(default=3.0, ge=1)
    """Mean length of a dropped span, in tokens; null is one span at the end of the window."""
    weight: float = Field(default=1.0, gt=0)
    """How often this setting is drawn, relative to the others."""


class DenoisingObjective(Objective):
    """A mixture of denoisers: UL2 (Tay et al. 2022, arXiv:2205.05131), section 3.1, without mode tokens.

    Each row takes one setting of `mixture`, in proportion to its weight. All rows have the shape of the
    longest: a setting that needs a shorter window takes it from a random place in the row's, and its target
    is padded. The default is the seven settings of UL2's table 1, with equal weights.

    A token of loss: every symbol of the target but padding: dropped tokens, sentinels and the end.
    """

    token_of_loss = SpansObjective.token_of_loss
    name: Literal["denoising"] = "denoising"
    mixture: tuple[SpanNoise, ...] = Field(
        default=(
            SpanNoise(rate=0.15, mean_length=3),
            SpanNoise(rate=0.15, mean_length=8),
            SpanNoise(rate=0.5, mean_length=3),
            SpanNoise(rate=0.5, mean_length=8),
            SpanNoise(rate=0.15, mean_length=64),
            SpanNoise(rate=0.5, mean_length=64),
            SpanNoise(rate=0.25, mean_length=None),
        ),
        min_length=1,
    )
    """Settings of span corruption; each row draws one by weight."""


class ContinuationObjective(Objective):
    """The source is data.sequence_length tokens of text, the target the `target_length` that follow.

    The loss is the likelihood of text given text, comparable with a decoder's.

    A token of loss: every token of the target.
    """

    token_of_loss = "a token of text or end-of-text, given the source and the target so far"
    name: Literal["continuation"] = "continuation"
    target_length: PositiveInt | None = None
    """Tokens to predict per row; null is `data.sequence_length`."""


ObjectiveConfig = Annotated[
    CausalObjective
    | PrefixObjective
    | MaskedObjective
    | SpansObjective
    | DenoisingObjective
    | ContinuationObjective,
    Field(discriminator="name"),
]

OBJECTIVES: tuple[type[Objective], ...] = (
    CausalObjective,
    PrefixObjective,
    MaskedObjective,
    SpansObjective,
    DenoisingObjective,
    ContinuationObjective,
)


def objective_name(kind: type[Objective]) -> str:
    """The name of an objective in a config."""
    return str(kind.model_fields["name"].default)


def default_objective(family: str) -> str:
    """The name of the objective that a family is trained with where none is given."""
    return FAMILIES[family].objectives[0] if family in FAMILIES else CausalObjective().name


def with_default_objective(tree: Any) -> Any:
    """A run's tree with its objective's name filled in by the model's family; a bare name is a mapping."""
    if not isinstance(tree, dict):
        return tree
    model, objective = tree.get("model"), tree.get("objective")
    if objective is not None and not isinstance(objective, (dict, str)):
        return tree
    if isinstance(objective, str):
        return {**tree, "objective": {"name": objective}}
    found = model.get("family") if isinstance(model, dict) else getattr(model, "family", None)
    return {**tree, "objective": {"name": default_objective(str(found or "decoder")), **(objective or {})}}


def check_objective(objective: Objective, model: ModelConfig) -> None:
    """Raises ValueError, one line, where the objective cannot train the model."""
    if objective.name in model.objectives:
        return
    families = [family for family, kind in FAMILIES.items() if objective.name in kind.objectives]
    raise ValueError(
        f"objective: {objective.name} trains {_one_of(families)}, the model is {_one_of([model.family])}; "
        f"give objective.name={_alternatives(model.objectives)}"
    )


def _one_of(families: list[str]) -> str:
    article = "an" if families[0][0] in "aeiou" or families[0] == "lstm" else "a"
    return f"{article} {_alternatives(families)}"


def _alternatives(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
