"""Sweep configuration: a design of runs over one base run and one recipe."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from scaling.config.base import Frozen
from scaling.config.errors import BadInputError


class Recipe(Frozen):
    """From one dial, the width, to a whole run: depth, heads, batch and learning rate follow.

    depth = width / width_per_layer, rounded; heads = width / d_head. Batch and learning rate are power laws
    in N (non-embedding parameters with the head): value * (N / reference_params) ** exponent, the batch
    rounded to whole sequences.
    """

    name: str = "custom"
    width_per_layer: PositiveInt = 64
    d_head: PositiveInt = 64
    reference_params: PositiveFloat = 1e6
    learning_rate: PositiveFloat = 1e-3
    learning_rate_exponent: float = 0.0
    batch_tokens: PositiveInt = 8192
    batch_exponent: float = 0.0
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)  # of the smallest budget


_ALWAYS = frozenset({"name", "design", "base", "seeds", "variants", "evaluation"})
_SIZES = frozenset({"recipe", "widths", "depths", "params", "branches"})
READS: dict[str, frozenset[str]] = {
    "ladder": _ALWAYS | _SIZES | {"tokens_per_param", "tokens"},
    "isoflop": _ALWAYS | _SIZES | {"budgets"},
    "grid": _ALWAYS | {"axes"},
    "rungs": _ALWAYS | {"recipe", "rungs", "budgets"},
}
"""The fields of a sweep that each design reads; any other is refused."""
_INSTEAD = {
    "ladder": "give its sizes as widths, depths or params and its budgets as tokens or tokens_per_param",
    "isoflop": "give its sizes as widths, depths or params and its budgets as budgets",
    "grid": "give what varies as axes, for example {model.d_model: [64, 128]}",
    "rungs": "give each run as one of rungs",
}


class SweepEvaluation(Frozen):
    """What the runs of a sweep are scored on as soon as they are trained; see `scaling evaluate`."""

    suite: str
    tasks: tuple[str, ...] = ()
    """Tasks of the suite; none is all of them."""
    shots: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    """Numbers of examples in the prompt."""
    items: PositiveInt = 500
    """Items of a task at most."""
    against: Literal["flops", "params", "loss"] = "params"
    """The scale of the verdicts that the sweep ends with; see `scaling emergence`."""


class SweepConfig(Frozen):
    """A family of runs.

    - `ladder`: sizes (by `widths`, `depths` or `params`) times budgets (`tokens_per_param` or `tokens`).
    - `isoflop`: `budgets` in FLOPs times sizes; tokens follow from the counted FLOPs per token.
    - `grid`: every combination of the values in `axes`, keys being override paths.
    - `rungs`: each of `rungs`, a tree laid over `base`, trained on one of `budgets` in turn: families of
      different shapes at equal FLOPs. A rung that gives train.tokens itself needs no budget, and may give
      its run a `name`.

    `variants` are sweeps of their own, each with what it changes of this one: its runs are theirs together.

    With `branches` the budgets of a size are cooldown branches of one run; without, a run each. `seeds`
    repeats everything; without it, each run has the `train.seed` of its config.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]*$", max_length=80)
    design: Literal["ladder", "isoflop", "grid", "rungs"]
    base: dict[str, Any]  # a run without what the design sets
    recipe: Recipe = Recipe()
    widths: tuple[PositiveInt, ...] = ()
    depths: tuple[PositiveInt, ...] = ()
    params: tuple[PositiveFloat, ...] = ()
    tokens_per_param: tuple[PositiveFloat, ...] = ()
    tokens: tuple[PositiveInt, ...] = ()
    branches: bool = True
    budgets: tuple[PositiveFloat, ...] = ()
    axes: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    rungs: tuple[dict[str, Any], ...] = ()
    variants: dict[str, "SweepConfig"] = Field(default_factory=dict)
    seeds: tuple[NonNegativeInt, ...] | None = Field(default=None, min_length=1)
    evaluation: SweepEvaluation | None = None  # of every run as soon as it is trained

    def with_seed_offset(self, offset: int) -> "SweepConfig":
        """The same design with every seed moved by `offset`: other runs of the same distribution.

        Raises:
            BadInputError: a part of the design has no seeds.
        """
        if offset == 0:
            return self
        if self.variants:
            moved = {key: variant.with_seed_offset(offset) for key, variant in self.variants.items()}
            return self.model_copy(update={"variants": moved})
        if self.seeds is None:
            raise BadInputError(f"seed offset {offset}: sweep {self.name} has no seeds; give seeds=[0]")
        seeds = tuple(seed + offset for seed in self.seeds)
        if min(seeds) < 0:
            raise BadInputError(f"seed offset {offset}: a seed of sweep {self.name} would be negative")
        return self.model_copy(update={"seeds": seeds})

    @model_validator(mode="after")
    def _check(self) -> "SweepConfig":
        if self.variants:
            return self
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name not in READS[self.design] and value != field.get_default(call_default_factory=True):
                raise ValueError(
                    f"{name} is not read by design={self.design}: leave it out, and {_INSTEAD[self.design]}"
                )
        sized = self.design in ("ladder", "isoflop")
        if sized and sum(map(bool, (self.widths, self.depths, self.params))) != 1:
            raise ValueError(f"design={self.design} needs its sizes as widths, depths or params, one of them")
        if self.design == "ladder" and bool(self.tokens_per_param) == bool(self.tokens):
            raise ValueError("design=ladder needs its budgets as tokens_per_param or as tokens, one of them")
        if self.design == "isoflop" and not self.budgets:
            raise ValueError("design=isoflop needs budgets (FLOPs)")
        if self.design == "rungs":
            if not self.rungs:
                raise ValueError("design=rungs needs rungs, for example [{model: {d_model: 64}}]")
            if self.budgets and len(self.budgets) != len(self.rungs):
                raise ValueError(f"design=rungs has {len(self.rungs)} rungs and {len(self.budgets)} budgets")
        if self.design == "grid" and not self.axes:
            raise ValueError("design=grid needs axes, for example {train.learning_rate: [1e-3, 3e-3]}")
        for key, values in self.axes.items():
            if not values:
                raise ValueError(f"axes.{key} has no values")
        for name in ("widths", "depths", "params", "tokens_per_param", "tokens", "budgets", "seeds"):
            values = getattr(self, name) or ()
            # Rungs of different shapes may have the same budget.
            if len(set(values)) != len(values) and (name, self.design) != ("budgets", "rungs"):
                raise ValueError(f"{name} repeats a value: {list(values)}")
        return self
