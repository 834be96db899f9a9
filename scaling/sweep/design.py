"""The design of a sweep: which runs it is made of."""

import hashlib
import itertools
import math
from typing import Any

from scaling.config.compose import apply_override, merge, merge_runs
from scaling.config.load import validate
from scaling.config.model import ModelConfig, TransformerConfig
from scaling.config.run import RunConfig
from scaling.config.sweep import Recipe, SweepConfig
from scaling.estimate.counts import count_parameters, run_flops_per_token, train_flops_per_token
from scaling.runtime.errors import BadInputError

Tree = dict[str, Any]

_NAME_LENGTH = 100  # of a grid's run; what is longer is cut and told apart by a hash


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
        BadInputError: a run of the design is not valid, two have one name, or a setting of the base is one
            that the design decides.
    """
    runs = []
    for key, variant in sweep.variants.items():
        runs += expand(variant, f"{prefix}{key}-" if variant.design == "grid" else prefix)
    if not sweep.variants:
        if sweep.base.get("name") is not None:
            raise _decided(sweep, "name", "the design names its runs: write it as the sweep's own name")
        trees = {"grid": _grid, "rungs": _rungs}.get(sweep.design, _sized)(sweep)
        for seed, tree in itertools.product(sweep.seeds or (None,), trees):
            if seed is not None:
                tree = _seeded(sweep, tree, seed)
            if sweep.design == "grid":
                tree = {**tree, "name": f"{prefix}{tree['name']}"}
            if len(sweep.seeds or ()) > 1:
                tree = {**tree, "name": f"{tree['name']}-s{seed}"}
            runs.append(validate(RunConfig, tree, f"sweep {sweep.name}, run {tree['name']}"))
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(
            f"sweep {sweep.name}: two runs would be named {twice[0]}; choose sizes further apart"
        )
    return runs


def _seeded(sweep: SweepConfig, tree: Tree, seed: int) -> Tree:
    """A run's tree with one of the sweep's seeds."""
    held = _part(sweep, tree, "train").get("seed")
    if held is not None:
        raise BadInputError(
            f"sweep {sweep.name}: train.seed={held!r} of run {tree['name']} and "
            f"seeds={list(sweep.seeds or ())} both give the seed: leave train.seed out, and write it in seeds"
        )
    return merge(tree, {"train": {"seed": seed}})


def _decided(sweep: SweepConfig, field: str, instead: str) -> BadInputError:
    """An error about a setting of the base that the design decides."""
    value: Any = sweep.base
    for part in field.split("."):
        value = value[part]
    return BadInputError(f"sweep {sweep.name}: base.{field}={value!r}: {instead}")


def _part(sweep: SweepConfig, tree: Tree, key: str) -> Tree:
    """A mapping inside a run's tree; empty where it is not given."""
    part = tree.get(key)
    if part is not None and not isinstance(part, dict):
        raise BadInputError(f"sweep {sweep.name}: base.{key}: expected a mapping, found {part!r}")
    return dict(part or {})


def _count(sweep: SweepConfig, field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 2**62 or value % 1:
        raise BadInputError(
            f"sweep {sweep.name}: base.{field}: {value!r} is not accepted: give a whole number"
        )
    return int(value)


def _sized(sweep: SweepConfig) -> list[Tree]:
    """Ladder and isoFLOP designs: sizes by the recipe, budgets by the design."""
    recipe, base = sweep.recipe, sweep.base
    model_base, train_base = _part(sweep, base, "model"), _part(sweep, base, "train")
    _check_sized(sweep, model_base, train_base)
    sizes = [
        *((width, None) for width in sweep.widths),
        *((width_for_depth(recipe, depth), depth) for depth in sweep.depths),
        *((width_for_params(recipe, target, model_base), None) for target in sweep.params),
    ]
    length = _count(sweep, "data.sequence_length", _part(sweep, base, "data").get("sequence_length", 256))
    trees = []
    for width, depth in sorted(sizes, key=lambda pair: (pair[0], pair[1] or 0)):
        model_tree = model_at_width(recipe, width, model_base, depth)
        params = size(recipe, width, model_base, depth)
        model = validate(ModelConfig, model_tree, f"sweep {sweep.name}: base.model")
        per_token = train_flops_per_token(model, length)
        train_tree = merge(training_at_size(recipe, params, length), train_base)
        batch = _count(sweep, "train.batch_tokens", train_tree["batch_tokens"])
        if sweep.design == "isoflop":
            budgets = [round(flops / per_token) for flops in sweep.budgets]
        else:
            budgets = list(sweep.tokens) or [round(ratio * params) for ratio in sweep.tokens_per_param]
        whole = _whole_batches(sweep, budgets, batch, width)
        warmup = math.ceil(recipe.warmup_fraction * whole[0] / batch)
        common = merge(base, {"model": model_tree, "train": {**train_tree}})
        common["train"].setdefault("warmup_steps", warmup)
        name = f"{sweep.name}-{short(params)}"
        if sweep.branches:
            train = {"schedule": "wsd", **common["train"], "tokens": whole[-1], "branches": whole[:-1]}
            _check_branches(sweep, train)
            trees.append({**common, "name": name, "train": train})
        else:
            for tokens in whole:
                train = {**common["train"], "tokens": tokens}
                trees.append({**common, "name": f"{name}-{short(tokens)}", "train": train})
    return trees


def _check_sized(sweep: SweepConfig, model: Tree, train: Tree) -> None:
    """Refuse settings of the base that sizes and budgets decide."""
    budgets = "budgets in FLOPs" if sweep.design == "isoflop" else "tokens or tokens_per_param"
    for field in ("tokens", "steps"):
        if train.get(field) is not None:
            raise _decided(
                sweep,
                f"train.{field}",
                f"write the budgets of design={sweep.design} as {budgets}",
            )
    if sweep.branches and train.get("branches"):
        raise _decided(sweep, "train.branches", f"each budget is a branch: write it in {budgets}")
    if model.get("d_model") is not None:
        raise _decided(sweep, "model.d_model", f"write the widths of design={sweep.design} as widths")
    if sweep.depths and model.get("n_layers") is not None:
        raise _decided(sweep, "model.n_layers", "the depth of each size is one of depths: write it there")
    if model.get("family", "decoder") not in _TRANSFORMERS:
        raise _decided(
            sweep,
            "model.family",
            "a recipe sizes Transformers: write design=rungs and a model for each",
        )


def _check_branches(sweep: SweepConfig, train: Tree) -> None:
    """Refuse settings of the base that runs with several budgets cannot have."""
    if not train["branches"]:
        return
    remedy = "write branches=false for a run per budget"
    if train["schedule"] != "wsd":
        raise _decided(
            sweep, "train.schedule", f"the budgets of a size are cooldowns of one wsd run; {remedy}"
        )
    if train.get("batch_warmup_tokens"):
        raise _decided(
            sweep, "train.batch_warmup_tokens", f"runs with branches have one batch size; {remedy}"
        )


def _whole_batches(sweep: SweepConfig, budgets: list[int], batch: int, width: int) -> list[int]:
    """Budgets in whole batches, in order.

    Raises:
        BadInputError: one is less than a batch, or two are the same number of batches.
    """
    whole = sorted(tokens // batch * batch for tokens in budgets)
    if whole[0] == 0:
        raise BadInputError(
            f"sweep {sweep.name}: a budget of {min(budgets):,} tokens at width {width} is less than one "
            f"batch of {batch:,}: give a larger budget, or a smaller base.train.batch_tokens"
        )
    same = [one for one, other in itertools.pairwise(whole) if one == other]
    if same:
        raise BadInputError(
            f"sweep {sweep.name}: two budgets at width {width} are {same[0] // batch} batches of {batch:,} "
            f"tokens: give budgets further apart, or a smaller base.train.batch_tokens"
        )
    return whole


_TRANSFORMERS = {one.model_fields["family"].default for one in TransformerConfig.__subclasses__()}


def _rungs(sweep: SweepConfig) -> list[Tree]:
    """Each rung over the base, with the tokens that its budget of FLOPs pays for."""
    given = _part(sweep, sweep.base, "train")
    for field in ("tokens", "steps"):
        if sweep.budgets and given.get(field) is not None:
            raise _decided(sweep, f"train.{field}", "budgets gives the runs theirs: leave one of the two out")
    trees = []
    for number, rung in enumerate(sweep.rungs):
        where = f"sweep {sweep.name}, rung {number + 1}"
        tree = merge_runs(sweep.base, rung)
        name = rung.get("name", f"{sweep.name}-{number + 1}")
        train = _part(sweep, tree, "train")
        if train.get("tokens") is None and train.get("steps") is None:
            if not sweep.budgets:
                raise BadInputError(f"{where}: give budgets or train.tokens")
            one = {**tree, "name": name, "train": {"learning_rate": 1.0, **train, "steps": 1, "branches": ()}}
            run = validate(RunConfig, one, where)
            batch = run.train.batch_tokens
            whole = max(1, round(sweep.budgets[number] / run_flops_per_token(run) / batch)) * batch
            warmup = math.ceil(sweep.recipe.warmup_fraction * whole / batch)
            tree = merge(tree, {"train": {"tokens": whole, "steps": None}})
            tree["train"].setdefault("warmup_steps", warmup)
        trees.append({**tree, "name": name})
    return trees


def _grid(sweep: SweepConfig) -> list[Tree]:
    """Every combination of the values of the axes."""
    if "name" in sweep.axes:
        raise BadInputError(
            f"sweep {sweep.name}: axes.name: runs of a grid are named by their axes; leave it out"
        )
    if {"train.tokens", "train.steps"} <= set(sweep.axes):
        raise BadInputError(
            f"sweep {sweep.name}: axes.train.tokens and axes.train.steps both give the budget: leave one out"
        )
    trees = []
    for values in itertools.product(*sweep.axes.values()):
        tree = dict(sweep.base)
        chosen = dict(zip(sweep.axes, values, strict=True))
        for key in sorted(chosen, key=lambda key: key.count(".")):  # `model` before `model.n_layers`
            tree = apply_override(tree, key.split("."), chosen[key])
        parts = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in chosen.items()]
        trees.append({**tree, "name": _plain_name("-".join(parts))})
    return trees


def _plain_name(name: str) -> str:
    """A name of the characters that directories have; a long one is cut and ends in a hash of the rest."""
    plain = "".join(c if c.isalnum() or c in "._=+-" else "_" for c in name)
    if len(plain) <= _NAME_LENGTH:
        return plain
    return f"{plain[: _NAME_LENGTH - 9]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


_MOST_HEADS = 512
_FURTHEST = 3.0  # a size is at most so many times its target, or the reverse


def model_at_width(recipe: Recipe, width: int, base: Tree, depth: int | None = None) -> Tree:
    """The model tree of a rung: heads, and a depth that is not given, follow from the width; `base` wins.

    Raises:
        BadInputError: the width is not a whole number of heads.
    """
    if width % recipe.d_head:
        raise BadInputError(
            f"width {width} is not a whole number of heads: the recipe {recipe.name!r} has "
            f"d_head={recipe.d_head}"
        )
    depth = depth or max(1, int(width / recipe.width_per_layer + 0.5))
    shape = {"n_layers": depth, "d_model": width, "n_heads": width // recipe.d_head, "d_head": recipe.d_head}
    return merge({"name": f"w{width}-d{depth}", **shape}, base)


def size(recipe: Recipe, width: int, base: Tree, depth: int | None = None) -> int:
    """N of a rung: non-embedding parameters with the output head."""
    model = validate(ModelConfig, model_at_width(recipe, width, base, depth), "base.model")
    return count_parameters(model).non_embedding_with_head


def width_for_depth(recipe: Recipe, depth: int) -> int:
    """The width of a rung of `depth` layers, in whole heads."""
    return max(1, round(depth * recipe.width_per_layer / recipe.d_head)) * recipe.d_head


def width_for_params(recipe: Recipe, params: float, base: Tree) -> int:
    """The width whose N is nearest to `params`, in ratio.

    Raises:
        BadInputError: no width of the recipe is within a factor of 3 of it.
    """
    best, best_ratio = recipe.d_head, float("inf")
    for heads in range(1, _MOST_HEADS + 1):
        n = size(recipe, heads * recipe.d_head, base)
        ratio = max(n / params, params / n)
        if ratio < best_ratio:
            best, best_ratio = heads * recipe.d_head, ratio
        if n > params:
            break
    if best_ratio > _FURTHEST:
        n = size(recipe, best, base)
        raise BadInputError(
            f"params {params:,.0f}: the nearest size of the recipe {recipe.name!r} is {n:,} at width {best}; "
            f"give a target nearer to it, or another recipe.d_head or base.model.vocab_size"
        )
    return best


def training_at_size(recipe: Recipe, params: int, sequence_length: int) -> Tree:
    """Batch and learning rate of a rung by the recipe's power laws."""
    ratio = params / recipe.reference_params
    rows = max(1, round(recipe.batch_tokens * ratio**recipe.batch_exponent / sequence_length))
    return {
        "batch_tokens": rows * sequence_length,
        "learning_rate": float(f"{recipe.learning_rate * ratio**recipe.learning_rate_exponent:.4g}"),
    }
