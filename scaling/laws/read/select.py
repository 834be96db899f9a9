"""Which rows of a source: `--where dataset=c4,split=val`, and the points of each value of a column."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from scaling.laws.points import Points, Where
from scaling.runtime.errors import BadInputError

SHOWN = 12


class NoRowsError(BadInputError):
    """A source has no row of those that were asked for; another of several may."""


def parse_where(text: str) -> dict[str, tuple[str, ...]]:
    """`dataset=c4,split=val` as {"dataset": ("c4",), "split": ("val",)}; a column named twice takes either.

    A value that contains a comma is quoted: `name='a, b'`.

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
    """The text between commas that are not in quotes."""
    return filter(None, (part.strip() for part in re.findall(r"""(?:'[^']*'|"[^"]*"|[^,])+""", text)))


def column_named(name: str, columns: Iterable[str], source: str, option: str) -> str:
    """The column that a person means: as written, in another case, or by the last part of its path.

    Raises:
        NoRowsError: there is none.
        BadInputError: there is more than one.
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
            raise BadInputError(f"{option} {name}: {source} has {', '.join(meant)}; give one of them")
    shown = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
    raise NoRowsError(f"{option} {name}: {source} has no column {name!r}; it has {shown or 'none'}")


def rows_where(where: Where, columns: Mapping[str, Iterable[str]], source: str) -> list[int]:
    """The numbers of the rows that have one of the values asked for in every column of `where`.

    Raises:
        NoRowsError: a column or a value is not there, or no row has all.
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
        asked = ", ".join(f"{name}={'|'.join(values)}" for name, values in where.items())
        raise NoRowsError(f"--where: no row of {source} has {asked} together; ask for fewer")
    return sorted(kept)


def _having(value: str, cells: list[str]) -> set[int]:
    """Rows with the value as text; else in another case; else as a number."""
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
    """The points of each value of a column, in the order in which values first appear.

    Raises:
        BadInputError: there is no such column.
    """
    columns = dict(points.columns)
    if any(points.dataset):
        columns.setdefault("dataset", points.dataset)
    cells = columns[column_named(column, columns, points.source, "--by")]
    return {
        value: points.subset(np.array([cell == value for cell in cells])) for value in dict.fromkeys(cells)
    }


def name_of_value(value: str) -> str:
    """A value of a column as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", value).strip("._") or "empty"
