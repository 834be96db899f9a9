"""The design of a sweep: its runs, and the recipe that sizes their models."""

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

_NAME_LENGTH = 100  # of the run of a grid; longer names are cut and end in a hash


def short(number: float) -> str:
    """A count in at most three digits for names of runs: 96k, 1.1m, 13b."""
    for unit, letter in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if number >= unit * 0.9995:
            value = number / unit
            return f"{value:.3g}{letter}" if value < 999.5 else f"{value:.0f}{letter}"
    return f"{number:.0f}"


def expand(sweep: SweepConfig, prefix: str = "") -> list[RunConfig]:
    """The validated runs of a sweep, smallest first.

    The runs of a grid are named by their axes; in a variant their names start with its key, which is in
    `prefix`.

    Raises:
        BadInputError: a run is not valid, two have the same name, or the base has a setting that the design
            decides.
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
    """The tree of a run with a seed of the sweep."""
    held = _part(sweep, tree, "train").get("seed")
    if held is not None:
        raise BadInputError(
            f"sweep {sweep.name}: train.seed={held!r} of run {tree['name']} and "
            f"seeds={list(sweep.seeds or ())} both give the seed: remove train.seed and write it in seeds"
        )
    return merge(tree, {"train": {"seed": seed}})


def _decided(sweep: SweepConfig, field: str, instead: str) -> BadInputError:
    """The error for a setting of the base that the design decides."""
    value: Any = sweep.base
    for part in field.split("."):
        value = value[part]
    return BadInputError(f"sweep {sweep.name}: base.{field}={value!r}: {instead}")


def _part(sweep: SweepConfig, tree: Tree, key: str) -> Tree:
    """A mapping inside the tree of a run; empty if it is not given."""
    part = tree.get(key)
    if part is not None and not isinstance(part, dict):
        raise BadInputError(f"sweep {sweep.name}: base.{key}: expected a mapping, found {part!r}")
    return dict(part or {})


def _count(sweep: SweepConfig, field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 2**62 or value % 1:
        raise BadInputError(f"sweep {sweep.name}: base.{field}: {value!r} is not accepted: give an integer")
    return int(value)


def _sized(sweep: SweepConfig) -> list[Tree]:
    """Ladder and isoFLOP designs: sizes from the recipe, budgets from the design."""
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
        complete = _complete_batches(sweep, budgets, batch, width)
        warmup = math.ceil(recipe.warmup_fraction * complete[0] / batch)
        common = merge(base, {"model": model_tree, "train": {**train_tree}})
        common["train"].setdefault("warmup_steps", warmup)
        name = f"{sweep.name}-{short(params)}"
        if sweep.branches:
            train = {"schedule": "wsd", **common["train"], "tokens": complete[-1], "branches": complete[:-1]}
            _check_branches(sweep, train)
            trees.append({**common, "name": name, "train": train})
        else:
            for tokens in complete:
                train = {**common["train"], "tokens": tokens}
                trees.append({**common, "name": f"{name}-{short(tokens)}", "train": train})
    return trees


def _check_sized(sweep: SweepConfig, model: Tree, train: Tree) -> None:
    """Refuse settings of the base that the design decides by sizes and budgets."""
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
        raise _decided(sweep, "model.n_layers", "depths gives the depth of each size: write it there")
    if model.get("family", "decoder") not in _TRANSFORMERS:
        raise _decided(
            sweep,
            "model.family",
            "a recipe sizes Transformers: write design=rungs with a model for each rung",
        )


def _check_branches(sweep: SweepConfig, train: Tree) -> None:
    """Refuse settings of the base that are not possible with several budgets per run."""
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


def _complete_batches(sweep: SweepConfig, budgets: list[int], batch: int, width: int) -> list[int]:
    """Budgets rounded down to complete batches, in order.

    Raises:
        BadInputError: a budget is less than a batch, or two are the same number of batches.
    """
    complete = sorted(tokens // batch * batch for tokens in budgets)
    if complete[0] == 0:
        raise BadInputError(
            f"sweep {sweep.name}: a budget of {min(budgets):,} tokens at width {width} is less than one "
            f"batch of {batch:,}: give a larger budget, or a smaller base.train.batch_tokens"
        )
    same = [one for one, other in itertools.pairwise(complete) if one == other]
    if same:
        raise BadInputError(
            f"sweep {sweep.name}: two budgets at width {width} are {same[0] // batch} batches of {batch:,} "
            f"tokens: give budgets further apart, or a smaller base.train.batch_tokens"
        )
    return complete


_TRANSFORMERS = {one.model_fields["family"].default for one in TransformerConfig.__subclasses__()}


def _rungs(sweep: SweepConfig) -> list[Tree]:
    """Each rung merged into the base, with the tokens that its budget of FLOPs allows."""
    given = _part(sweep, sweep.base, "train")
    for field in ("tokens", "steps"):
        if sweep.budgets and given.get(field) is not None:
            raise _decided(sweep, f"train.{field}", "budgets gives the runs theirs: remove one of the two")
    trees = []
    for number, rung in enumerate(sweep.rungs):
        where = f"sweep {sweep.name}, rung {number + 1}"
        tree = merge_runs(sweep.base, rung)
        name = rung.get("name", f"{sweep.name}-{number + 1}")
        train = _part(sweep, tree, "train")
        if train.get("tokens") is None and train.get("steps") is None:
            if not sweep.budgets:
                raise BadInputError(f"{where}: give budgets, train.tokens or train.steps")
            one = {**tree, "name": name, "train": {"learning_rate": 1.0, **train, "steps": 1, "branches": ()}}
            run = validate(RunConfig, one, where)
            batch = run.train.batch_tokens
            complete = max(1, round(sweep.budgets[number] / run_flops_per_token(run) / batch)) * batch
            warmup = math.ceil(sweep.recipe.warmup_fraction * complete / batch)
            tree = merge(tree, {"train": {"tokens": complete, "steps": None}})
            tree["train"].setdefault("warmup_steps", warmup)
        trees.append({**tree, "name": name})
    return trees


def _grid(sweep: SweepConfig) -> list[Tree]:
    """Every combination of the values of the axes."""
    if "name" in sweep.axes:
        raise BadInputError(
            f"sweep {sweep.name}: axes.name: runs of a grid are named by their axes; remove it"
        )
    if {"train.tokens", "train.steps"} <= set(sweep.axes):
        raise BadInputError(
            f"sweep {sweep.name}: axes.train.tokens and axes.train.steps both give the budget: remove one"
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
    """A name with characters for directories only; a long one is cut and ends in a hash."""
    plain = "".join(c if c.isalnum() or c in "._=+-" else "_" for c in name)
    if len(plain) <= _NAME_LENGTH:
        return plain
    return f"{plain[: _NAME_LENGTH - 9]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


_MOST_HEADS = 512
_FURTHEST = 3.0  # largest ratio of a size to its target, or the reverse


def model_at_width(recipe: Recipe, width: int, base: Tree, depth: int | None = None) -> Tree:
    """The model tree of a rung: heads, and depth if not given, follow from the width; `base` overrides.

    Raises:
        BadInputError: the width is not a multiple of the head size.
    """
    if width % recipe.d_head:
        raise BadInputError(
            f"width {width} is not a multiple of d_head={recipe.d_head} of the recipe {recipe.name!r}"
        )
    depth = depth or max(1, int(width / recipe.width_per_layer + 0.5))
    shape = {"n_layers": depth, "d_model": width, "n_heads": width // recipe.d_head, "d_head": recipe.d_head}
    return merge({"name": f"w{width}-d{depth}", **shape}, base)


def size(recipe: Recipe, width: int, base: Tree, depth: int | None = None) -> int:
    """N of a rung: non-embedding parameters with the output head."""
    model = validate(ModelConfig, model_at_width(recipe, width, base, depth), "base.model")
    return count_parameters(model).non_embedding_with_head


def width_for_depth(recipe: Recipe, depth: int) -> int:
    """The width of a rung of `depth` layers, a multiple of the head size."""
    return max(1, round(depth * recipe.width_per_layer / recipe.d_head)) * recipe.d_head


def width_for_params(recipe: Recipe, params: float, base: Tree) -> int:
    """The width whose N is nearest to `params` in ratio.

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
            f"give a target nearer to it, or change recipe.d_head or base.model.vocab_size"
        )
    return best


def training_at_size(recipe: Recipe, params: int, sequence_length: int) -> Tree:
    """Batch size and learning rate of a rung by the power laws of the recipe."""
    ratio = params / recipe.reference_params
    rows = max(1, round(recipe.batch_tokens * ratio**recipe.batch_exponent / sequence_length))
    return {
        "batch_tokens": rows * sequence_length,
        "learning_rate": float(f"{recipe.learning_rate * ratio**recipe.learning_rate_exponent:.4g}"),
    }
