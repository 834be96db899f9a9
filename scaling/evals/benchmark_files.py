"""Rows of benchmark files (JSON, JSONL, TSV, CSV, TFDS); errors name file, line and field."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scaling.data.sources.compressed import read_plain
from scaling.runtime.errors import BadInputError


class EmptyFieldError(BadInputError):
    """A field of an item is empty: the item is skipped and counted."""


class Row:
    """The fields of one line or element of a file, and its place (`where`) for messages."""

    def __init__(self, where: str, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise BadInputError(f"{where}: expected an object with fields, found {_kind(fields)}")
        self.where, self.fields = where, fields

    def refuse(self, field: str, problem: str) -> BadInputError:
        """An error about a field of this row."""
        return BadInputError(f"{self.where}: {field}: {problem}")

    def empty(self, field: str, problem: str = "is empty") -> EmptyFieldError:
        """An error about an empty field of this row."""
        return EmptyFieldError(f"{self.where}: {field}: {problem}")

    def get(self, field: str, kind: type | tuple[type, ...] = str) -> Any:
        """A required field of a type.

        Raises:
            BadInputError: names file, line and field.
        """
        if field not in self.fields:
            found = ", ".join(map(str, self.fields)) or "none"
            raise self.refuse(field, f"missing; the fields are {found[:120]}")
        value = self.fields[field]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refuse(field, f"expected {_named(kind)}, found {_kind(value)}")
        return value

    def text(self, field: str) -> str:
        """A field that is a non-empty text."""
        value: str = self.get(field)
        if not value.strip():
            raise self.empty(field)
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A field that is a list of non-empty texts."""
        values = self.get(field, list)
        for value in values:
            if not isinstance(value, str):
                raise self.refuse(field, f"holds {str(value)[:40]!r}, which is not a text")
        if not values or not all(value.strip() for value in values):
            raise self.empty(field, "has an empty element" if values else "is empty")
        return tuple(values)

    def object(self, field: str) -> "Row":
        """A field that is an object with fields."""
        return Row(f"{self.where}: {field}", self.get(field, dict))

    def objects(self, field: str) -> Iterator["Row"]:
        """The elements of a field that is a list of objects."""
        for i, value in enumerate(self.get(field, list)):
            yield Row(f"{self.where}: {field}[{i}]", value)

    def index(self, field: str, count: int) -> int:
        """A field that is an integer below `count`, or its digits as text."""
        value = self.get(field, (int, str))
        text = str(value)
        if not text.isdecimal() or int(text) >= count:
            raise self.refuse(field, f"{text[:40]!r} is not a choice: there are {count}, counted from 0")
        return int(text)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


def _named(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return " or ".join(dict.fromkeys(names.get(each, each.__name__) for each in kinds))


def read_text(path: str | Path) -> str:
    """The text of a file, decompressed if necessary, with its line ends unchanged.

    Raises:
        BadInputError: it cannot be read, is not UTF-8, or is empty.
    """
    try:
        text = read_plain(Path(path).expanduser()).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror})") from error
    if not text.strip():
        raise BadInputError(f"{path}: the file is empty")
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a text. Only CR and LF end a line: fields may contain U+2028, U+0085, VT and FF."""
    return re.split(r"\r\n|\r|\n", text)


def read_json(path: str | Path) -> Row:
    """A JSON file with one object.

    Raises:
        BadInputError: it is not JSON, or not an object.
    """
    try:
        return Row(str(path), json.loads(read_text(path)))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not JSON ({str(error)[:100]})") from error


def read_jsonl(path: str | Path) -> list[Row]:
    """The objects of a file, one per line.

    Raises:
        BadInputError: a line is not a JSON object.
    """
    rows = []
    for number, line in enumerate(lines_of(read_text(path)), 1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInputError(f"{path}: line {number}: not JSON ({str(error)[:100]})") from error
        rows.append(Row(f"{path}: line {number}", tree))
    return rows


def read_tsv(path: str | Path) -> list[Row]:
    """The rows of a tab-separated file with a header and without quoting (GLUE's layout).

    Raises:
        BadInputError: a line has another number of fields than the header.
    """
    lines = lines_of(read_text(path))
    header = lines[0].split("\t")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        values = line.split("\t")
        if len(values) != len(header):
            raise BadInputError(
                f"{path}: line {number}: {len(values)} fields, and the header has {len(header)}"
            )
        rows.append(Row(f"{path}: line {number}", dict(zip(header, values, strict=True))))
    return rows


def read_csv(path: str | Path, names: Sequence[str]) -> list[Row]:
    """The rows of a comma-separated file without a header, whose columns are `names`.

    Raises:
        BadInputError: a line has another number of fields.
    """
    rows = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        for row in reader:
            if not row:
                continue
            where = f"{path}: line {reader.line_num}"
            if len(row) != len(names):
                raise BadInputError(f"{where}: {len(row)} fields; expected {len(names)}: {', '.join(names)}")
            rows.append(Row(where, dict(zip(names, row, strict=True))))
    except csv.Error as error:
        raise BadInputError(f"{path}: line {reader.line_num}: {error}") from error
    return rows


def files_in(path: str, pattern: str) -> list[Path]:
    """The file itself, or the files of a directory that match a pattern.

    Raises:
        BadInputError: there is none.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        found = sorted(place.glob(pattern))
        if not found:
            raise BadInputError(f"{path}: no file {pattern} in this directory")
        return found
    if not place.exists():
        raise BadInputError(f"{path}: no such file or directory")
    return [place]


def read_rows(path: str, reader: Callable[[str | Path], list[Row]]) -> list[Row]:
    """The rows of a file, or of a prepared data set for `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`.

    Raises:
        BadInputError: there are none.
    """
    if path.startswith("tfds:"):
        return _read_tfds(path)
    return reader(path)


def _read_tfds(spec: str) -> list[Row]:
    """The examples of a prepared data set; the default split is `validation`.

    The data set must be prepared as ArrayRecord; TensorFlow is not needed.

    Raises:
        BadInputError: no such data set or split, or it was prepared in another format.
    """
    from scaling.data.sources.tfds import open_examples

    examples = open_examples(spec.removeprefix("tfds:"), "validation")
    if len(examples) == 0:
        raise BadInputError(f"{spec}: the split is empty")
    return [Row(f"{spec}: example {i}", _plain(examples[i])) for i in range(len(examples))]


def _plain(value: Any) -> Any:
    """Bytes as text and arrays as lists, as in a JSON file."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
