"""The inputs of a fit, a figure or a report: directories, CSV files and DataFrames, with law and curves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from scaling.config.record import RunRecord
from scaling.laws.law import Law, read_law
from scaling.laws.points import BITS_PER_BYTE, Points, Where
from scaling.laws.read.columns import REQUIRED
from scaling.laws.read.comparable import check_law, comparable, in_bits_per_byte
from scaling.laws.read.curves import Curve, read_curves
from scaling.laws.read.records import bytes_per_token, points_from_records, read_records, run_homes
from scaling.laws.read.select import NoRowsError, split_by
from scaling.laws.read.sheet import FRAME, DataFrame, csv_sheet, frame_sheet
from scaling.laws.read.table import points_from_sheet
from scaling.laws.tuned import Tuned, fitted_to
from scaling.runtime.errors import BadInputError

Source = str | Path | DataFrame
BY_SOURCE = "by_source."  # before the name of a source, in place of a loss column
# The value for points of a source that does not have a field, if another has it.
MISSING = {"final": True, "recipes": "", "places": ""}

Given = TypeVar("Given")
Part = TypeVar("Part")


def read_points(
    source: Source,
    columns: Mapping[str, str] | None = None,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
    force: bool = False,
    where: Where | None = None,
) -> Points:
    """Points from a CSV file, a pandas DataFrame, a run directory, or a sweep directory of run directories.

    A DataFrame is checked as a CSV is; NaN is an empty cell, and messages name its rows by their index.

    Args:
        source: the path of a CSV file or a directory, or a DataFrame.
        columns: for a table, the column of a field if it has another name: {"params": "N"}; for a directory,
            {"loss": "by_source.NAME"} reads the losses of one source of a mixture.
        params: for a directory, which count of parameters is N: a `ParamCounting`.
        flops: for a directory, "6nd" or "counted"; a table has the compute of its column, or 6ND.
        family: for a directory, the family of models to read, if there are several.
        force: leave out rows with numbers that cannot be read or are not positive, and list them in
            `dropped`; read implausible units as they are, and list the questions in `doubts`.
        where: the values of columns that select rows; for a directory, facts of its runs.

    Raises:
        BadInputError: the source, a column or a value is not usable; the message says where.
    """
    if not isinstance(source, str | Path):
        points = points_from_sheet(frame_sheet(source, REQUIRED), columns or {}, force, where)
        return _counting(points, flops)
    path = Path(source)
    if path.is_dir():
        name = _source_of_mixture(path, columns or {})
        homes = {record.id: home for home, record in run_homes(path)}
        records = read_records(path, where)
        return points_from_records(records, path, params, flops, family, force, homes, name)
    if not path.exists():
        raise BadInputError(f"{path} does not exist; give a CSV file, a run directory or a sweep directory")
    return _counting(points_from_sheet(csv_sheet(path, REQUIRED), columns or {}, force, where), flops)


def _source_of_mixture(path: Path, columns: Mapping[str, str]) -> str | None:
    """The source of a mixture whose losses are read from a directory of runs.

    Raises:
        BadInputError: the columns name anything else.
    """
    if not columns:
        return None
    loss = columns.get("loss", "")
    if len(columns) > 1 or not loss.startswith(BY_SOURCE) or loss == BY_SOURCE:
        raise BadInputError(
            f"columns: {path} is a directory of runs: columns are named only for a CSV file, except the loss "
            f"of one source of a mixture, as loss={BY_SOURCE}NAME"
        )
    return loss.removeprefix(BY_SOURCE)


def _counting(points: Points, flops: str) -> Points:
    """The points of a table.

    Raises:
        BadInputError: counted compute is wanted, and the table has none.
    """
    if flops == "counted" and points.counts["flops"].column is None:
        raise BadInputError(
            f"{points.source}: flops=counted: a table has no architectures to count; add a column flops with "
            "the counted compute, or leave the option out for 6ND"
        )
    return points


@dataclass(frozen=True)
class Sources:
    """Paths and DataFrames as they were given; each part is read when it is first needed.

    `law_path` is a law.json; without it, the law is the one saved with the first source.
    """

    given: tuple[Source, ...] = ()
    law_path: Path | None = None
    columns: Mapping[str, str] | None = None
    params: str = "non_embedding_with_head"
    flops: str = "6nd"
    family: str | None = None
    where: Where | None = None
    force: bool = False

    @classmethod
    def of(
        cls,
        points: Points,
        law: Law | None = None,
        curves: Sequence[Curve] = (),
        records: Sequence[RunRecord] = (),
    ) -> "Sources":
        """Sources that have been read already."""
        given = cls()
        # The cache of each `cached_property`.
        vars(given).update(points=points, law=law, curves=tuple(curves), records=tuple(records))
        return given

    @cached_property
    def points(self) -> Points:
        """The finished budgets of all sources, with losses in one unit, that of the law.

        Raises:
            BadInputError: the losses cannot be compared with each other or the law, and `force` is not set.
        """
        points, mixed = comparable(self._joined, self.force)
        if self.law is not None and not self.force:
            check_law(points, self.law)
        return replace(points, doubts=(*points.doubts, *mixed))

    @cached_property
    def _joined(self) -> Points:
        def read(source: Source) -> list[Points]:
            by_source = (self.columns or {}).get("loss", "").startswith(BY_SOURCE)
            several = len(self.given) > 1
            columns = None if several and _is_directory(source) != by_source else self.columns
            counted = (self.params, self.flops, self.family)
            return [read_points(source, columns, *counted, force=self.force, where=self.where)]

        return join_points(self._of_each(self.given, read))

    @property
    def paths(self) -> tuple[Path, ...]:
        """The sources as paths.

        Raises:
            BadInputError: one is a DataFrame.
        """
        paths = tuple(Path(source) for source in self.given if isinstance(source, str | Path))
        if len(paths) < len(self.given):
            raise BadInputError(f"{FRAME}: only points can be read from it; give a path")
        return paths

    def _of_each(self, sources: Iterable[Given], read: Callable[[Given], Sequence[Part]]) -> list[Part]:
        """What each source has; one without the rows that `where` selects is skipped if another has some."""
        found: list[Part] = []
        nothing: NoRowsError | None = None
        for source in sources:
            try:
                found += read(source)
            except NoRowsError as error:
                nothing = nothing or error
        if nothing is not None and not found:
            raise nothing
        return found

    def by(self, column: str) -> "dict[str, Sources]":
        """The same sources for each value of a column, with only its rows."""
        values = split_by(self._joined, column)
        return {value: replace(self, where={**(self.where or {}), column: (value,)}) for value in values}

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """Training curves of the runs in the directories, in the unit of the points."""

        def read(path: Path) -> list[Curve]:
            runs = {record.name: record for record in read_records(path, self.where)}
            curves = read_curves(path, self.params, self.flops, self.family)
            curves = tuple(curve for curve in curves if curve.name in runs)
            if self.points.loss_unit != BITS_PER_BYTE:
                return list(curves)
            sizes = {name: bytes_per_token(record) for name, record in runs.items()}
            return [
                replace(curve, loss=curve.loss / np.log(2) / size)
                for curve in curves
                if (size := sizes[curve.name]) is not None
            ]

        files = [Path(source) for source in self.given if isinstance(source, str | Path)]
        return tuple(self._of_each((path for path in files if path.is_dir()), read))

    @cached_property
    def law(self) -> Law | None:
        """The law at `law_path`, or the one that `scaling fit` saved with the first source."""
        return law_of(self.given[0], self.law_path)

    @cached_property
    def fitted(self) -> Tuned:
        """The points that the law was fitted to; each sweep of settings is one, and `runs` has its runs."""
        return fitted_to(self.points, self.law)

    @cached_property
    def records(self) -> tuple[RunRecord, ...]:
        """Every run record of the sources."""
        return tuple(self._of_each(self.paths, lambda path: read_records(path, self.where)))

    def need_law(self, kind: str) -> Law:
        """The law.

        Raises:
            BadInputError: there is none; the message says how to get one for a figure of this `kind`.
        """
        if self.law is None:
            _ = self.points  # a source that cannot be read is the first thing to say
            raise BadInputError(
                f"{kind} needs a law; fit one with `scaling fit` and give its law.json with --law"
            )
        return self.law


def _is_directory(source: Source) -> bool:
    return isinstance(source, str | Path) and Path(source).is_dir()


def law_of(source: Source, law: Path | None) -> Law | None:
    """The law at the path `law`, or the one saved in a sweep directory (law.json) or next to a CSV."""
    if law is not None:
        return read_law(law)
    if not isinstance(source, str | Path):
        return None
    path = Path(source)
    saved = path / "law.json" if path.is_dir() else path.with_suffix(".law.json")
    return read_law(saved) if saved.is_file() else None


def join_points(parts: Sequence[Points]) -> Points:
    """The points of several sources as one set; if run names collide, they are prefixed by their source.

    Raises:
        BadInputError: the sources count N or C differently.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    counts = {key: replace(count, table=None) for key, count in first.counts.items()}
    for part in parts[1:]:
        for key, count in counts.items():
            other = replace(part.counts[key], table=None)
            if other != count:
                raise BadInputError(
                    f"{part.source} counts {key} as {str(other)!r} and {first.source} as {str(count)!r}; "
                    "give sources that count in the same way"
                )
    if len({part.loss_unit for part in parts}) > 1:
        parts = [in_bits_per_byte(part) for part in parts]
    values: dict[str, Any] = {
        "columns": {
            name: tuple(cell for part in parts for cell in part.columns.get(name, ("",) * len(part)))
            for name in dict.fromkeys(name for part in parts for name in part.columns)
        }
    }
    for field in fields(Points):
        columns = [getattr(part, field.name) for part in parts]
        if field.name in ("counts", "source", "loss_unit", "columns"):
            continue
        if any(isinstance(column, np.ndarray) for column in columns):
            filled = [
                np.full(len(part), np.nan) if column is None else column
                for part, column in zip(parts, columns, strict=True)
            ]
            values[field.name] = np.concatenate(filled)
        elif all(column is None for column in columns) or (field.name == "seeds" and None in columns):
            values[field.name] = None
        else:
            missing = MISSING.get(field.name)
            values[field.name] = tuple(
                value
                for part, column in zip(parts, columns, strict=True)
                for value in ((missing,) * len(part) if column is None else column)
            )
    runs = [set(part.groups) for part in parts]
    if sum(map(len, runs)) > len(set().union(*runs)):
        sources = [Path(part.source).name for part in parts for _ in range(len(part))]
        for name in ("groups", "labels"):
            values[name] = tuple(
                f"{source}: {text}" for source, text in zip(sources, values[name], strict=True)
            )
    return replace(parts[0], **values, counts=counts, source=", ".join(part.source for part in parts))
