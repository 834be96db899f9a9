"""From a name or a path and overrides to a validated configuration; every mistake becomes one line."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from scaling.config.compose import (
    apply_override,
    config_root,
    find_config,
    merge,
    merge_runs,
    model_names,
    model_tree,
    names,
    parse_overrides,
    run_tree,
)
from scaling.config.model import FAMILIES, ModelConfig
from scaling.config.objective import OBJECTIVES, objective_name
from scaling.config.run import RunConfig
from scaling.config.sweep import SweepConfig, sweep_tree
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import did_you_mean, hint, near
from scaling.runtime.yaml_files import dump_yaml, parse_yaml, read_yaml

T = TypeVar("T")
Tree = dict[str, Any]

_OBJECTIVE_OF_NAME: dict[str, Any] = {objective_name(objective): objective for objective in OBJECTIVES}
_CLASS_OF_TAG: dict[str, Any] = {**FAMILIES, **_OBJECTIVE_OF_NAME}  # tags that pydantic puts in a location


def _fields_at(schema: Any, location: Sequence[Any]) -> list[str]:
    """The field names that are allowed in place of an unknown key."""
    model = schema
    for part in location:
        if part in _CLASS_OF_TAG:
            model = _CLASS_OF_TAG[part]
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
        elif len(entries := _models_in(model)) == 1:  # the name of an entry in a mapping, or its number
            model = entries[0]
        else:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    """The model of an optional field; any other annotation as it is."""
    found = [one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
    return found[0] if len(found) == 1 else annotation


def _field_hint(field: str, known: list[str], schema: Any) -> str:
    """Suggest a field for an unknown one: in the same place, or elsewhere in the config."""
    key = field.rpartition(".")[2]
    if not near(key, known):  # another family of models may have a field of this path
        elsewhere = [
            path for path in _paths(schema) if path != field and near(key, [path.rpartition(".")[2]])
        ]
        if best := near(key, [path.rpartition(".")[2] for path in elsewhere], most=1):
            return did_you_mean([path for path in elsewhere if path.rpartition(".")[2] == best[0]][:3])
    return hint(key, known)


def _paths(schema: Any, inside: str = "", above: frozenset[type] = frozenset()) -> Iterator[str]:
    """Dotted paths of the fields of a config and of the configs in it; each once.

    A config that contains itself (`above`), as a sweep its variants, is entered once.
    """
    seen = set()
    for one in _models_in(schema):
        if one in above:
            continue
        for name, field in one.model_fields.items():
            for path in (name, *_paths(field.annotation, f"{name}.", above | {one})):
                if path not in seen:
                    seen.add(path)
                    yield inside + path


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in _models_in(one)]


def _one_line(error: ValidationError, schema: Any, where: str) -> str:
    first = error.errors()[0]
    location = first["loc"]
    field = ".".join(str(part) for part in location if part not in _CLASS_OF_TAG)
    value = first.get("input")
    shown = f"{value!r}" if not isinstance(value, dict) else "this combination"
    if first["type"] == "union_tag_invalid" and location[-1:] == ("objective",):
        return f"{where}{field}.name: known: {', '.join(_OBJECTIVE_OF_NAME)}"
    if first["type"] == "union_tag_invalid":
        return f"{where}{field + '.' if field else ''}family: known: {', '.join(FAMILIES)}"
    if first["type"] == "extra_forbidden":
        known = _fields_at(schema, location[:-1])
        return f"{where}{field}: unknown field; {_field_hint(field, known, schema)}"
    if first["type"] == "missing":
        return f"{where}{field}: missing; it has no default"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
        return f"{where}{field + ': ' if field else ''}{message}"
    if first["type"] in ("bool_type", "bool_parsing"):
        return f"{where}{field}: {shown} is not accepted: write true or false"
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


def load_model(name: str | Tree, overrides: Iterable[str] = ()) -> ModelConfig:
    """A model by name, path or tree; overrides without the `model.` prefix."""
    tree = model_tree(name)
    for parts, value in parse_overrides(overrides):
        tree = apply_override(tree, parts[1:] if parts[0] == "model" and len(parts) > 1 else parts, value)
    return validate(ModelConfig, tree, f"model {name if isinstance(name, str) else tree.get('name', '')}")


def load_run(name: str | Path | Tree, overrides: Iterable[str] = ()) -> RunConfig:
    """A run by name, path or tree, with `key=value` overrides laid over it."""
    is_tree = isinstance(name, dict)
    tree = run_tree(name if is_tree else str(name))
    if not is_tree and "name" not in tree:
        tree["name"] = Path(str(name)).stem
    for parts, value in parse_overrides(overrides):
        tree = apply_override(tree, parts, value)
    return validate(RunConfig, tree, "run" if is_tree else str(name))


def load_sweep(name: str | Path | Tree, overrides: Iterable[str] = ()) -> SweepConfig:
    """A sweep by name, path or tree, its base run and recipe expanded, with overrides laid over it.

    Raises:
        BadInputError: as `load_run`; or an override that a run of the sweep would not have.
    """
    if isinstance(name, dict):
        tree, where = {"name": "sweep", **name}, "sweep"
    else:
        path = find_config("sweeps", str(name))
        tree, where = {"name": path.stem, **read_yaml(path)}, str(name)
    return validate(SweepConfig, sweep_tree(tree, parse_overrides(overrides)), where)


__all__ = [
    "apply_override",
    "config_root",
    "dump_yaml",
    "find_config",
    "load_model",
    "load_run",
    "load_sweep",
    "merge",
    "merge_runs",
    "model_names",
    "names",
    "parse_overrides",
    "parse_yaml",
    "read_yaml",
    "run_tree",
    "validate",
]
