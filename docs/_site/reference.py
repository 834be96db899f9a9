"""Reference pages made from the code: every command with its options, every config field with its meaning.

The pages are plain Markdown and need neither MkDocs nor JAX: the site and the tests both call `pages()`. A
field without a docstring or a description is an error, so the reference has no gaps.
"""

import ast
import functools
import inspect
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]

INTRODUCTIONS = {
    "run-config.md": (
        "Run config",
        "Fields of a run: what `scaling train` reads from YAML, and what `key=value` overrides change. "
        "A field of a section is written with its path, as in `train.learning_rate=0.01`.",
    ),
    "sweep-config.md": (
        "Sweep config",
        "Fields of a sweep: what `scaling sweep` and `scaling launch` read from a YAML file. `base` holds a "
        "[run config](run-config.md) without the fields that the design sets.",
    ),
    "hardware-config.md": (
        "Hardware config",
        "Fields of a device kind: the files of `configs/hardware/`, which `--on KIND:COUNT` names.",
    ),
}


@functools.cache
def pages() -> dict[str, str]:
    """Path of each generated page below `docs/`, and its Markdown.

    Raises:
        ValueError: a config field has no description; the message lists all of them.
    """
    from scaling.config.hardware import Hardware
    from scaling.config.run import RunConfig
    from scaling.config.sweep import SweepConfig

    roots: dict[str, type[BaseModel]] = {
        "run-config.md": RunConfig,
        "sweep-config.md": SweepConfig,
        "hardware-config.md": Hardware,
    }
    if gaps := [gap for root in roots.values() for gap in undescribed(root)]:
        raise ValueError("fields without a description: " + ", ".join(dict.fromkeys(gaps)))
    made = {f"reference/{name}": _config_page(name, root) for name, root in roots.items()}
    return {"reference/commands.md": commands_page()} | made | _root_pages()


def undescribed(root: type[BaseModel]) -> list[str]:
    """`Class.field` of every field, in the models that `root` is made of, that says nothing about itself."""
    return [
        f"{model.__name__}.{name}"
        for model in _models(root)
        for name in model.model_fields
        if name not in _OWN_WORDS and not _description(model, name)
    ]


_OWN_WORDS = ("name", "family")  # the same in every model; described in `_description`
_ALWAYS = {
    "name": "Name, for tables and figures.",
    "family": "Kind of model; selects the fields of this section.",
}


# Commands


def commands_page() -> str:
    """Every command, with its arguments, options, types and defaults."""
    from scaling.cli import app

    lines = [
        "# Commands",
        "",
        "Every command of `scaling`, generated from the program. Every command also takes `-h` and `--help`. "
        "An input mistake is reported in one line with exit code 2; with `--json`, stdout holds exactly one "
        "JSON document. For what to use when, see [commands at a glance](../commands.md).",
        "",
    ]
    for path, command in _commands(typer.main.get_command(app), ()):
        lines += [f"## scaling {' '.join(path)}", "", _cell(inspect.cleandoc(command.help or "")), ""]
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
        usage = " ".join(
            ["scaling", *path, *(_metavar(one) for one in arguments), "[OPTIONS]" if options else ""]
        )
        lines += ["```text", usage.strip(), "```", ""]
        rows = [(f"`{_metavar(one)}`", _kind(one), _default(one), one.help) for one in arguments]
        rows += [
            (
                ", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts]),
                _kind(one),
                _default(one),
                one.help,
            )
            for one in options
            if "--help" not in one.opts
        ]
        lines += _table(("argument or option", "type", "default", "meaning"), rows)
    return "\n".join(lines) + "\n"


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if hasattr(inner, "commands"):
            yield from _commands(inner, (*path, name))
        else:
            yield (*path, name), inner


def _metavar(argument: Any) -> str:
    name = (argument.metavar or argument.name).strip("[].").upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _kind(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    kind = str(
        getattr(parameter.type_descriptor.annotation, "__name__", parameter.type_descriptor.annotation)
    )
    return {"str": "text", "int": "integer", "float": "number", "Path": "path", "list": "text"}.get(
        kind, kind.lower()
    )


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if default is None or default is False or callable(default) or "UNSET" in repr(default):
        return ""
    return f"`{default}`"


# Configs


def _config_page(name: str, root: type[BaseModel]) -> str:
    title, introduction = INTRODUCTIONS[name]
    lines = [f"# {title}", "", introduction, "", f"Generated from the models of `{root.__module__}`.", ""]
    schema = root.model_json_schema()
    for model in _models(root):
        properties = schema.get("$defs", {}).get(model.__name__, schema)["properties"]
        lines += [f"## {model.__name__}", "", _paragraphs(model), ""]
        rows = [
            (f"`{field}`", _type(properties[field]), _field_default(model, field), _description(model, field))
            for field in model.model_fields
        ]
        lines += _table(("field", "type", "default", "meaning"), rows)
    return "\n".join(lines) + "\n"


def _models(root: type[BaseModel]) -> list[type[BaseModel]]:
    """`root` and every model among the types of its fields, in the order of the fields."""
    found: dict[type[BaseModel], None] = {}

    def visit(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in found:
                found[kind] = None
                for field in kind.model_fields.values():
                    visit(field.annotation)
            return
        for inner in getattr(kind, "__args__", ()):
            visit(inner)

    visit(root)
    return list(found)


def _description(model: type[BaseModel], name: str) -> str:
    """What a field says of itself: its description, or the string below it in the class that declares it."""
    if text := model.model_fields[name].description:
        return text
    for owner in model.__mro__:
        if name in inspect.get_annotations(owner):
            return _attribute_docstrings(owner).get(name) or _ALWAYS.get(name, "")
    return ""


@functools.cache
def _attribute_docstrings(owner: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(sys.modules[owner.__module__]))
    (body,) = (
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner.__name__
    )
    found = {}
    for field, after in itertools.pairwise(body):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"map to {_type(inner)}" if isinstance(inner, dict) and inner else "map"
    name = {"string": "text", "number": "number", "boolean": "true or false", "null": "null"}.get(kind, kind)
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([name, *([", ".join(bounds)] if bounds else [])])


def _field_default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "derived" if "left out" in _description(model, name) else "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value in ((), {}):
        return "empty"
    words = {None: "`null`", True: "`true`", False: "`false`"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"


def _paragraphs(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").replace("*", r"\*")


# Pages of the repository's root


def _root_pages() -> dict[str, str]:
    """README, changelog and contributing, with links as they are from `docs/`."""
    made = {}
    for target, source in (
        ("index.md", "README.md"),
        ("changelog.md", "CHANGELOG.md"),
        ("contributing.md", "CONTRIBUTING.md"),
    ):
        text = (ROOT / source).read_text()
        for old, new in (
            ("](docs/", "]("),
            ("](CHANGELOG.md)", "](changelog.md)"),
            ("](CONTRIBUTING.md)", "](contributing.md)"),
        ):
            text = text.replace(old, new)
        for file in ("LICENSE", "CITATION.cff"):
            text = text.replace(f"[Apache-2.0]({file})", "Apache-2.0").replace(
                f"[{file}]({file})", f"`{file}`"
            )
        made[target] = text
    return made


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    line = [" | ".join(_cell(str(one or "")) for one in row) for row in rows]
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {row} |" for row in line), ""]


def _cell(text: str) -> str:
    return text.replace("\n\n", "<br>").replace("\n", " ").replace("|", r"\|").replace("*", r"\*")
