"""Mixtures of corpora: shares of the training tokens, what happens when a source runs out, a schedule."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from scaling.config.base import Frozen

MIXTURE = "mixture"  # data.source of a config that has data.mixture
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_ROUNDING = 1e-3  # by which weights may miss a sum of 1
SMALLEST_WEIGHT = 1e-5

Weight = Annotated[float, Field(ge=SMALLEST_WEIGHT, le=1.0)]


class MixtureSource(Frozen):
    """One corpus of a mixture, and its share of the training tokens."""

    source: str
    """Where its documents come from, as `data.source`."""
    weight: Weight | None = None
    """Share of the training tokens, from the first step; null reads it only where `data.mixture_schedule`
    says so."""
    field: Annotated[str, Field(min_length=1)] = "text"
    """The field, column or feature that holds a document's text."""
    max_documents: Annotated[int, Field(ge=2)] | None = None
    """Read only this many documents, from the start of the source; null reads all."""
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    """Most passes over its training rows; null repeats them as often as needed."""
    exhausted: Literal["refuse", "cap"] = "refuse"
    """If `max_epochs` are too few for the run: `refuse` to start it, or `cap`: read them to the end, and
    divide the share among the other sources in proportion to their weights from then on."""


class MixtureChange(Frozen):
    """Weights from a point of the run on."""

    at: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Where they begin, as a share of the run's training tokens: 0.9 is the last tenth."""
    weights: Annotated[dict[str, Weight], Field(min_length=1)]
    """The new share of each source, by name; a source that is left out is no longer read."""

    @field_validator("weights")
    @classmethod
    def _sum(cls, weights: dict[str, float]) -> dict[str, float]:
        check_sum(weights, "{name}: {weight:.4g}")
        return weights


def check_sum(weights: Mapping[str, float], entry: str) -> None:
    """Raise ValueError unless weights sum to 1 within rounding; `entry` is how one of them is written."""
    total = math.fsum(weights.values())
    if abs(total - 1.0) > _ROUNDING * (1 + 1e-9):
        shown = ", ".join(entry.format(name=name, weight=w / total) for name, w in weights.items())
        raise ValueError(
            f"the weights sum to {total:.6g}, not 1; with the same proportions they would be {shown}"
        )


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights divided by their sum, which is 1 within rounding."""
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def without_nulls(mixture: Any) -> Any:
    """A mixture's tree without the sources that an override has set to null."""
    return {k: v for k, v in mixture.items() if v is not None} if isinstance(mixture, dict) else mixture


def check_mixture(mixture: Mapping[str, MixtureSource], schedule: tuple[MixtureChange, ...]) -> None:
    """Raise ValueError for names, weights or a schedule that do not fit together."""
    for name in mixture:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"mixture: {name!r} is not the name of a source: use up to 40 letters, digits, _ and -, "
                "beginning with a letter or a digit"
            )
    if not mixture:
        raise ValueError("mixture: names no source; give {NAME: {source: ..., weight: ...}, ...}")
    weights = {name: one.weight for name, one in mixture.items() if one.weight is not None}
    if not weights:
        raise ValueError("mixture: no source has a weight; give each its share of the training tokens")
    try:
        check_sum(weights, "{name}.weight={weight:.4g}")
    except ValueError as error:
        raise ValueError(f"mixture: {error}") from None
    for number, change in enumerate(schedule):
        for name in change.weights:
            if name not in mixture:
                raise ValueError(
                    f"mixture_schedule.{number}.weights: {name!r} is not a source of data.mixture; it has "
                    f"{', '.join(mixture)}"
                )
        if number and change.at <= schedule[number - 1].at:
            raise ValueError(
                f"mixture_schedule.{number}.at={change.at:g} is not after the change before it, at "
                f"{schedule[number - 1].at:g}: give rising values"
            )
    scheduled = {name for change in schedule for name in change.weights}
    for name, one in mixture.items():
        if one.weight is None and name not in scheduled:
            raise ValueError(
                f"mixture.{name}: has no weight, and data.mixture_schedule does not name it; give its weight "
                "or leave it out"
            )
        if one.exhausted == "cap" and one.max_epochs is None:
            raise ValueError(
                f"mixture.{name}.exhausted=cap needs max_epochs: without it the source repeats without end"
            )
