"""Which column of a table is which field, in which unit: by `--columns`, else by its name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scaling.laws.cells import count_unit, finite_positive, flops_unit
from scaling.laws.headers import PERPLEXITY, find_columns, loss_unit, read_header
from scaling.laws.points import BITS_PER_BYTE
from scaling.runtime.errors import BadInputError

REQUIRED = ("params", "tokens", "loss")
OPTIONAL = ("unique_tokens", "error", "learning_rate", "batch_tokens", "min_steps")
LOSSES = {"perplexity": PERPLEXITY, "bits_per_byte": BITS_PER_BYTE}  # other fields that give a loss
TOKENIZER = ("vocab_size", "bytes_per_token", "bits_per_byte")
NUMBERS = (*REQUIRED, "flops", "tokens_per_param", "weight", *OPTIONAL, *TOKENIZER)
NAMES = ("dataset", "group", "name", "seed", "final", "tokenizer")
FIELDS = (*NUMBERS, "perplexity", *NAMES)


def parse_columns(text: str) -> dict[str, str]:
    """`params=N,tokens=D*1e9` as {"params": "N", "tokens": "D*1e9"}.

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
    check_fields(mapping)
    return mapping


def check_fields(mapping: Mapping[str, str]) -> None:
    """Raises BadInputError where a field is not known, or two give the loss."""
    for field in mapping:
        if field not in FIELDS:
            raise BadInputError(f"columns: {field!r} is not a field; use {', '.join(FIELDS)}")
    for field in ("loss", "bits_per_byte"):
        if field in mapping and "perplexity" in mapping:
            raise BadInputError(f"columns: {field} and perplexity both give the loss; name one of them")


@dataclass(frozen=True)
class Columns:
    """The column of each field, the factor of its unit, and notes on what was converted or renamed."""

    place: dict[str, int]
    factors: dict[str, float]
    unit: str  # of the loss column
    notes: tuple[str, ...]


def columns_of(
    where: str, header: list[str], mapping: Mapping[str, str], body: Sequence[Sequence[str]]
) -> Columns:
    """The column of each field, by the mapping and by name; `body` is the cells of each row.

    Raises:
        BadInputError: `where` and what is missing, named twice, or could be several columns.
    """
    for name in header:
        if name and header.count(name) > 1:
            raise BadInputError(f"{where}: column {name!r} stands twice in the header; name each column once")
    given: dict[str, int] = {}
    factors: dict[str, float] = {}
    for field, column in mapping.items():
        name, factor = _with_factor(column, header, field)
        if name not in header:
            raise BadInputError(
                f"{where}: columns: {field}={column}: there is no column {name!r}; "
                f"the header has {_list(header)}"
            )
        # A loss in nats per token and in bits per byte together give the bytes per token.
        instead = field in LOSSES and "loss" not in mapping
        given["loss" if instead else field] = header.index(name)
        if factor is not None:
            factors[field] = factor
    found = find_columns(header, given, _numeric(header, body))
    folded = {cell.casefold().replace(" ", "_").replace("-", "_"): i for i, cell in enumerate(header)}
    place = dict(found.place)
    if "loss" in place and place.get("bits_per_byte") == place["loss"]:
        del place["bits_per_byte"]
    for field in FIELDS:
        if field not in place and field in folded and field not in LOSSES:
            place[field] = folded[field]
    _check_place(where, header, place, found.unclear, mapping)
    notes = []
    renamed = [
        f"{field} = {header[place[field]]}"
        for field in (*REQUIRED, "flops")
        if field in place and field not in mapping and header[place[field]] != field
    ]
    if renamed:
        notes.append(f"columns by their names: {', '.join(renamed)}")
    for field in NUMBERS:
        if field not in place:
            continue
        read = read_header(header[place[field]], field)
        if field not in factors and read.factor is not None and read.factor != 1.0:
            factors[field] = read.factor
            notes.append(f"{field}: column {header[place[field]]} is read in {read.unit} (x {read.factor:g})")
        elif field in factors:
            notes.append(f"{field}: column {header[place[field]]} is multiplied by {factors[field]:g}")
    unit = None if "loss" in mapping else next((u for field, u in LOSSES.items() if field in mapping), None)
    return Columns(place, factors, unit or loss_unit(header[place["loss"]]), tuple(notes))


def _numeric(header: Sequence[str], body: Sequence[Sequence[str]]) -> set[int]:
    """The columns of which at least half of the cells that are not empty start as numbers do."""
    found = set()
    for i in range(len(header)):
        cells = [cells[i].strip() for cells in body[:1000] if len(cells) > i and cells[i].strip()]
        if 2 * sum(cell[0].isdecimal() or cell[0] in "+-.," for cell in cells) >= len(cells):
            found.add(i)
    return found


def _with_factor(column: str, header: Sequence[str], field: str) -> tuple[str, float | None]:
    """`D*1e9` or `D*B` as the column D and its factor, where no column has that very name."""
    name, times, unit = column.rpartition("*")
    if column in header or not times:
        return column, None
    factor = flops_unit(unit) if field == "flops" else count_unit(unit)
    if factor is None:
        try:
            factor = float(unit)
        except ValueError:
            factor = math.nan
    if not finite_positive(factor):
        raise BadInputError(
            f"columns: {field}={column}: {unit!r} is no factor; give COLUMN*1e9, or COLUMN*M (k, M, B, T)"
        )
    return name.strip(), factor


def _check_place(
    where: str,
    header: list[str],
    place: Mapping[str, int],
    unclear: Mapping[str, Sequence[str]],
    mapping: Mapping[str, str],
) -> None:
    derived = "flops" in place or "tokens_per_param" in place
    for field in REQUIRED:
        if field in unclear and not (field == "tokens" and derived):
            raise BadInputError(
                f"{where}: {field} could be {' or '.join(map(repr, unclear[field]))}; "
                f"name one: --columns {field}={unclear[field][0]}"
            )
    missing = [f for f in REQUIRED if f not in place and not (f == "tokens" and derived)]
    if missing:
        hint = (
            "are cells separated by commas, semicolons or tabs?"
            if len(header) == 1
            else f"or name it: --columns {missing[0]}=..."
        )
        also = " (or 'flops', for tokens)" if "tokens" in missing else ""
        raise BadInputError(
            f"{where}: no column {' or '.join(map(repr, missing))}{also} in the header, which has "
            f"{_list(header)}; add it, {hint}"
        )
    shared = [f for f in place if f not in NAMES and list(place.values()).count(place[f]) > 1]
    if len(shared) > 1:
        raise BadInputError(
            f"{where}: columns: {' and '.join(shared)} are read from one column; give each its own"
        )


def _list(header: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in header[:12])
    return shown + (f" and {len(header) - 12} more" if len(header) > 12 else "")
