"""Points from a table of finished runs, with the columns, units and spellings that people use.

Whatever has only one reading is read, with a note. A cell that cannot be a measurement is refused with its
row and column, and an implausible column with its likely unit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.record import TokenizerInfo
from scaling.laws.points import BITS_PER_BYTE, NATS_PER_TOKEN, Count, Points, Where
from scaling.laws.read.cells import (
    count_unit,
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
from scaling.laws.read.plausible import Measurements, questions
from scaling.laws.read.select import rows_where
from scaling.laws.read.sheet import Sheet
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]


class _NotAcceptedError(ValueError):
    """A row without a measurement: its place in the table, the cell, and what would be accepted."""


@dataclass(frozen=True)
class _Budgets:
    """(n,) float64: parameters, tokens and FLOPs of each row, and which were computed from the others."""

    params: Floats
    tokens: Floats
    flops: Floats
    flops_given: NDArray[np.bool_]
    tokens_from_ratio: NDArray[np.bool_]
    tokens_from_flops: NDArray[np.bool_]


def points_from_sheet(
    sheet: Sheet, columns: Mapping[str, str], force: bool = False, where: Where | None = None
) -> Points:
    """Points from a table with a header; see `read_points`.

    Each row without a group is its own group. FLOPs are 6ND if there is no such column or the cell is empty,
    and tokens are C/6N if there are FLOPs and no tokens. With `force`, rows with a number that cannot be read
    or is not positive are left out and counted, and implausible units are noted.

    Raises:
        BadInputError: naming the source, row, column, value, and what would be accepted.
    """
    check_fields(columns)
    found = columns_of(sheet.top, sheet.header, columns, sheet.rows)
    place = found.place
    sheet.check_rows()
    if where:
        texts = {name: sheet.column(i) for i, name in enumerate(sheet.header) if name}
        texts |= {field: sheet.column(i) for field, i in place.items() if field not in sheet.header}
        sheet = sheet.take(rows_where(where, texts, sheet.source))
    whole = (*COUNTED, "flops", "vocab_size")
    mark = sheet.decimal_mark({place[name]: name in whole for name in NUMBERS if name in place})
    spelled: dict[str, str] = {}
    rows: dict[int, dict[str, float]] = {}
    dropped: list[str] = []
    for i in range(len(sheet.rows)):
        try:
            rows[i] = _row(sheet, i, found, mark, spelled)
        except _NotAcceptedError as error:
            if not force:
                raise BadInputError(
                    f"{sheet.source}, {error}, or leave such rows out with --force"
                ) from error
            dropped.append(str(error))
    if not rows:
        raise BadInputError(
            f"{sheet.source}: none of {len(dropped)} row(s) has positive numbers; the first: {dropped[0]}"
        )
    sheet = sheet.take(list(rows))
    n = len(rows)
    nothing = np.full(n, math.nan)
    numbers = {field: np.array([row[field] for row in rows.values()]) for field in NUMBERS if field in place}
    texts = {field: sheet.column(place[field]) for field in NAMES if field in place}
    empty = ("",) * n
    budgets = _budgets(sheet, numbers)
    loss, unit, converted = _losses(numbers["loss"], found.unit)
    final, unknown_states = _final(sheet, place, texts, force)
    notes = [*found.notes, *converted, *unknown_states]
    notes += [f"{field}: {text!r} is read with its unit" for field, text in spelled.items()]
    if mark == ",":
        notes.append("commas are decimal marks")
    notes += _made_tokens(sheet, place, budgets)
    doubts = tuple(
        questions(
            Measurements(
                names={name: sheet.header[place[name]] for name in (*REQUIRED, "flops") if name in place},
                unit=sheet.unit,
                rows=sheet.numbers,
                params=budgets.params,
                tokens=budgets.tokens,
                flops=numbers.get("flops", nothing),
                loss=loss,
                per_token=unit == NATS_PER_TOKEN,
                vocab_size=numbers.get("vocab_size", nothing),
                derived=bool(budgets.tokens_from_flops.all()),
            )
        )
    )
    if doubts and not force:
        raise BadInputError(f"{sheet.source}: {doubts[0]}; or read them as they are with --force")
    places = tuple(map(sheet.place, range(n)))
    groups = tuple(name or place for name, place in zip(texts.get("group", empty), places, strict=True))
    labels = tuple(name or group for name, group in zip(texts.get("name", empty), groups, strict=True))
    optional: dict[str, Any] = {name: numbers.get(name) for name in OPTIONAL}
    return Points(
        params=budgets.params,
        tokens=budgets.tokens,
        flops=budgets.flops,
        loss=loss,
        weight=numbers.get("weight", np.ones(n)),
        groups=groups,
        labels=labels,
        dataset=texts.get("dataset", empty),
        counts=_counts(sheet, place, budgets.flops_given),
        source=sheet.source,
        final=final,
        seeds=texts.get("seed"),
        dropped=tuple(dropped),
        loss_unit=unit,
        tokenizers=_tokenizers(texts, numbers | {"loss": loss}, n, unit == NATS_PER_TOKEN),
        columns=_other_columns(sheet, place),
        notes=tuple(notes),
        doubts=doubts,
        places=places,
        **optional,
    )


def _budgets(sheet: Sheet, numbers: Mapping[str, Floats]) -> _Budgets:
    """Raises BadInputError if a row's 6ND is too large for a float."""
    params = numbers["params"]
    nothing = np.full(len(params), math.nan)
    flops = numbers.get("flops", nothing)
    given = ~np.isnan(flops)
    with np.errstate(over="ignore", divide="ignore"):
        tokens = numbers.get("tokens", nothing)
        multiples = numbers.get("tokens_per_param", nothing) * params
        from_ratio = np.isnan(tokens) & ~np.isnan(multiples)
        tokens = np.where(from_ratio, multiples, tokens)
        from_flops = np.isnan(tokens)
        tokens = np.where(from_flops, flops / (6.0 * params), tokens)
        flops = np.where(given, flops, 6.0 * params * tokens)
    bad = ~(np.isfinite(flops) & np.isfinite(tokens) & (tokens > 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise BadInputError(
            f"{sheet.source}, {sheet.place(at)}: 6 x params {params[at]:g} x tokens {tokens[at]:g} is not a "
            "finite number of FLOPs; give counts below 1e150"
        )
    return _Budgets(params, tokens, flops, given, from_ratio, from_flops)


def _made_tokens(sheet: Sheet, place: Mapping[str, int], budgets: _Budgets) -> list[str]:
    """Notes on tokens that were computed from other columns."""
    notes = []
    if budgets.tokens_from_ratio.any():
        notes.append(
            f"tokens are params x {sheet.header[place['tokens_per_param']]}, for lack of a column or a number"
        )
    n, made = len(budgets.params), int(budgets.tokens_from_flops.sum())
    if made:
        some = "" if made == n else f" in {made} of {n} rows"
        notes.append(f"tokens are FLOPs / (6 x params){some}, for lack of a column or a number")
    return notes


def _counts(sheet: Sheet, place: Mapping[str, int], given: NDArray[np.bool_]) -> dict[str, Count]:
    """How N and C are counted; `given` are the rows with FLOPs."""
    flops = Count("6nd")
    if given.any():
        filled = None if given.all() else "6nd"
        flops = Count(filled, sheet.header[place["flops"]], sheet.name)
    return {"params": Count(None, sheet.header[place["params"]], sheet.name), "flops": flops}


def _other_columns(sheet: Sheet, place: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """The columns that are not measurements, as text by name; training losses have `split` = train."""
    measured = {place[field] for field in NUMBERS if field in place}
    measured -= {place[field] for field in TOKENIZER if field in place}
    others = {name: sheet.column(i) for i, name in enumerate(sheet.header) if name and i not in measured}
    if is_training_loss(sheet.header[place["loss"]]):
        others.setdefault("split", ("train",) * len(sheet.rows))
    return others


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
    """Losses in nats per token or bits per byte, their unit, and a note on their conversion."""
    if unit == PERPLEXITY:
        return np.log(values), NATS_PER_TOKEN, ("losses are logarithms of perplexities",)
    if unit == BITS_PER_TOKEN:
        return values * math.log(2), NATS_PER_TOKEN, ("losses in bits per token are converted to nats",)
    if unit == NATS_PER_BYTE:
        return (
            values / math.log(2),
            BITS_PER_BYTE,
            ("losses in nats per byte are converted to bits per byte",),
        )
    return values, unit, () if unit == NATS_PER_TOKEN else (f"losses are in {unit}",)


def _row(sheet: Sheet, i: int, found: Columns, mark: str, spelled: dict[str, str]) -> dict[str, float]:
    """The numbers of a row by field; an empty cell of an optional field is 1 for a weight, NaN for others.

    `spelled` collects cells that give their own unit, one per field.
    """
    row: dict[str, float] = {}
    place, cells = found.place, sheet.rows[i]
    for field in (f for f in NUMBERS if f in place):
        cell = cells[place[field]].strip()
        instead = field == "tokens" and any(
            cells[place[other]].strip() for other in ("flops", "tokens_per_param") if other in place
        )
        if not cell and (field not in REQUIRED or instead):
            row[field] = 1.0 if field == "weight" else math.nan
            continue
        try:
            value, unit = _number(field, cell, "." if place[field] in sheet.typed else mark)
            row[field] = value if unit else value * found.factors.get(field, 1.0)
            least = 1.0 if field == "loss" and found.unit == PERPLEXITY else 0.0
            if not _usable(field, row[field]) or (least and row[field] <= least):
                raise ValueError("a perplexity above 1" if least else "a positive finite number")
        except ValueError as wanted:
            shown = cell if len(cell) <= 40 else cell[:40] + "..."
            column = sheet.header[place[field]]
            name = column if column == field else f"{column} ({field})"
            raise _NotAcceptedError(
                f"{sheet.place(i)}, column {name}: {shown!r} is not accepted; give {wanted}"
            ) from wanted
        if unit:
            spelled[field] = min(cell, spelled.get(field, cell))
    return row


def _number(field: str, cell: str, mark: str) -> tuple[float, str]:
    """A cell's number, and the unit in the cell itself.

    Raises:
        ValueError: what would be accepted.
    """
    try:
        value, unit = read_number(cell, mark)
    except ValueError:
        value, unit = math.nan, ""
    if unit:
        factor = flops_unit(unit) if field == "flops" else count_unit(unit) if field in COUNTED else None
        if field == "error" and unit == "%":
            factor = 0.01
        if factor is None:
            raise ValueError(f"a number; {unit[:20]!r} is not a unit of {field}")
        value *= factor
    if not _usable(field, value):
        raise ValueError("a positive finite number" + (", or 0" if field == "weight" else ""))
    return value, unit


def _usable(field: str, value: float) -> bool:
    """Whether a number is one of its field: positive, or for a weight 0, which leaves the row out."""
    return finite_positive(value) or (field == "weight" and value == 0)


def _final(
    sheet: Sheet, place: Mapping[str, int], texts: Mapping[str, Sequence[str]], force: bool
) -> tuple[tuple[bool, ...] | None, tuple[str, ...]]:
    """Whether each row is a finished run, None if no column says so; and a note on unknown states."""
    if "final" not in texts:
        return None, ()
    cells, name = texts["final"], sheet.header[place["final"]]
    unknown = unknown_words(cells)
    if not unknown:
        return tuple(bool(is_final(cell)) for cell in cells), ()
    listed = ", ".join(f"{word[:40]!r} in {n} row(s)" for word, n in list(unknown.items())[:8])
    listed += f" and {len(unknown) - 8} more words" if len(unknown) > 8 else ""
    if sum(unknown.values()) == len(cells):
        return None, (f"column {name} has no known state and is not used: {listed}",)
    if force:
        note = f"column {name}: unknown states count as unfinished: {listed}"
        return tuple(bool(is_final(cell)) for cell in cells), (note,)
    raise BadInputError(
        f"{sheet.source}, column {name}: unknown states: {listed}; write finished or running, choose rows "
        f"with --where {name}=finished, or count them as unfinished with --force"
    )
