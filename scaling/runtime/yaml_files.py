"""YAML in and out: the only loader and the only dumper of the package.

Numbers and booleans are those of YAML 1.2's core schema (https://yaml.org/spec/1.2.2, section 10.3.2), not of
YAML 1.1, which PyYAML follows: `010` is 10 and not 8, `20:00:00` is a string and not 72000, `yes`, `no`, `on`
and `off` are strings, and `1e-3` is a number. One addition: thousands may be separated by underscores, as in
`1_000_000`.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from scaling.runtime.errors import BadInputError
from scaling.runtime.files import read_text

Tree = dict[str, Any]

_TAG = "tag:yaml.org,2002:"
_GROUPED = r"[1-9][0-9]{0,2}(?:_[0-9]{3})+"
_EXPONENT = r"(?:[eE][-+]?[0-9]+)"
_INT = re.compile(rf"(?:[-+]?(?:[0-9]+|{_GROUPED})|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    rf"(?:[-+]?(?:\.[0-9]+{_EXPONENT}?|(?:[0-9]+|{_GROUPED})(?:\.[0-9]*{_EXPONENT}?|{_EXPONENT}))"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
# The first that matches wins.
_RESOLVERS: tuple[tuple[str, re.Pattern[str], list[str]], ...] = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile(r"<<\Z"), ["<"]),
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader of YAML 1.2's core schema that refuses a key given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own)


def _mapping(loader: Any, node: yaml.MappingNode) -> Tree:
    seen: set[str] = set()
    for key_node, _ in node.value:
        scalar = isinstance(key_node, yaml.ScalarNode) and key_node.tag != f"{_TAG}merge"
        key = str(loader.construct_object(key_node) if scalar else key_node.value)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _bool(loader: Any, node: yaml.ScalarNode) -> bool:
    if node.value.lower() not in ("true", "false"):
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value!r} is not true or false", node.start_mark
        )
    return bool(node.value.lower() == "true")


def _int(loader: Any, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


def _float(loader: Any, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Quotes a string that a reader of YAML 1.1 or 1.2 would read as another type."""


for _kind, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, _first)
    _Dumper.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, _first)
_Loader.add_constructor(f"{_TAG}map", _mapping)
_Loader.add_constructor(f"{_TAG}bool", _bool)
_Loader.add_constructor(f"{_TAG}int", _int)
_Loader.add_constructor(f"{_TAG}float", _float)


class BlockDumper(_Dumper):
    """Writes scripts and other texts of several lines as readable blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{_TAG}str", text, style="|" if "\n" in text else None)


BlockDumper.add_representer(str, _block)


def parse_yaml(text: str, where: str) -> Any:
    """YAML as plain data.

    Raises:
        BadInputError: not YAML, a key given twice, or a tag that is not plain data.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a subclass of the safe loader
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
    tree = parse_yaml(read_text(path), str(path))
    if not isinstance(tree, dict):
        what = "empty" if tree is None else f"a {type(tree).__name__}"
        raise BadInputError(f"{path}: expected a mapping of fields to values, found {what}")
    return {str(key): value for key, value in tree.items()}


def dump_yaml(config: BaseModel) -> str:
    """A config as YAML that loads back to an equal config."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def as_yaml(tree: Tree) -> str:
    """A manifest as YAML."""
    return yaml.dump(tree, Dumper=BlockDumper, sort_keys=False, width=110)
