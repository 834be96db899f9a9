"""A table as rows of text: a CSV file (comma, semicolon or tab; UTF-8 or UTF-16), or a pandas DataFrame."""

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from scaling.laws.read.cells import decimal_mark
from scaling.runtime.errors import BadInputError

MAX_BYTES = 256 * 2**20
SEPARATORS = ",;\t"  # the first of those that occur equally often
FRAME = "DataFrame"  # what messages call a data frame
NUMERIC = "iuf"  # kinds of dtype
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # spreadsheets save "Unicode text" in it


class DataFrame(Protocol):
    """What is used of a pandas DataFrame; pandas itself is not a dependency."""

    columns: Any
    index: Any
    iloc: Any
    reset_index: Any


@dataclass(frozen=True)
class Sheet:
    """A header and rows of text cells; `numbers[i]` is the line (CSV) or row (DataFrame) of `rows[i]`."""

    source: str  # in messages: the path
    name: str  # in descriptions: the file's name
    top: str  # where the header is
    header: list[str]
    rows: list[list[str]]
    numbers: list[Any]
    unit: str = "line"
    typed: frozenset[int] = frozenset()  # columns of numbers, not of text: their decimal mark is a point

    def place(self, row: int) -> str:
        """Where a row is: `line 3`."""
        return f"{self.unit} {self.numbers[row]}"

    def take(self, rows: Sequence[int]) -> "Sheet":
        """The sheet with only these rows."""
        return replace(self, rows=[self.rows[i] for i in rows], numbers=[self.numbers[i] for i in rows])

    def column(self, index: int) -> tuple[str, ...]:
        """The cells of a column without surrounding white space."""
        return tuple(cells[index].strip() for cells in self.rows)

    def decimal_mark(self, counts: Mapping[int, bool]) -> str:
        """The decimal mark, `.` or `,`, of the numbers in some columns; `counts` says which are integers.

        Raises:
            BadInputError: some of them have a decimal point and others a decimal comma.
        """
        columns = [(index, whole) for index, whole in counts.items() if index not in self.typed]
        found = decimal_mark((cells[index], whole) for cells in self.rows for index, whole in columns)
        if isinstance(found, tuple):
            raise BadInputError(
                f"{self.source}: {found[0]!r} has a decimal point and {found[1]!r} a decimal comma; write "
                "all numbers in one way"
            )
        return found

    def check_rows(self) -> None:
        """Raises BadInputError if there are no rows, or one does not have a cell for each column."""
        if not self.rows:
            raise BadInputError(f"{self.top}: a header and no rows; give at least one row of numbers")
        for i, cells in enumerate(self.rows):
            if len(cells) != len(self.header):
                raise BadInputError(
                    f"{self.source}, {self.place(i)}: {len(cells)} cells; "
                    f"the header has {len(self.header)} columns"
                )


def csv_sheet(path: Path, required: Sequence[str]) -> Sheet:
    """The sheet of a CSV file; `required` are columns that its header must name, for the message.

    Raises:
        BadInputError: the file is empty, or `csv_rows` cannot read it.
    """
    rows = csv_rows(path)
    if not rows:
        raise BadInputError(f"{path} is empty; the first line must be a header with {', '.join(required)}")
    (line, header), body = rows[0], rows[1:]
    return Sheet(
        source=str(path),
        name=path.name,
        top=f"{path}, line {line}",
        header=[cell.strip() for cell in header],
        rows=[cells for _, cells in body],
        numbers=[line for line, _ in body],
    )


def frame_sheet(frame: DataFrame, required: Sequence[str]) -> Sheet:
    """The sheet of a pandas DataFrame: NaN, None, NaT and NA are empty cells, and named indices are columns.

    Rows are numbered by their index labels if these are unique, else by position.

    Raises:
        BadInputError: it is not a DataFrame, or has no columns.
    """
    if not (hasattr(frame, "iloc") and hasattr(frame, "columns")):
        raise BadInputError(
            f"{type(frame).__name__} is not a source of points; give a path or a pandas DataFrame"
        )
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    if named:
        frame = frame.reset_index(level=named)
    if not len(frame.columns):
        raise BadInputError(f"{FRAME} is empty; it must have columns {', '.join(required)}")
    columns = [frame.iloc[:, i] for i in range(len(frame.columns))]
    labels = frame.index.tolist() if frame.index.is_unique else list(range(len(frame.index)))
    rows = [list(cells) for cells in zip(*map(_texts, columns), strict=True)]
    filled = [i for i, cells in enumerate(rows) if any(cell.strip() for cell in cells)]
    return Sheet(
        source=FRAME,
        name=FRAME,
        top=FRAME,
        header=[str(name).strip() for name in frame.columns],
        rows=rows,
        numbers=labels,
        unit="row",
        typed=frozenset(i for i, column in enumerate(columns) if column.dtype.kind in NUMERIC),
    ).take(filled)


def _texts(column: Any) -> list[str]:
    """The cells of a column of a DataFrame as a CSV file has them."""
    values, missing = column.tolist(), column.isna().tolist()
    known = [value for value, absent in zip(values, missing, strict=True) if not absent]
    # A column of integers in which one is missing is a column of floats.
    whole = column.dtype.kind in NUMERIC and all(abs(v) < 2**53 and float(v).is_integer() for v in known)
    read = int if whole else lambda value: value
    return ["" if absent else str(read(value)) for value, absent in zip(values, missing, strict=True)]


def csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank; the header decides what separates cells.

    Raises:
        BadInputError: the file cannot be read, is not text, or its quotes do not match; with the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(
                f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are accepted"
            )
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(f"{path} cannot be read: {reason}; give a CSV file") from error
    text = _decoded(path, raw)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInputError(f"{path}, line {line}: a NUL byte; give a text file, not a binary one")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_separator(text))
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise BadInputError(
            f'{path}, line {reader.line_num}: not CSV ({error}); quote with " pairs'
        ) from error
    return rows


def _decoded(path: Path, raw: bytes) -> str:
    encoding = "utf-16" if raw.startswith(UTF16) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if encoding == "utf-16" else "UTF-8"
        raise BadInputError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not {kind} text; give a CSV in UTF-8"
        ) from error


def _separator(text: str) -> str:
    """The separator that occurs most often, outside quotes, in the first line that is not blank."""
    line = next((line for line in io.StringIO(text) if line.strip()), "")
    outside = "".join(line.split('"')[::2])
    return max(SEPARATORS, key=outside.count)
