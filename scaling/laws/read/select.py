"""Selecting rows of a source: `--where dataset=c4,split=val`, and `--by COLUMN`, the points of each value."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from scaling.laws.points import Points, Where
from scaling.runtime.errors import BadInputError

SHOWN = 12


class NoRowsError(BadInputError):
    """A source has no row that matches; another of several sources may."""


def parse_where(text: str) -> dict[str, tuple[str, ...]]:
    """`dataset=c4,split=val` as {"dataset": ("c4",), "split": ("val",)}.

    A column named twice accepts either value. Quote a value that contains a comma: `name='a, b'`.

    Raises:
        BadInputError: a part is not COLUMN=VALUE.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in _parts(text):
        column, equals, value = (p.strip() for p in part.partition("="))
        if not (equals and column):
            raise BadInputError(f"--where: {part!r} is not COLUMN=VALUE, for example dataset=c4,split=val")
        found[column] = (*found.get(column, ()), value.strip("'\""))
    if not found:
        raise BadInputError(f"--where {text!r} selects nothing; give COLUMN=VALUE, for example dataset=c4")
    return found


def _parts(text: str) -> Iterable[str]:
    """The text between commas outside quotes."""
    return filter(None, (part.strip() for part in re.findall(r"""(?:'[^']*'|"[^"]*"|[^,])+""", text)))


def column_named(name: str, columns: Iterable[str], source: str, option: str) -> str:
    """The column of that name: as written, in another case, or by the last part of its path.

    Raises:
        NoRowsError: no column matches.
        BadInputError: several columns match.
    """
    known = list(columns)
    if name in known:
        return name
    folded = name.casefold()
    for meant in (
        [one for one in known if one.casefold() == folded],
        [one for one in known if one.casefold().replace("/", ".").rsplit(".", 1)[-1] == folded],
    ):
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise BadInputError(f"{option} {name}: {source} has {', '.join(meant)}; give one of these names")
    shown = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
    raise NoRowsError(f"{option} {name}: {source} has no column {name!r}; it has {shown or 'none'}")


def rows_where(where: Where, columns: Mapping[str, Iterable[str]], source: str) -> list[int]:
    """The indices of the rows that have an accepted value in every column of `where`.

    Raises:
        NoRowsError: a column or a value does not exist, or no row matches all conditions.
    """
    kept: set[int] | None = None
    for name, wanted in where.items():
        column = column_named(name, columns, source, "--where")
        cells = [cell.strip() for cell in columns[column]]
        rows: set[int] = set()
        for value in wanted:
            having = _having(value, cells)
            if not having:
                known = list(dict.fromkeys(cells))
                shown = ", ".join(repr(one) for one in known[:SHOWN])
                more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
                raise NoRowsError(
                    f"--where {name}={value}: no row of {source} has it; {column} has {shown}{more}"
                )
            rows |= having
        kept = rows if kept is None else kept & rows
    if not kept:
        conditions = ", ".join(f"{name}={'|'.join(values)}" for name, values in where.items())
        raise NoRowsError(f"--where: no row of {source} has {conditions} together; give fewer conditions")
    return sorted(kept)


def _having(value: str, cells: list[str]) -> set[int]:
    """Rows with the value as text, else in another case, else as a number."""
    for read in (str, str.casefold, _number):
        wanted = read(value)
        found = {i for i, cell in enumerate(cells) if wanted is not None and read(cell) == wanted}
        if found:
            return found
    return set()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def split_by(points: Points, column: str) -> dict[str, Points]:
    """The points of each value of a column, in order of first appearance.

    Raises:
        BadInputError: the column does not exist.
    """
    columns = dict(points.columns)
    if any(points.dataset):
        columns.setdefault("dataset", points.dataset)
    cells = columns[column_named(column, columns, points.source, "--by")]
    return {
        value: points.subset(np.array([cell == value for cell in cells])) for value in dict.fromkeys(cells)
    }


def name_of_value(value: str) -> str:
    """A value of a column as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", value).strip("._") or "empty"
