"""A CSV of finished runs, read strictly: what cannot be a measurement is refused with its line and column."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from scaling.config.errors import BadInputError
from scaling.laws.points import Points

REQUIRED = ("params", "tokens", "loss")
OPTIONAL = ("unique_tokens", "error", "learning_rate", "batch_tokens", "min_steps")
NUMBERS = (*REQUIRED, "flops", "weight", *OPTIONAL)
NAMES = ("dataset", "group", "name", "seed", "final")
# Other names of a column that says whether a row's loss stands at the end of its schedule.
FINAL_ALIASES = ("schedule_end", "status")
FINAL_WORDS = {
    **dict.fromkeys(("true", "yes", "1", "final", "finished", "complete", "completed", "done"), True),
    **dict.fromkeys(("false", "no", "0", "running", "interrupted", "intermediate", "partial"), False),
}
FIELDS = (*NUMBERS, *NAMES)
MAX_BYTES = 256 * 2**20


def parse_columns(text: str) -> dict[str, str]:
    """`params=N,tokens=D` as {"params": "N", "tokens": "D"}.

    Raises:
        BadInputError: a part is not FIELD=COLUMN, or a field is unknown or named twice.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        field, equals, column = (p.strip() for p in part.partition("="))
        if not (equals and field and column):
            raise BadInputError(f"columns: {part!r} is not FIELD=COLUMN, for example params=N,tokens=D")
        if field in mapping:
            raise BadInputError(f"columns: {field} is named twice ({mapping[field]!r} and {column!r})")
        mapping[field] = column
    _check_fields(mapping)
    return mapping


def _check_fields(mapping: dict[str, str]) -> None:
    for field in mapping:
        if field not in FIELDS:
            raise BadInputError(f"columns: {field!r} is not a field; use {', '.join(FIELDS)}")


def read_csv(path: Path, columns: dict[str, str], force: bool = False) -> Points:
    """Points from a CSV with a header; see `read_points`.

    Each row without a group is its own group. FLOPs are 6ND where there is no such column or the cell is
    empty. Columns that are not named here are ignored. With `force` a row with a number that is none, or not
    positive, is left out and counted.

    Raises:
        BadInputError: naming file, line, column, value, and what would be accepted.
    """
    _check_fields(columns)
    rows = csv_rows(path)
    if not rows:
        raise BadInputError(f"{path} is empty; the first line must be a header with {', '.join(REQUIRED)}")
    line, header = rows[0]
    header = [cell.strip() for cell in header]
    place = _columns(path, line, header, columns)
    if len(rows) == 1:
        raise BadInputError(f"{path}, line {line}: a header and no rows; give at least one row of numbers")

    if "final" not in place:
        for name in (n for n in FINAL_ALIASES if n in header):
            at = header.index(name)
            if all(len(cells) > at and cells[at].strip().lower() in FINAL_WORDS for _, cells in rows[1:]):
                place["final"] = at
    numbers: dict[str, list[float]] = {field: [] for field in NUMBERS if field in place}
    names: dict[str, list[str]] = {field: [] for field in NAMES if field in place}
    lines: list[int] = []
    dropped: list[str] = []
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise BadInputError(
                f"{path}, line {line}: {len(cells)} cells; the header has {len(header)} columns"
            )
        try:
            row = _row(path, line, header, cells, place)
        except BadInputError as error:
            if not force:
                raise BadInputError(f"{error}, or leave such rows out with --force") from error
            dropped.append(str(error).removeprefix(f"{path}, "))
            continue
        lines.append(line)
        for field in names:
            names[field].append(cells[place[field]].strip())
        for field, value in row.items():
            numbers[field].append(value)
    if not lines:
        raise BadInputError(
            f"{path}: none of {len(dropped)} row(s) has positive numbers; the first: {dropped[0]}"
        )

    params, tokens, loss = (np.array(numbers[field]) for field in REQUIRED)
    with np.errstate(over="ignore"):
        shorthand = 6.0 * params * tokens
    flops = np.array(numbers["flops"]) if "flops" in numbers else np.full(len(lines), math.nan)
    given = ~np.isnan(flops)
    flops = np.where(given, flops, shorthand)
    if not np.isfinite(flops).all():
        bad = int(np.argmin(np.isfinite(flops)))
        raise BadInputError(
            f"{path}, line {lines[bad]}: 6 x params {params[bad]:g} x tokens {tokens[bad]:g} is no finite "
            "number of FLOPs; counts below 1e150 are accepted"
        )
    group = [g or f"line {n}" for g, n in zip(names.get("group", [""] * len(lines)), lines, strict=True)]
    label = [n or g for n, g in zip(names.get("name", [""] * len(lines)), group, strict=True)]
    flops_text = "6ND" if not given.any() else f"column {header[place['flops']]} of {path.name}"
    if given.any() and not given.all():
        flops_text += ", 6ND where it is empty"
    optional: dict[str, Any] = {
        name: np.array(numbers[name]) if name in numbers else None for name in OPTIONAL
    }
    return Points(
        params=params,
        tokens=tokens,
        flops=flops,
        loss=loss,
        weight=np.array(numbers["weight"]) if "weight" in numbers else np.ones(len(lines)),
        groups=tuple(group),
        labels=tuple(label),
        dataset=tuple(names.get("dataset", [""] * len(lines))),
        counting={"params": f"column {header[place['params']]} of {path.name}", "flops": flops_text},
        source=str(path),
        final=_final(path, lines, names["final"]) if "final" in names else None,
        seeds=tuple(names["seed"]) if "seed" in names else None,
        dropped=tuple(dropped),
        **optional,
    )


def _row(
    path: Path, line: int, header: list[str], cells: list[str], place: dict[str, int]
) -> dict[str, float]:
    """The numbers of a row by field; an empty cell of an optional field is 1 for a weight, NaN for others."""
    row = {}
    for field in (f for f in NUMBERS if f in place):
        cell = cells[place[field]].strip()
        if not cell and field not in REQUIRED:
            row[field] = {"weight": 1.0}.get(field, math.nan)
        else:
            row[field] = _number(path, line, header[place[field]], field, cell)
    return row


def _final(path: Path, lines: list[int], cells: list[str]) -> tuple[bool, ...]:
    out = []
    for line, cell in zip(lines, cells, strict=True):
        if cell.lower() not in FINAL_WORDS:
            raise BadInputError(
                f"{path}, line {line}, column final: {cell[:40]!r} is not accepted; give true or false"
            )
        out.append(FINAL_WORDS[cell.lower()])
    return tuple(out)


def csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(
                f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are accepted"
            )
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(f"{path} cannot be read: {reason}; give a CSV file") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInputError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8 text; give a CSV in UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInputError(f"{path}, line {line}: a NUL byte; give a text file, not a binary one")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
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


def _columns(path: Path, line: int, header: list[str], mapping: dict[str, str]) -> dict[str, int]:
    """Field to column number."""
    where = f"{path}, line {line}"
    for name in header:
        if name and header.count(name) > 1:
            raise BadInputError(f"{where}: column {name!r} stands twice in the header; name each column once")
    for field, column in mapping.items():
        if column not in header:
            raise BadInputError(
                f"{where}: columns: {field}={column}: there is no column {column!r}; "
                f"the header has {_list(header)}"
            )
    place = {
        field: header.index(mapping.get(field, field))
        for field in FIELDS
        if mapping.get(field, field) in header
    }
    missing = [field for field in REQUIRED if field not in place]
    if missing:
        hint = (
            "is the file separated by commas?"
            if len(header) == 1
            else f"or name it: --columns {missing[0]}=..."
        )
        raise BadInputError(
            f"{where}: no column {' or '.join(map(repr, missing))} in the header, which has {_list(header)}; "
            f"add it, {hint}"
        )
    shared = [f for f in place if f not in NAMES and list(place.values()).count(place[f]) > 1]
    if len(shared) > 1:
        raise BadInputError(
            f"{where}: columns: {' and '.join(shared)} are read from one column; give each its own"
        )
    return place


def _list(header: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in header[:12])
    return shown + (f" and {len(header) - 12} more" if len(header) > 12 else "")


def _number(path: Path, line: int, column: str, field: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        shown = cell if len(cell) <= 40 else cell[:40] + "..."
        name = column if column == field else f"{column} ({field})"
        raise BadInputError(
            f"{path}, line {line}, column {name}: {shown!r} is not accepted; give a positive finite number"
        )
    return value
