"""From a name or a path and overrides to a validated configuration; every mistake becomes one line."""

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from scaling.config.errors import BadInputError
from scaling.config.model import ModelConfig
from scaling.config.objective import OBJECTIVES, objective_name
from scaling.config.run import RunConfig
from scaling.config.sweep import Recipe, SweepConfig

T = TypeVar("T")
Tree = dict[str, Any]

_PACKAGED = Path(__file__).resolve().parents[1] / "configs"  # in a wheel
_CHECKOUT = Path(__file__).resolve().parents[2] / "configs"  # in a checkout
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeyLoader(_Loader):  # type: ignore[valid-type, misc]
    """A safe loader that refuses a key given twice and reads 1e-3 as the number people mean."""


def _mapping(loader: Any, node: yaml.MappingNode) -> Tree:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = str(key_node.value)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _scalar_float(loader: Any, node: yaml.ScalarNode) -> float:
    return float(node.value.replace("_", ""))


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
# YAML 1.1 reads 1e-3 as a string; YAML 1.2 and every reader of papers read it as a number.
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")
_UniqueKeyLoader.add_implicit_resolver("!exponent", _EXPONENT, list("-+0123456789"))
_UniqueKeyLoader.add_constructor("!exponent", _scalar_float)


def config_root() -> Path:
    """The directory of named configs: the checkout's, or the copy inside the installed package."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def parse_yaml(text: str, where: str) -> Any:
    """YAML by the safe loader.

    Raises:
        BadInputError: not YAML, a key given twice, or a tag that is not plain data.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error) or "not YAML"
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise BadInputError(f"{where}{line}: {problem}") from error


def read_yaml(path: Path) -> Tree:
    """The mapping in a YAML file.

    Raises:
        BadInputError: no such file, not text, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from error
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInputError(f"{str(path)!r}: not the name of a file") from error
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        what = "empty" if tree is None else f"a {type(tree).__name__}"
        raise BadInputError(f"{path}: expected a mapping of fields to values, found {what}")
    return {str(key): value for key, value in tree.items()}


@cache
def _named_models() -> dict[str, Tree]:
    """Every named model's tree. A file of `configs/models` holds a family: `defaults` and `sizes`."""
    models: dict[str, Tree] = {}
    for path in sorted((config_root() / "models").glob("*.yaml")):
        document = read_yaml(path)
        for name, size in document["sizes"].items():
            models[name] = {"name": name, **document.get("defaults", {}), **size}
    return models


def model_names() -> list[str]:
    """Names of the models in `configs/models`, families in alphabetical order, sizes as listed."""
    return list(_named_models())


def names(kind: str) -> list[str]:
    """Names of the configs of a kind: `runs`, `sweeps` or `recipes`."""
    return sorted(path.stem for path in (config_root() / kind).glob("*.yaml"))


def _unknown_name(kind: str, name: str, known: Sequence[str]) -> BadInputError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known[:12])}"
    more = ", ..." if not near and len(known) > 12 else ""
    return BadInputError(f"{kind} {name!r}: neither a named config nor a YAML file; {hint}{more}")


def _one(kind: str) -> str:
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
        raise BadInputError(f"{_one(kind)} {name}: no such file")
    found = config_root() / kind / f"{name}.yaml"
    if "/" not in name and found.is_file():
        return found
    raise _unknown_name(_one(kind), name, names(kind))


def _model_tree(value: Any) -> Tree:
    """A model given by name, by path, or as a mapping that may start from a `base`."""
    if isinstance(value, str):
        if value.endswith((".yaml", ".yml")):
            return _model_tree(read_yaml(Path(value)))
        if value not in _named_models():
            raise _unknown_name("model", value, model_names())
        return dict(_named_models()[value])
    if isinstance(value, dict):
        if "base" in value:
            rest = {key: field for key, field in value.items() if key != "base"}
            return {**_model_tree(value["base"]), "name": "custom", **rest}
        return dict(value)
    raise BadInputError(f"model: expected a name or a mapping, found {value!r}")


def merge(base: Tree, changes: Tree) -> Tree:
    """`base` with `changes` laid over it, mapping by mapping; lists and scalars are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def run_tree(value: Any) -> Tree:
    """A run's tree with its `base` and named model expanded, before validation."""
    if isinstance(value, str):
        value = read_yaml(find_config("runs", value))
    if not isinstance(value, dict):
        raise BadInputError(f"run: expected a name or a mapping, found {value!r}")
    tree = dict(value)
    base = tree.pop("base", None)
    if base is not None:
        parent = run_tree(base)
        if isinstance(tree.get("model"), str):
            parent.pop("model", None)
        elif isinstance(tree.get("model"), dict) and "base" in tree["model"]:
            tree["model"] = _model_tree(tree["model"])
        tree = merge(parent, tree)
    if "model" in tree:
        tree["model"] = _model_tree(tree["model"])
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
    """`tree` with one dotted key replaced. A whole `model` may be given by name; widths follow heads.

    Raises:
        BadInputError: the path runs through something that is not a mapping.
    """
    head, *rest = parts
    if not rest:
        if head == "model" and isinstance(value, str):
            value = _model_tree(value)
        return {**tree, head: value}
    child = tree.get(head, {})
    if isinstance(child, str) and head == "model":
        child = _model_tree(child)
    if child is None:
        child = {}
    if not isinstance(child, dict):
        raise BadInputError(f"override {'.'.join(parts)}: {head} is {child!r}, which has no fields")
    changed = apply_override(child, rest, value)
    if head == "train" and rest in (["tokens"], ["steps"]):
        # One budget: naming the other replaces it.
        changed.pop("steps" if rest == ["tokens"] else "tokens", None)
    return {**tree, head: changed}


_FAMILIES = get_args(
    get_args(ModelConfig)[0]
)  # the classes, each with the tag that pydantic puts in a location
_FAMILY_OF_TAG = {get_args(family)[1].tag: get_args(family)[0] for family in _FAMILIES}
_OBJECTIVE_OF_NAME: dict[str, Any] = {objective_name(objective): objective for objective in OBJECTIVES}
_CLASS_OF_TAG: dict[str, Any] = {**_FAMILY_OF_TAG, **_OBJECTIVE_OF_NAME}


def _fields_at(schema: Any, location: Sequence[Any]) -> list[str]:
    """The field names that were possible where an unknown key stood."""
    model = schema
    for part in location:
        if part in _CLASS_OF_TAG:
            model = _CLASS_OF_TAG[part]
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
        else:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    """The model of an optional field; any other annotation as it is."""
    found = [one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
    return found[0] if len(found) == 1 else annotation


def _one_line(error: ValidationError, schema: Any, where: str) -> str:
    first = error.errors()[0]
    location = first["loc"]
    field = ".".join(str(part) for part in location if part not in _CLASS_OF_TAG)
    value = first.get("input")
    shown = f"{value!r}" if not isinstance(value, dict) else "this combination"
    if first["type"] == "union_tag_invalid" and location[-1:] == ("objective",):
        return f"{where}{field}.name: known: {', '.join(_OBJECTIVE_OF_NAME)}"
    if first["type"] == "union_tag_invalid":
        return f"{where}{field + '.' if field else ''}family: known: {', '.join(_FAMILY_OF_TAG)}"
    if first["type"] == "extra_forbidden":
        known = _fields_at(schema, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"{where}{field}: unknown field; {hint}"
    if first["type"] == "missing":
        return f"{where}{field}: missing, and it has no default"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
        return f"{where}{field + ': ' if field else ''}{message}"
    return f"{where}{field}: {shown} is not accepted: {first['msg'][:1].lower()}{first['msg'][1:]}"


def validate(schema: Any, tree: Any, where: str = "") -> Any:
    """A validated instance of `schema`.

    Raises:
        BadInputError: names the field, the value and what would be accepted.
    """
    try:
        return TypeAdapter(schema).validate_python(tree)
    except ValidationError as error:
        raise BadInputError(_one_line(error, schema, f"{where}: " if where else "")) from error


def load_model(name: str, overrides: Iterable[str] = ()) -> ModelConfig:
    """A model by name or path; overrides without the `model.` prefix."""
    tree = _model_tree(name)
    for parts, value in parse_overrides(overrides):
        tree = apply_override(tree, parts[1:] if parts[0] == "model" and len(parts) > 1 else parts, value)
    return validate(ModelConfig, tree, f"model {name}")


def load_run(name: str | Path | Tree, overrides: Iterable[str] = ()) -> RunConfig:
    """A run by name, path or tree, with `key=value` overrides laid over it."""
    is_tree = isinstance(name, dict)
    tree = run_tree(name if is_tree else str(name))
    if not is_tree and "name" not in tree:
        tree["name"] = Path(str(name)).stem
    for parts, value in parse_overrides(overrides):
        tree = apply_override(tree, parts, value)
    return validate(RunConfig, tree, "run" if is_tree else str(name))


def load_sweep(name: str | Path, overrides: Iterable[str] = ()) -> SweepConfig:
    """A sweep by name or path, its base run and recipe expanded, with overrides laid over it."""
    path = find_config("sweeps", str(name))
    tree = {"name": path.stem, **read_yaml(path)}
    for parts, value in parse_overrides(overrides):
        tree = apply_override(tree, parts, value)
    return validate(SweepConfig, _sweep_tree(tree), str(name))


def _sweep_tree(tree: Tree) -> Tree:
    """A sweep's tree with its base run and recipe expanded, and each variant laid over what they share."""
    variants = tree.get("variants")
    if isinstance(variants, dict):
        shared = {key: value for key, value in tree.items() if key != "variants"}
        wholes = {}
        for variant, changes in variants.items():
            own = merge(shared, changes if isinstance(changes, dict) else {"variants": changes})
            wholes[variant] = _sweep_tree({**own, "name": f"{tree['name']}-{variant}"})
        tree = {**tree, "variants": wholes}
    if "base" in tree:
        tree["base"] = run_tree(tree["base"])
    if isinstance(tree.get("rungs"), list):
        tree["rungs"] = [_rung_tree(rung) for rung in tree["rungs"]]
    recipe = tree.get("recipe")
    if isinstance(recipe, str):
        tree["recipe"] = {"name": recipe, **read_yaml(find_config("recipes", recipe))}
    elif isinstance(recipe, dict) and isinstance(recipe.get("base"), str):
        base = read_yaml(find_config("recipes", recipe["base"]))
        tree["recipe"] = {**base, **{key: value for key, value in recipe.items() if key != "base"}}
    return tree


def _rung_tree(rung: Any) -> Any:
    """A rung with its named model expanded; what is no mapping is refused where the sweep is validated."""
    if isinstance(rung, dict) and isinstance(rung.get("model"), str):
        return {**rung, "model": _model_tree(rung["model"])}
    return rung


def dump_yaml(config: BaseModel) -> str:
    """A config as YAML that loads back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


__all__ = [
    "Recipe",
    "apply_override",
    "config_root",
    "dump_yaml",
    "find_config",
    "load_model",
    "load_run",
    "load_sweep",
    "merge",
    "model_names",
    "names",
    "parse_overrides",
    "parse_yaml",
    "read_yaml",
    "run_tree",
    "validate",
]
