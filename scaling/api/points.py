"""The points that laws are fitted to: `read`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from scaling.api.arguments import ColumnNames, Rows, columns_of, where_of
from scaling.api.results import TableResult
from scaling.api.text.blocks import Block, Text, table

if TYPE_CHECKING:
    from pandas import DataFrame

    from scaling.laws import Points

PointSource = Union["str", "Path", "DataFrame", "Points", "PointTable"]

_COLUMNS = ("params", "tokens", "flops", "loss", "weight")
_OPTIONAL = ("unique_tokens", "error", "learning_rate", "batch_tokens", "min_steps")
_SHOWN = 20  # rows of a table of points


@dataclass(frozen=True, repr=False)
class PointTable(TableResult):
    """Finished training budgets, which laws are fitted to. `points` holds the arrays."""

    points: "Points"

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        points = self.points
        columns: dict[str, Sequence[Any]] = {
            "label": points.labels,
            "group": points.groups,
            "dataset": points.dataset,
        }
        columns |= {name: _plain(getattr(points, name)) for name in _COLUMNS}
        columns |= {name: _plain(v) for name in _OPTIONAL if (v := getattr(points, name)) is not None}
        columns |= {name: cells for name, cells in points.columns.items() if name not in columns}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """The source, what N and C count, the unit of the losses, the reader's notes, a row per point."""
        points = self.points
        return {
            "source": points.source,
            "counting": points.counting,
            "loss_unit": points.loss_unit,
            "notes": list(points.notes),
            "doubts": list(points.doubts),
            "dropped": list(points.dropped),
            "points": self.rows(),
        }

    def blocks(self) -> list[Block]:  # noqa: D102
        points = self.points
        cells = [
            (points.labels[i], *(f"{getattr(points, name)[i]:.6g}" for name in _COLUMNS[:4]))
            for i in range(min(len(points), _SHOWN))
        ]
        blocks: list[Block] = [table(f"{len(points)} points of {points.source}", ("", *_COLUMNS[:4]), cells)]
        if len(points) > _SHOWN:
            blocks.append(Text(f"and {len(points) - _SHOWN} more"))
        counting = f"N: {points.counting['params']}. C: {points.counting['flops']}."
        blocks.append(Text(f"{counting} Losses in {points.loss_unit}."))
        return [*blocks, *(Text(f"note: {note}") for note in (*points.notes, *points.doubts))]


def _plain(values: Any) -> list[float | None]:
    """An array as numbers; NaN is None."""
    return [None if value != value else float(value) for value in values]


def read(
    source: PointSource,
    *,
    columns: ColumnNames = None,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
    where: Rows = None,
    force: bool = False,
) -> PointTable:
    """Read the points that a law is fitted to.

    Args:
        source: a run or sweep directory, a CSV, or a DataFrame, with at least `params`, `tokens` and `loss`
            (and `flops`, `dataset`, `group`, `weight`, `unique_tokens` where they are there).
        columns: of a table, the column of a field with another name: `{"params": "N", "tokens": "D*1e9"}`.
        params: of a directory, the parameter count N: non_embedding_with_head, non_embedding or total.
        flops: of a directory, the compute C: 6nd, or counted (matmul by matmul).
        family: model family, if a directory has several.
        where: rows to use, by column values: `{"dataset": "c4"}`, or several values as a list.
        force: leave out rows that are not measurements, and accept implausible units.

    Returns:
        The points. Pass them to `fit`, or take `to_frame()`.

    Raises:
        BadInputError: the source, a column or a value is not usable; the message says where.

    Example:
        >>> points = scaling.read("runs/mine")
        >>> points.to_frame().plot.scatter("flops", "loss", loglog=True)
    """
    from scaling.laws import read_points

    if isinstance(source, PointTable):
        return source
    if hasattr(source, "subset"):  # points that were read before
        return PointTable(source)  # type: ignore[arg-type]
    given: Any = source
    return PointTable(read_points(given, columns_of(columns), params, flops, family, force, where_of(where)))
