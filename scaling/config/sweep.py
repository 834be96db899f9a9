"""Sweep configuration: a design of runs over one base run and one recipe, and how a file expands to it."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from scaling.config.base import Frozen
from scaling.config.compose import Tree, apply_override, find_config, merge, merge_runs, model_tree, run_tree
from scaling.config.run import RunConfig
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import read_yaml


class Recipe(Frozen):
    """How a complete run follows from one number, the width: depth, heads, batch and learning rate.

    depth = width / width_per_layer, rounded; heads = width / d_head. Batch and learning rate are power laws
    in N (non-embedding parameters with the head): value * (N / reference_params) ** exponent, the batch
    rounded to complete sequences.
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
"""The fields of a sweep that each design reads; others are refused."""
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


Change = tuple[list[str], Any]


def sweep_tree(tree: Tree, changes: Sequence[Change] = ()) -> Tree:
    """The tree of a sweep as its file gives it, with the overrides of a command line laid over it.

    Overrides change the variants too, after what the variants themselves change.

    Raises:
        BadInputError: a name that is not known, or an override that a variant, a rung or an axis would undo.
    """
    for parts, _ in changes:
        if parts[0] in RunConfig.model_fields and parts[0] not in SweepConfig.model_fields:
            path = ".".join(parts)
            raise BadInputError(f"override {path}: a sweep has its runs' settings in base: write base.{path}")
        _check_undone(tree, parts)
    own = [change for change in changes if change[0][0] in ("name", "variants")]
    shared = [change for change in changes if change not in own]
    for parts, value in own:
        tree = apply_override(tree, parts, value)
    variants = tree.get("variants")
    if isinstance(variants, dict) and variants:
        variants = {key: _variant(tree, key, changed, shared) for key, changed in variants.items()}
        _check_read(tree, variants)
        tree = {**tree, "variants": variants}
    tree = _expanded(tree)
    for parts, value in shared:
        tree = _expanded(apply_override(tree, parts, value))
    return tree


def _variant(tree: Tree, key: str, own: Any, changes: Sequence[Change]) -> Tree:
    """A variant as a sweep of its own, with the shared fields that its design reads."""
    own = own if isinstance(own, dict) else {"variants": own}  # refused by validation
    reads = READS.get(str(own.get("design", tree.get("design"))), frozenset(SweepConfig.model_fields))
    merged = merge({field: value for field, value in tree.items() if _is_read(field, reads)}, own)
    base, changed = tree.get("base"), own.get("base")
    if isinstance(base, str) and isinstance(changed, dict) and "base" not in changed:
        merged["base"] = {"base": base, **changed}
    elif isinstance(base, dict) and isinstance(changed, dict):
        merged["base"] = merge_runs(base, changed)
    return sweep_tree({**merged, "name": f"{tree['name']}-{key}"}, changes)


def _is_read(field: str, reads: frozenset[str]) -> bool:
    """Whether a design reads a field; a field that no sweep has is passed on to be refused."""
    return field != "variants" and (field in reads or field not in SweepConfig.model_fields)


def _check_read(tree: Tree, variants: Tree) -> None:
    """Refuse shared fields that no design among the variants reads."""
    designs = [str(one.get("design")) for one in variants.values()]
    reads = [READS.get(design, frozenset(SweepConfig.model_fields)) for design in designs]
    for field, value in tree.items():
        if value and field != "variants" and not any(_is_read(field, one) for one in reads):
            raise BadInputError(
                f"sweep {tree['name']}: {field} is not read by design={' or '.join(sorted(set(designs)))}, "
                f"which its variants have: leave it out"
            )


def _check_undone(tree: Tree, parts: Sequence[str]) -> None:
    """Refuse an override of the base that an axis or a rung of the file replaces again."""
    if parts[0] != "base" or len(parts) < 2:
        return
    path = list(parts[1:])
    shown = ".".join(path)
    axes = tree.get("axes")
    for key in axes if isinstance(axes, dict) else ():
        if _overlap(str(key).split("."), path):
            raise BadInputError(
                f"override base.{shown}: axes.{key} sets it in every run: write axes.{key}=[...] instead"
            )
    rungs = tree.get("rungs")
    for number, rung in enumerate(rungs if isinstance(rungs, list) else ()):
        if _holds(rung, path):
            raise BadInputError(
                f"override base.{shown}: rung {number + 1} sets it itself: write rungs.{number}.{shown}=..."
            )


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


def _holds(tree: Any, path: Iterable[str]) -> bool:
    """Whether a tree has a value at a path, or a value in place of a mapping on the way."""
    for part in path:
        if not isinstance(tree, dict):
            return tree is not None
        if part not in tree:
            return False
        tree = tree[part]
    return True


def _expanded(tree: Tree) -> Tree:
    """A sweep's tree with named runs, models and recipes in full; expanding it again changes nothing."""
    tree = dict(tree)
    if "base" in tree:
        tree["base"] = run_tree(tree["base"])
    if isinstance(tree.get("rungs"), list):
        tree["rungs"] = [_rung(rung) for rung in tree["rungs"]]
    recipe = tree.get("recipe")
    if isinstance(recipe, str):
        tree["recipe"] = {"name": recipe, **read_yaml(find_config("recipes", recipe))}
    elif isinstance(recipe, dict) and isinstance(recipe.get("base"), str):
        base = read_yaml(find_config("recipes", recipe["base"]))
        tree["recipe"] = {**base, **{key: value for key, value in recipe.items() if key != "base"}}
    return tree


def _rung(rung: Any) -> Any:
    """A rung with its named run or model expanded; validation refuses what is not a mapping."""
    if not isinstance(rung, dict):
        return rung
    if "base" in rung:
        return run_tree(rung)
    model = rung.get("model")
    if isinstance(model, str) or (isinstance(model, dict) and "base" in model):
        return {**rung, "model": model_tree(model)}
    return rung
