"""Sweep configuration: a design of runs over one base run and one recipe."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from scaling.config.base import Frozen
from scaling.runtime.errors import BadInputError


class Recipe(Frozen):
    """How a complete run follows from one number, the width: depth, heads, batch and learning rate.

    depth = width / width_per_layer, rounded; heads = width / d_head. Batch and learning rate are power laws
    in N (non-embedding parameters with the head): value * (N / reference_params) ** exponent, the batch
    rounded to whole sequences.
    """

    name: str = "custom"
    width_per_layer: PositiveInt = 64
    """Width per layer: depth is width / width_per_layer, rounded."""
    d_head: PositiveInt = 64
    """Width of a head: the number of heads is width / d_head."""
    reference_params: PositiveFloat = 1e6
    """The N at which `learning_rate` and `batch_tokens` hold."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate at `reference_params`."""
    learning_rate_exponent: float = 0.0
    """Exponent of the learning rate in N."""
    batch_tokens: PositiveInt = 8192
    """Tokens per step at `reference_params`."""
    batch_exponent: float = 0.0
    """Exponent of the batch in N."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Warm-up, as a share of the smallest budget."""


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
    """Tasks that each run of a sweep is scored on when its training ends; see `scaling evaluate`."""

    suite: str
    """A suite of `scaling evaluate`, or KIND:PATH of a published benchmark's files."""
    tasks: tuple[str, ...] = ()
    """Tasks of the suite; empty means all."""
    shots: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    """Numbers of examples in the prompt."""
    items: PositiveInt = 500
    """Most items per task."""
    against: Literal["flops", "params", "loss"] = "params"
    """The scale of the verdicts at the end of the sweep; see `scaling emergence`."""


class SweepConfig(Frozen):
    """A family of runs.

    - `ladder`: sizes (by `widths`, `depths` or `params`) times budgets (`tokens_per_param` or `tokens`).
    - `isoflop`: `budgets` in FLOPs times sizes; tokens follow from the counted FLOPs per token.
    - `grid`: every combination of the values in `axes`, keys being override paths.
    - `rungs`: each entry of `rungs` is laid over `base` and trained on one of `budgets` in turn: families of
      different shapes at equal FLOPs. A rung that gives train.tokens itself needs no budget, and may give
      its run a `name`.

    A sweep with `variants` is the union of their runs. With `branches` the budgets of a size are cooldown
    branches of one run; without, each is a run of its own.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]*$", max_length=80)
    """Name of the sweep, and of its directory in `runs/`. Where it is left out, the name of the file."""
    design: Literal["ladder", "isoflop", "grid", "rungs"]
    """How the runs are derived."""
    base: dict[str, Any]
    """A run config without the fields that the design sets."""
    recipe: Recipe = Recipe()
    """How a size's other settings follow from its width; a name in `configs/recipes/`, or its fields."""
    widths: tuple[PositiveInt, ...] = ()
    """Sizes of a `ladder` or `isoflop` design, as widths."""
    depths: tuple[PositiveInt, ...] = ()
    """Sizes, as numbers of layers."""
    params: tuple[PositiveFloat, ...] = ()
    """Sizes, as targets for N (parameters without embeddings, with the output head)."""
    tokens_per_param: tuple[PositiveFloat, ...] = ()
    """Budgets of a `ladder`, in tokens per parameter N."""
    tokens: tuple[PositiveInt, ...] = ()
    """Budgets of a `ladder`, in tokens."""
    branches: bool = True
    """Train the budgets of a size as cooldown branches of one run; false trains a run for each."""
    budgets: tuple[PositiveFloat, ...] = ()
    """Budgets of an `isoflop` or `rungs` design, in training FLOPs."""
    axes: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Values of a `grid`, by override path."""
    rungs: tuple[dict[str, Any], ...] = ()
    """Runs of a `rungs` design, as changes to `base`."""
    variants: dict[str, "SweepConfig"] = Field(default_factory=dict)
    """Sweeps within the sweep, as changes to it, by name."""
    seeds: tuple[NonNegativeInt, ...] | None = Field(default=None, min_length=1)
    """Seeds that each run is repeated with; null uses the `train.seed` of its config."""
    evaluation: SweepEvaluation | None = None
    """Tasks that each run is scored on as soon as it is trained; null scores none."""

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
