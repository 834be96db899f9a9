"""Configs as trees: found by name or path, laid over one another, changed by `key=value` overrides."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from scaling.config.mixture import MIXTURE
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint, near
from scaling.runtime.yaml_files import parse_yaml, read_yaml

Tree = dict[str, Any]

_PACKAGED = Path(__file__).resolve().parents[1] / "configs"  # in a wheel
_CHECKOUT = Path(__file__).resolve().parents[2] / "configs"  # in a checkout


def config_root() -> Path:
    """The directory of named configs: the checkout's, or the copy inside the installed package."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


@cache
def _families() -> tuple[Tree, ...]:
    """The files of `configs/models`, each of a family: `defaults`, `sizes`, and maybe `training`."""
    return tuple(read_yaml(path) for path in sorted((config_root() / "models").glob("*.yaml")))


@cache
def _named_models() -> dict[str, Tree]:
    """Every named model's tree."""
    return {
        name: {"name": name, **family.get("defaults", {}), **size}
        for family in _families()
        for name, size in family["sizes"].items()
    }


@cache
def _model_runs() -> dict[str, Tree]:
    """The run of each named model whose published training settings are known.

    `training` in a file of `configs/models` is a run without its model; its own `sizes` change it by name.
    """
    runs: dict[str, Tree] = {}
    for family in _families():
        training = dict(family.get("training", {}))
        own = training.pop("sizes", {})
        for name in family["sizes"] if training else ():
            runs[name] = merge_runs({"name": name, "model": name, **training}, own.get(name, {}))
    return runs


def model_names() -> list[str]:
    """Names of the models in `configs/models`, families in alphabetical order, sizes as listed."""
    return list(_named_models())


def model_run_names() -> list[str]:
    """Names of the models that are runs too, with their published training settings."""
    return [name for name in _model_runs() if name not in names("runs")]


def names(kind: str) -> list[str]:
    """Names of the configs of a kind: `runs`, `sweeps`, `recipes` or `hardware`."""
    return sorted(path.stem for path in (config_root() / kind).glob("*.yaml"))


def unknown_name(kind: str, name: str, known: Sequence[str]) -> BadInputError:
    """An error about a name that is not one of the known ones; it suggests those that are near."""
    said = f"{kind} {name!r}: neither a named config nor a YAML file"
    if other := _of_another_kind(name, near(name, known)):
        return BadInputError(f"{said}; {other}")
    return BadInputError(f"{said}; {hint(name, known, 12)}")


def _of_another_kind(name: str, own: Sequence[str]) -> str:
    """What a name is among the other kinds of configs, and its use; empty where `own` names are nearer."""
    others = {
        "run": ([*names("runs"), *model_run_names()], "scaling train {}"),
        "model": (model_names(), "scaling train RUN model={}"),
        "sweep": (names("sweeps"), "scaling sweep {}"),
    }
    for kind, (known, usage) in others.items():
        if (found := near(name, known)) and (not own or name == found[0]):
            return f"{found[0]} is a {kind}: {usage.format(found[0])}"
    return ""


def one_of_kind(kind: str) -> str:
    """A directory of configs as a person calls one of them."""
    return "hardware" if kind == "hardware" else f"{kind[:-1]} config"


def find_config(kind: str, name: str) -> Path:
    """The file of a config given as a name in `configs/KIND` or as a path.

    Raises:
        BadInputError: neither exists.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        packaged = config_root().parent / path  # `configs/sweeps/x.yaml` typed outside a checkout
        if path.parts[:1] == ("configs",) and packaged.is_file():
            return packaged
        raise BadInputError(f"{one_of_kind(kind)} {name}: no such file")
    found = config_root() / kind / f"{name}.yaml"
    if "/" not in name and found.is_file():
        return found
    known = [*names(kind), *(model_run_names() if kind == "runs" else ())]
    raise unknown_name(one_of_kind(kind), name, known)


def model_tree(value: Any) -> Tree:
    """A model given by name, by path, or as a mapping that may start from a `base`."""
    if isinstance(value, str):
        if value.endswith((".yaml", ".yml")):
            return model_tree(read_yaml(Path(value)))
        if value not in _named_models():
            raise unknown_name("model", value, model_names())
        return dict(_named_models()[value])
    if isinstance(value, dict):
        if "base" in value:
            rest = {key: field for key, field in value.items() if key != "base"}
            return {**model_tree(value["base"]), "name": "custom", **rest}
        return dict(value)
    raise BadInputError(f"model: expected a name or a mapping, found {value!r}")


def merge(base: Tree, changes: Tree) -> Tree:
    """`base` with `changes` laid over it, mapping by mapping; lists and scalars are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def merge_runs(base: Tree, changes: Tree) -> Tree:
    """A run's tree with another laid over it: `merge`, with short forms written out so that nothing is lost.

    A model, an objective or `spikes: true` given by name keeps its meaning under a mapping that changes it;
    one budget replaces the other.
    """
    base, changes = _long_forms(base), _long_forms(changes)
    model, objective = changes.get("model"), changes.get("objective")
    if isinstance(model, dict) and isinstance(base.get("model"), str) and "base" not in model:
        changes["model"] = {"base": base["model"], **model}
    if isinstance(objective, dict) and isinstance(base.get("objective"), dict):
        named = objective.get("name")
        if named is not None and named != base["objective"].get("name"):
            base["objective"] = {}  # its settings are those of another objective
    train = changes.get("train")
    if isinstance(train, dict) and isinstance(base.get("train"), dict):
        for given, other in (("tokens", "steps"), ("steps", "tokens")):
            if train.get(given) is not None and train.get(other) is None:
                base["train"] = {key: value for key, value in base["train"].items() if key != other}
    data = changes.get("data")
    if isinstance(data, dict) and isinstance(base.get("data"), dict):
        base["data"] = _without_other_source(base["data"], data)
    return merge(base, changes)


def _without_other_source(base: Tree, changes: Tree) -> Tree:
    """A `data` mapping without what `changes` replaces: a source replaces a mixture, and the reverse."""
    replaced: tuple[str, ...] = ()
    if changes.get("mixture") is not None:
        replaced = ("source",)
    elif changes.get("source") not in (None, MIXTURE):
        replaced = ("mixture", "mixture_schedule")
    return {key: value for key, value in base.items() if key not in replaced}


def _long_forms(tree: Tree) -> Tree:
    tree = dict(tree)
    if isinstance(tree.get("objective"), str):
        tree["objective"] = {"name": tree["objective"]}
    if isinstance(tree.get("train"), dict) and tree["train"].get("spikes") is True:
        tree["train"] = {**tree["train"], "spikes": {}}
    return tree


def run_tree(value: Any) -> Tree:
    """A run's tree with its `base` and named model expanded, before validation.

    A name is that of a run, or of a model with published training settings.
    """
    if isinstance(value, str):
        value = _model_runs()[value] if value in model_run_names() else read_yaml(find_config("runs", value))
    if not isinstance(value, dict):
        raise BadInputError(f"run: expected a name or a mapping, found {value!r}")
    tree = dict(value)
    base = tree.pop("base", None)
    if base is not None:
        parent = run_tree(base)
        if isinstance(tree.get("model"), str):
            parent.pop("model", None)
        elif isinstance(tree.get("model"), dict) and "base" in tree["model"]:
            tree["model"] = model_tree(tree["model"])
        tree = merge_runs(parent, tree)
    if "model" in tree:
        tree["model"] = model_tree(tree["model"])
    return tree


def parse_overrides(overrides: Iterable[str]) -> list[tuple[list[str], Any]]:
    """`model.n_layers=6` to (["model", "n_layers"], 6); values are YAML.

    Raises:
        BadInputError: no `=`, or an empty key.
    """
    parsed = []
    for text in overrides:
        key, equals, value = text.partition("=")
        parts = key.split(".")
        if not equals or not all(part.strip() for part in parts):
            raise BadInputError(f"override {text!r}: write key=value, for example model.n_layers=6")
        parsed.append((parts, parse_yaml(value, f"override {key}")))
    return parsed


def apply_override(tree: Tree, parts: Sequence[str], value: Any) -> Tree:
    """`tree` with the value of one dotted key changed; a mapping is laid over the one that is there.

    A complete `model` may be given by name; one of another family replaces the present one, whose fields
    it does not have. Widths follow heads. An element of a list is named by its number, as in
    `rungs.0.train.seed`.

    Raises:
        BadInputError: the path leads through something that has no fields.
    """
    changed: Tree = _changed(tree, list(parts), value, ".".join(parts))
    return changed


def _other_family(old: Any, new: Tree) -> bool:
    """Whether a model given as a mapping names another family than the model that is there."""
    if old is None or "family" not in new:
        return False
    family: Any = model_tree(old).get("family", "decoder")
    return bool(family != new["family"])


def _changed(tree: Any, parts: list[str], value: Any, path: str) -> Any:
    head, *rest = parts
    if isinstance(tree, list):
        if not re.fullmatch(r"[0-9]{1,9}", head) or int(head) >= len(tree):
            raise BadInputError(f"override {path}: {head!r} is not one of 0 to {len(tree) - 1}")
        changed = list(tree)
        changed[int(head)] = _changed(tree[int(head)], rest, value, path) if rest else value
        return changed
    if not isinstance(tree, dict):
        raise BadInputError(f"override {path}: {parts[0]!r} is inside {tree!r}, which has no fields")
    if head == "axes" and rest:  # its keys are paths themselves
        head, rest, tree = ".".join(rest), [], {**tree, "axes": dict(tree.get("axes") or {})}
        tree["axes"][head] = value
        return tree
    if not rest:
        if head == "model" and isinstance(value, str):
            value = model_tree(value)
            tree = {key: one for key, one in tree.items() if key != "model"}
        elif head == "model" and isinstance(value, dict) and _other_family(tree.get("model"), value):
            tree = {key: one for key, one in tree.items() if key != "model"}
        return merge_runs(tree, {head: value})
    child = tree.get(head)
    if isinstance(child, str) and head == "model":
        child = model_tree(child)
    elif isinstance(child, str) and head in ("base", "recipe"):
        child = {"base": child}
    elif isinstance(child, str) and head == "objective":
        child = {"name": child}
    elif head == "spikes" and child is True:
        child = {}
    if child is None:
        child = {}
    if not isinstance(child, dict | list):
        raise BadInputError(f"override {path}: {head} is {child!r}, which has no fields")
    if head == "data" and isinstance(child, dict) and rest[0] in ("source", "mixture"):
        child = _without_other_source(child, {rest[0]: value if len(rest) == 1 else {}})
    changed = _changed(child, rest, value, path)
    if head == "train" and rest in (["tokens"], ["steps"]) and value is not None:
        # One budget: naming the other replaces it.
        changed.pop("steps" if rest == ["tokens"] else "tokens", None)
    return {**tree, head: changed}
