"""Files of benchmarks read with care: what is missing is named by file, line and field."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scaling.data.compressed import read_plain
from scaling.runtime.errors import BadInputError


class EmptyFieldError(BadInputError):
    """A field of an item has nothing in it: the item is skipped and counted."""


class Entry:
    """One line or element of a file, and where it stands."""

    def __init__(self, where: str, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise BadInputError(f"{where}: expected an object with fields, found {_kind(fields)}")
        self.where, self.fields = where, fields

    def refuse(self, field: str, problem: str) -> BadInputError:
        """An error about a field of this entry."""
        return BadInputError(f"{self.where}: {field}: {problem}")

    def empty(self, field: str, problem: str = "is empty") -> EmptyFieldError:
        """An error about a field of this entry that has nothing in it."""
        return EmptyFieldError(f"{self.where}: {field}: {problem}")

    def get(self, field: str, kind: type | tuple[type, ...] = str) -> Any:
        """A field that must be there and be of a kind.

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
        """A field that is a text with something in it."""
        value: str = self.get(field)
        if not value.strip():
            raise self.empty(field)
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A field that is a list of texts, none of them empty."""
        values = self.get(field, list)
        for value in values:
            if not isinstance(value, str):
                raise self.refuse(field, f"holds {str(value)[:40]!r}, which is no text")
        if not values or not all(value.strip() for value in values):
            raise self.empty(field, "has an empty element" if values else "is empty")
        return tuple(values)

    def inside(self, field: str) -> "Entry":
        """A field that has fields itself."""
        return Entry(f"{self.where}: {field}", self.get(field, dict))

    def entries(self, field: str) -> Iterator["Entry"]:
        """The elements of a field that is a list of objects."""
        for i, value in enumerate(self.get(field, list)):
            yield Entry(f"{self.where}: {field}[{i}]", value)

    def index(self, field: str, count: int) -> int:
        """A field that is a number below `count`, also as digits in a text."""
        value = self.get(field, (int, str))
        text = str(value)
        if not text.isdecimal() or int(text) >= count:
            raise self.refuse(field, f"{text[:40]!r} is no choice: there are {count}, counted from 0")
        return int(text)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


def _named(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return " or ".join(dict.fromkeys(names.get(each, each.__name__) for each in kinds))


def read_text(path: str | Path) -> str:
    """A file as text, also compressed; its line ends as they are.

    Raises:
        BadInputError: it cannot be read, is not UTF-8, or has nothing in it.
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
    """The lines of a text: only CR and LF end one, not U+2028, U+0085, VT or FF, which fields may hold."""
    return re.split(r"\r\n|\r|\n", text)


def read_json(path: str | Path) -> Entry:
    """A JSON file that holds one object.

    Raises:
        BadInputError: it is not one.
    """
    try:
        return Entry(str(path), json.loads(read_text(path)))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not JSON ({str(error)[:100]})") from error


def read_jsonl(path: str | Path) -> list[Entry]:
    """The objects of a file, one a line.

    Raises:
        BadInputError: names the line that is no JSON object.
    """
    entries = []
    for number, line in enumerate(lines_of(read_text(path)), 1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInputError(f"{path}: line {number}: not JSON ({str(error)[:100]})") from error
        entries.append(Entry(f"{path}: line {number}", tree))
    return entries


def read_tsv(path: str | Path) -> list[Entry]:
    """The rows of a file with a header, fields between tabs, quotes meaning nothing (GLUE's layout).

    Raises:
        BadInputError: names the line that has not as many fields as the header.
    """
    lines = lines_of(read_text(path))
    header = lines[0].split("\t")
    entries = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        values = line.split("\t")
        if len(values) != len(header):
            raise BadInputError(
                f"{path}: line {number}: {len(values)} fields, and the header has {len(header)}"
            )
        entries.append(Entry(f"{path}: line {number}", dict(zip(header, values, strict=True))))
    return entries


def read_csv(path: str | Path, names: Sequence[str]) -> list[Entry]:
    """The rows of a comma-separated file without a header, its columns named.

    Raises:
        BadInputError: names the line that has another number of fields.
    """
    entries = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        for row in reader:
            if not row:
                continue
            where = f"{path}: line {reader.line_num}"
            if len(row) != len(names):
                raise BadInputError(f"{where}: {len(row)} fields; expected {len(names)}: {', '.join(names)}")
            entries.append(Entry(where, dict(zip(names, row, strict=True))))
    except csv.Error as error:
        raise BadInputError(f"{path}: line {reader.line_num}: {error}") from error
    return entries


def files_in(path: str, pattern: str) -> list[Path]:
    """The file itself, or the files of a directory that fit a pattern.

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


def read_entries(path: str, reader: Callable[[str | Path], list[Entry]]) -> list[Entry]:
    """The entries of a file, or with `tfds:NAME[/CONFIG][@SPLIT]` those of a prepared data set.

    Raises:
        BadInputError: there are none.
    """
    if path.startswith("tfds:"):
        return _read_tfds(path)
    return reader(path)


def _read_tfds(spec: str) -> list[Entry]:
    """Examples of `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`, by default those of the split `validation`.

    The data set must be prepared as ArrayRecord; no TensorFlow is needed.

    Raises:
        BadInputError: no such dataset or split, or one that was prepared in another format.
    """
    from scaling.data.tfds_source import open_examples

    examples = open_examples(spec.removeprefix("tfds:"), "validation")
    if len(examples) == 0:
        raise BadInputError(f"{spec}: the split is empty")
    return [Entry(f"{spec}: example {i}", _plain(examples[i])) for i in range(len(examples))]


def _plain(value: Any) -> Any:
    """Bytes as text and arrays as lists, as a JSON file would hold them."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
