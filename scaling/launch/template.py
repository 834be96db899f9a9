"""Launch templates: the files in `launch/`, with placeholders such as `__NAME__` for what differs per run.

A shell template is filled in as text, and every value is quoted for the shell. A YAML template is read first
and filled in as a tree, so that no value can change its structure. The line or key of a value that does not
apply, which is None, is left out.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.runtime.yaml_files import as_yaml, read_yaml

Values = Mapping[str, Any]

PLACEHOLDER = re.compile(r"__([A-Z]+(?:_[A-Z]+)*)__")
_PACKAGED = Path(__file__).resolve().with_name("templates")  # in a wheel
_CHECKOUT = Path(__file__).resolve().parents[2] / "launch"  # in a checkout
_OMITTED = object()


class Code(str):
    """Shell code: filled in as it is, where other text is quoted."""


def template_file(name: str) -> Path:
    """A template by its path in `launch/`, in the checkout or in the installed package."""
    return (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / name


def fill(path: Path, values: Values, kind: str) -> str:
    """A template with its placeholders filled in; `kind` is "shell" or "yaml".

    Raises:
        BadInputError: the file cannot be read, or has a placeholder without a value of that name.
    """
    if kind == "yaml":
        tree = _fill_tree(read_yaml(path), values, path)
        return as_yaml({} if tree is _OMITTED else tree)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read as text ({error})") from error
    return _fill_text(text, values, path)


def _value(name: str, values: Values, path: Path) -> Any:
    if name not in values:
        known = hint(name, values)
        raise BadInputError(f"{path}: __{name}__ is not a placeholder of this template; {known}")
    return values[name]


def _fill_text(text: str, values: Values, path: Path, *, quoted: bool = True) -> str:
    """Lines that begin with `##`, or that have a placeholder whose value is None, are left out."""

    def shell(value: Any) -> str:
        if isinstance(value, Code) or not quoted:
            return str(value)
        return shlex.join(value) if isinstance(value, list | tuple) else shlex.quote(str(value))

    kept = []
    for line in text.splitlines(keepends=True):
        if line.startswith("##"):
            continue
        if all(_value(name, values, path) is not None for name in PLACEHOLDER.findall(line)):
            kept.append(PLACEHOLDER.sub(lambda match: shell(_value(match[1], values, path)), line))
    return "".join(kept)


def _fill_tree(node: Any, values: Values, path: Path) -> Any:
    """A string that is one placeholder becomes its value, of any type; one with several lines is a script.

    A key whose value is None is left out; so is a mapping that lost all keys, and a list entry that lost one.
    """
    if isinstance(node, str):
        if alone := PLACEHOLDER.fullmatch(node):
            value = _value(alone[1], values, path)
            return _OMITTED if value is None else str(value) if isinstance(value, Code) else value
        return _fill_text(node, values, path, quoted="\n" in node)
    if isinstance(node, dict):
        pairs = [(_fill_tree(key, values, path), _fill_tree(one, values, path)) for key, one in node.items()]
        filled = {key: value for key, value in pairs if key is not _OMITTED and value is not _OMITTED}
        return filled if filled or not node else _OMITTED
    if isinstance(node, list):
        entries = [(one, _fill_tree(one, values, path)) for one in node]
        return [
            value
            for one, value in entries
            if value is not _OMITTED and not (isinstance(one, dict) and len(value) < len(one))
        ]
    return node
