"""A sweep's file as one tree: base and recipe expanded, variants and overrides laid over what they change."""

from collections.abc import Iterable, Sequence
from typing import Any

from scaling.config.compose import Tree, apply_override, find_config, merge, merge_runs, model_tree, run_tree
from scaling.config.run import RunConfig
from scaling.config.sweep import READS, SweepConfig
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import read_yaml

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
    """A variant as a sweep of its own; of what all variants share it takes what its design reads."""
    own = own if isinstance(own, dict) else {"variants": own}  # which validation refuses
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
    """Refuse what the variants share and no design among them reads."""
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
    """Whether a tree has a value at a path, or one in place of a mapping on the way there."""
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
    """A rung with its named run or model expanded; what is no mapping is refused by validation."""
    if not isinstance(rung, dict):
        return rung
    if "base" in rung:
        return run_tree(rung)
    model = rung.get("model")
    if isinstance(model, str) or (isinstance(model, dict) and "base" in model):
        return {**rung, "model": model_tree(model)}
    return rung
