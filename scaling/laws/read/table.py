"""A table of finished runs, as people write them: columns, units and spellings are read, or refused.

What can be read in one way is read, and a note says how. What cannot be a measurement is refused with its
line and column, and what hardly is what its column says with the likely unit.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.record import TokenizerInfo
from scaling.laws.points import BITS_PER_BYTE, NATS_PER_TOKEN, Points
from scaling.laws.read.cells import (
    count_unit,
    decimal_mark,
    finite_positive,
    flops_unit,
    is_final,
    read_number,
    unknown_words,
)
from scaling.laws.read.columns import (
    BITS_PER_TOKEN,
    COUNTED,
    NAMES,
    NATS_PER_BYTE,
    NUMBERS,
    OPTIONAL,
    PERPLEXITY,
    REQUIRED,
    TOKENIZER,
    Columns,
    check_fields,
    columns_of,
    is_training_loss,
)
from scaling.laws.read.plausible import Table, questions
from scaling.laws.read.select import Where, rows_where
from scaling.laws.read.sheet import csv_rows
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]


def read_csv(
    path: Path, columns: Mapping[str, str], force: bool = False, where: Where | None = None
) -> Points:
    """Points from a table with a header; see `read_points`.

    Each row without a group is its own group. FLOPs are 6ND where there is no such column or the cell is
    empty, and tokens are C/6N where there are FLOPs and no tokens. With `force` a row with a number that is
    none, or not positive, is left out and counted, and implausible units are noted.

    Raises:
        BadInputError: naming file, line, column, value, and what would be accepted.
    """
    check_fields(columns)
    rows = csv_rows(path)
    if not rows:
        raise BadInputError(f"{path} is empty; the first line must be a header with {', '.join(REQUIRED)}")
    line, header = rows[0]
    header = [cell.strip() for cell in header]
    found = columns_of(f"{path}, line {line}", header, columns, [cells for _, cells in rows[1:]])
    place = found.place
    if len(rows) == 1:
        raise BadInputError(f"{path}, line {line}: a header and no rows; give at least one row of numbers")
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise BadInputError(
                f"{path}, line {line}: {len(cells)} cells; the header has {len(header)} columns"
            )
    body = rows[1:]
    if where:
        aliases = {field: index for field, index in place.items() if field not in header}
        texts = {name: [cells[i] for _, cells in body] for i, name in enumerate(header) if name}
        texts |= {field: [cells[i] for _, cells in body] for field, i in aliases.items()}
        body = [body[i] for i in rows_where(where, texts, str(path))]
    mark = _mark(path, header, place, body)

    numbers: dict[str, list[float]] = {field: [] for field in NUMBERS if field in place}
    kept: list[tuple[int, list[str]]] = []
    dropped: list[str] = []
    spelled: dict[str, str] = {}
    for line, cells in body:
        try:
            row = _row(path, line, header, cells, found, mark, spelled)
        except BadInputError as error:
            if not force:
                raise BadInputError(f"{error}, or leave such rows out with --force") from error
            dropped.append(str(error).removeprefix(f"{path}, "))
            continue
        kept.append((line, cells))
        for field, value in row.items():
            numbers[field].append(value)
    if not kept:
        raise BadInputError(
            f"{path}: none of {len(dropped)} row(s) has positive numbers; the first: {dropped[0]}"
        )
    return _points(path, header, found, numbers, kept, dropped, spelled, mark, force)


def _points(
    path: Path,
    header: list[str],
    found: Columns,
    numbers: dict[str, list[float]],
    kept: list[tuple[int, list[str]]],
    dropped: list[str],
    spelled: dict[str, str],
    mark: str,
    force: bool,
) -> Points:
    place, lines = found.place, [line for line, _ in kept]
    arrays = {field: np.array(values) for field, values in numbers.items()}
    nothing = np.full(len(lines), math.nan)
    params, flops = arrays["params"], arrays.get("flops", nothing)
    given = ~np.isnan(flops)
    with np.errstate(over="ignore", divide="ignore"):
        tokens = arrays.get("tokens", nothing)
        multiples = arrays.get("tokens_per_param", nothing) * params
        by_size = np.isnan(tokens) & ~np.isnan(multiples)
        tokens = np.where(by_size, multiples, tokens)
        derived = np.isnan(tokens)
        tokens = np.where(derived, flops / (6.0 * params), tokens)
        flops = np.where(given, flops, 6.0 * params * tokens)
    bad = ~(np.isfinite(flops) & np.isfinite(tokens) & (tokens > 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise BadInputError(
            f"{path}, line {lines[at]}: 6 x params {params[at]:g} x tokens {tokens[at]:g} is no finite "
            "number of FLOPs; counts below 1e150 are accepted"
        )
    texts = {
        field: tuple(cells[place[field]].strip() for _, cells in kept) for field in NAMES if field in place
    }
    group = [g or f"line {n}" for g, n in zip(texts.get("group", ("",) * len(lines)), lines, strict=True)]
    label = [n or g for n, g in zip(texts.get("name", ("",) * len(lines)), group, strict=True)]
    loss, unit, how = _losses(arrays["loss"], found.unit)
    infos = _tokenizers(texts, arrays | {"loss": loss}, len(lines), unit == NATS_PER_TOKEN)
    final, state = _final(path, header, place, texts, force)
    notes = [*found.notes, *how, *state]
    notes += [f"{field}: {text!r} is read with its unit" for field, text in spelled.items()]
    if mark == ",":
        notes.append("commas are decimal marks")
    if by_size.any():
        notes.append(
            f"tokens are params x {header[place['tokens_per_param']]}, for lack of a column or a number"
        )
    if derived.any():
        n = int(derived.sum())
        where = "" if n == len(lines) else f" in {n} of {len(lines)} rows"
        notes.append(f"tokens are FLOPs / (6 x params){where}, for lack of a column or a number")
    doubts = tuple(
        questions(
            Table(
                names={field: header[place[field]] for field in (*REQUIRED, "flops") if field in place},
                lines=lines,
                params=params,
                tokens=tokens,
                flops=arrays.get("flops", nothing),
                loss=loss,
                per_token=unit == NATS_PER_TOKEN,
                vocab_size=arrays.get("vocab_size", nothing),
                derived=bool(derived.all()),
            )
        )
    )
    if doubts and not force:
        raise BadInputError(f"{path}: {doubts[0]}; or read them as they are with --force")
    flops_text = "6ND" if not given.any() else f"column {header[place['flops']]} of {path.name}"
    if given.any() and not given.all():
        flops_text += ", 6ND where it is empty"
    measured = {place[field] for field in NUMBERS if field in place} - {
        place[field] for field in TOKENIZER if field in place
    }
    others = {
        name: tuple(cells[i].strip() for _, cells in kept)
        for i, name in enumerate(header)
        if name and i not in measured
    }
    if is_training_loss(header[place["loss"]]):
        others.setdefault("split", ("train",) * len(lines))
    optional: dict[str, Any] = {name: arrays.get(name) for name in OPTIONAL}
    return Points(
        params=params,
        tokens=tokens,
        flops=flops,
        loss=loss,
        weight=arrays.get("weight", np.ones(len(lines))),
        groups=tuple(group),
        labels=tuple(label),
        dataset=texts.get("dataset", ("",) * len(lines)),
        counting={"params": f"column {header[place['params']]} of {path.name}", "flops": flops_text},
        source=str(path),
        final=final,
        seeds=texts.get("seed"),
        dropped=tuple(dropped),
        loss_unit=unit,
        tokenizers=infos,
        columns=others,
        notes=tuple(notes),
        doubts=doubts,
        **optional,
    )


def _tokenizers(
    texts: Mapping[str, Sequence[str]], arrays: Mapping[str, Floats], n: int, per_token: bool
) -> tuple[TokenizerInfo | None, ...] | None:
    names = texts.get("tokenizer", ("",) * n)
    sizes, measured, bits = (arrays.get(field, np.full(n, math.nan)) for field in TOKENIZER)
    measured = np.where(np.isnan(measured) & per_token, arrays["loss"] / math.log(2) / bits, measured)
    found = []
    for name, size, length in zip(names, sizes.tolist(), measured.tolist(), strict=True):
        facts: dict[str, Any] = {
            "name": name or None,
            "vocab_size": None if math.isnan(size) else round(size),
            "bytes_per_token": None if math.isnan(length) else length,
        }
        found.append(TokenizerInfo(**facts) if any(facts.values()) else None)
    return tuple(found) if any(found) else None


def _losses(values: Floats, unit: str) -> tuple[Floats, str, tuple[str, ...]]:
    """Losses in nats per token or bits per byte, the unit, and what was done to them."""
    if unit == PERPLEXITY:
        return np.log(values), NATS_PER_TOKEN, ("losses are logarithms of perplexities",)
    if unit == BITS_PER_TOKEN:
        return values * math.log(2), NATS_PER_TOKEN, ("losses in bits per token are read as nats",)
    if unit == NATS_PER_BYTE:
        return values / math.log(2), BITS_PER_BYTE, ("losses in nats per byte are read as bits per byte",)
    return values, unit, () if unit == NATS_PER_TOKEN else (f"losses are in {unit}",)


def _row(
    path: Path,
    line: int,
    header: list[str],
    cells: list[str],
    found: Columns,
    mark: str,
    spelled: dict[str, str],
) -> dict[str, float]:
    """The numbers of a row by field; an empty cell of an optional field is 1 for a weight, NaN for others.

    Cells with a unit of their own are kept in `spelled`, one by field.
    """
    row: dict[str, float] = {}
    place = found.place
    for field in (f for f in NUMBERS if f in place):
        cell = cells[place[field]].strip()
        instead = field == "tokens" and any(
            cells[place[other]].strip() for other in ("flops", "tokens_per_param") if other in place
        )
        if not cell and (field not in REQUIRED or instead):
            row[field] = {"weight": 1.0}.get(field, math.nan)
            continue
        value, unit = _number(path, line, header[place[field]], field, cell, mark)
        if unit:
            spelled[field] = min(cell, spelled.get(field, cell))
        row[field] = value if unit else value * found.factors.get(field, 1.0)
        least = 1.0 if field == "loss" and found.unit == PERPLEXITY else 0.0
        if not finite_positive(row[field]) or row[field] <= least:
            wanted = "a perplexity above 1" if least else "a positive finite number"
            raise BadInputError(_refused(path, line, header[place[field]], field, cell, wanted))
    return row


def _number(path: Path, line: int, column: str, field: str, cell: str, mark: str) -> tuple[float, str]:
    """A cell's number, and the unit in the cell itself."""
    try:
        value, unit = read_number(cell, mark)
    except ValueError:
        value, unit = math.nan, ""
    if unit:
        factor = flops_unit(unit) if field == "flops" else count_unit(unit) if field in COUNTED else None
        if field == "error" and unit == "%":
            factor = 0.01
        if factor is None:
            wanted = f"a number; {unit[:20]!r} is no unit of {field}"
            raise BadInputError(_refused(path, line, column, field, cell, wanted))
        value *= factor
    if not finite_positive(value):
        raise BadInputError(_refused(path, line, column, field, cell, "a positive finite number"))
    return value, unit


def _refused(path: Path, line: int, column: str, field: str, cell: str, wanted: str) -> str:
    shown = cell if len(cell) <= 40 else cell[:40] + "..."
    name = column if column == field else f"{column} ({field})"
    return f"{path}, line {line}, column {name}: {shown!r} is not accepted; give {wanted}"


def _mark(path: Path, header: list[str], place: Mapping[str, int], body: list[tuple[int, list[str]]]) -> str:
    """The decimal mark of a table."""
    found = decimal_mark(
        (cells[place[field]], field in COUNTED or field == "flops" or field == "vocab_size")
        for _, cells in body
        for field in NUMBERS
        if field in place
    )
    if isinstance(found, tuple):
        raise BadInputError(
            f"{path}: {found[0]!r} is read with a decimal point and {found[1]!r} with a decimal comma; write "
            "all numbers in one way"
        )
    return found


def _final(
    path: Path, header: list[str], place: Mapping[str, int], texts: Mapping[str, Sequence[str]], force: bool
) -> tuple[tuple[bool, ...] | None, tuple[str, ...]]:
    """Whether each row is a finished run, None where no column says; and a note on words without meaning."""
    if "final" not in texts:
        return None, ()
    cells, name = texts["final"], header[place["final"]]
    unknown = unknown_words(cells)
    if not unknown:
        return tuple(bool(is_final(cell)) for cell in cells), ()
    listed = ", ".join(f"{word[:40]!r} in {n} row(s)" for word, n in list(unknown.items())[:8])
    listed += f" and {len(unknown) - 8} more words" if len(unknown) > 8 else ""
    if sum(unknown.values()) == len(cells):
        return None, (f"column {name} has no word of a state that is known, and is not used: {listed}",)
    if force:
        note = f"column {name}: not known, and taken for unfinished: {listed}"
        return tuple(bool(is_final(cell)) for cell in cells), (note,)
    raise BadInputError(
        f"{path}, column {name}: not known whether these are finished: {listed}; write finished or running, "
        f"choose rows with --where {name}=finished, or go on with --force"
    )
