"""The design of a sweep: which runs it is made of."""

import itertools
import math
from typing import Any

from scaling.config.errors import BadInputError
from scaling.config.load import apply_override, merge, validate
from scaling.config.model import ModelConfig
from scaling.config.run import RunConfig
from scaling.config.sweep import SweepConfig
from scaling.estimate.flops import run_flops_per_token, train_flops_per_token
from scaling.sweep.recipes import (
    model_at_width,
    size,
    training_at_size,
    width_for_depth,
    width_for_params,
)

Tree = dict[str, Any]


def short(number: float) -> str:
    """A count in three digits at most: 96k, 1.1m, 13b."""
    for unit, letter in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if number >= unit * 0.9995:
            value = number / unit
            return f"{value:.3g}{letter}" if value < 999.5 else f"{value:.0f}{letter}"
    return f"{number:.0f}"


def expand(sweep: SweepConfig, prefix: str = "") -> list[RunConfig]:
    """The runs of a sweep, smallest first, every one validated; `prefix` leads the names of a grid.

    Runs of a grid are called by their axes, so those of a variant have its key in front.

    Raises:
        BadInputError: a run of the design is not valid, or two have one name.
    """
    runs = []
    for key, variant in sweep.variants.items():
        runs += expand(variant, f"{prefix}{key}-" if variant.design == "grid" else prefix)
    if not sweep.variants:
        trees = {"grid": _grid, "rungs": _rungs}.get(sweep.design, _sized)(sweep)
        for seed, tree in itertools.product(sweep.seeds, trees):
            tree = merge(tree, {"train": {"seed": seed}})
            if sweep.design == "grid":
                tree = {**tree, "name": f"{prefix}{tree['name']}"}
            if len(sweep.seeds) > 1:
                tree = {**tree, "name": f"{tree['name']}-s{seed}"}
            runs.append(validate(RunConfig, tree, f"sweep {sweep.name}, run {tree['name']}"))
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(
            f"sweep {sweep.name}: two runs would be named {twice[0]}; choose sizes further apart"
        )
    return runs


def _part(sweep: SweepConfig, tree: Tree, key: str) -> Tree:
    """A mapping inside a run's tree; empty where it is not given."""
    part = tree.get(key)
    if part is not None and not isinstance(part, dict):
        raise BadInputError(f"sweep {sweep.name}: base.{key}: expected a mapping, found {part!r}")
    return dict(part or {})


def _count(sweep: SweepConfig, field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 2**62:
        raise BadInputError(
            f"sweep {sweep.name}: base.{field}: {value!r} is not accepted: give a whole number"
        )
    return int(value)


def _sized(sweep: SweepConfig) -> list[Tree]:
    """Ladder and isoFLOP designs: sizes by the recipe, budgets by the design."""
    recipe, base = sweep.recipe, sweep.base
    model_base = _part(sweep, base, "model")
    widths = (
        *sweep.widths,
        *(width_for_depth(recipe, depth) for depth in sweep.depths),
        *(width_for_params(recipe, target, model_base) for target in sweep.params),
    )
    length = _count(sweep, "data.sequence_length", _part(sweep, base, "data").get("sequence_length", 256))
    trees = []
    for width in sorted(widths):
        model_tree = model_at_width(recipe, width, model_base)
        params = size(recipe, width, model_base)
        model = validate(ModelConfig, model_tree, f"sweep {sweep.name}: model")
        per_token = train_flops_per_token(model, length)
        train_tree = merge(training_at_size(recipe, params, length), _part(sweep, base, "train"))
        batch = _count(sweep, "train.batch_tokens", train_tree["batch_tokens"])
        if sweep.design == "isoflop":
            budgets = [round(flops / per_token) for flops in sweep.budgets]
        else:
            budgets = list(sweep.tokens) or [round(ratio * params) for ratio in sweep.tokens_per_param]
        whole = sorted({max(1, tokens // batch) * batch for tokens in budgets})
        warmup = math.ceil(recipe.warmup_fraction * whole[0] / batch)
        common = merge(base, {"model": model_tree, "train": {**train_tree}})
        common["train"].setdefault("warmup_steps", warmup)
        name = f"{sweep.name}-{short(params)}"
        if sweep.branches:
            train = {"tokens": whole[-1], "branches": whole[:-1], "schedule": "wsd"}
            trees.append({**common, "name": name, "train": {**common["train"], **train}})
        else:
            for tokens in whole:
                train = {**common["train"], "tokens": tokens}
                trees.append({**common, "name": f"{name}-{short(tokens)}", "train": train})
    return trees


def _rungs(sweep: SweepConfig) -> list[Tree]:
    """Each rung over the base, with the tokens that its budget of FLOPs pays for."""
    trees = []
    for number, rung in enumerate(sweep.rungs):
        tree = merge(sweep.base, rung)
        name = rung.get("name", f"{sweep.name}-{number + 1}")
        train = _part(sweep, tree, "train")
        if "tokens" not in train and "steps" not in train:
            if not sweep.budgets:
                raise BadInputError(f"sweep {sweep.name}, rung {number + 1}: give budgets or train.tokens")
            where = f"sweep {sweep.name}, rung {number + 1}"
            one = {**tree, "name": name, "train": {"learning_rate": 1.0, **train, "steps": 1}}
            run = validate(RunConfig, one, where)
            batch = run.train.batch_tokens
            whole = max(1, round(sweep.budgets[number] / run_flops_per_token(run) / batch)) * batch
            warmup = math.ceil(sweep.recipe.warmup_fraction * whole / batch)
            tree = merge(tree, {"train": {"tokens": whole}})
            tree["train"].setdefault("warmup_steps", warmup)
        trees.append({**tree, "name": name})
    return trees


def _grid(sweep: SweepConfig) -> list[Tree]:
    """Every combination of the values of the axes."""
    trees = []
    for values in itertools.product(*sweep.axes.values()):
        tree = dict(sweep.base)
        parts = []
        for key, value in zip(sweep.axes, values, strict=True):
            tree = apply_override(tree, key.split("."), value)
            parts.append(f"{key.rsplit('.', 1)[-1]}={value}")
        name = "-".join(parts)
        trees.append({**tree, "name": "".join(c if c.isalnum() or c in "._=+-" else "_" for c in name)})
    return trees
