"""Figures and the report: `plot`, `report`."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

from scaling.api.arguments import ColumnNames, Names, Rows, columns_of, names_of, shots_of, where_of
from scaling.api.laws import Fit
from scaling.api.points import PointSource, PointTable, read
from scaling.api.results import Result
from scaling.api.text.blocks import Block, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

    from scaling.laws import Law
    from scaling.laws.read.inputs import Sources

LawSource = Union["str", "Path", "Fit", "Law"]


@dataclass(frozen=True, repr=False)
class Figure(Result):
    """A figure, which a notebook shows. `figure` is matplotlib's, `numbers` what `--json` prints, `path` the
    file it was written to."""

    kind: str
    figure: "MatplotlibFigure"
    numbers: Mapping[str, Any]
    path: Path | None = None

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        size = None if self.path is None else self.path.stat().st_size
        return {"out": None if self.path is None else str(self.path), "bytes": size, **self.numbers}

    def save(self, path: str | Path) -> None:
        """Write the figure as PNG, SVG or PDF, by the suffix."""
        from scaling.plots.style import save_figure

        save_figure(self.figure, Path(path))

    def blocks(self) -> list[Block]:  # noqa: D102
        return [Text(f"Figure {self.kind}" if self.path is None else f"Written to {self.path}")]

    def _repr_html_(self) -> str:
        buffer = BytesIO()
        self.figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
        png = b64encode(buffer.getvalue()).decode()
        return f"<img src='data:image/png;base64,{png}' style='max-width:100%' alt='{self.kind}'/>"


@dataclass(frozen=True, repr=False)
class Figures(Result):
    """A figure for each value of a column: `figures["c4"]`."""

    by: str
    figures: Mapping[str, Figure]

    def __getitem__(self, value: str) -> Figure:
        return self.figures[value]

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"by": self.by, "groups": {value: one.to_dict() for value, one in self.figures.items()}}

    def blocks(self) -> list[Block]:  # noqa: D102
        return [block for one in self.figures.values() for block in one.blocks()]

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self.figures.values())


def plot(
    kind: str,
    source: PointSource | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    law: LawSource | None = None,
    columns: ColumnNames = None,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
    where: Rows = None,
    by: str | None = None,
    force: bool = False,
    method: Literal["windowed", "parabola", "akima"] | str = "windowed",
    tolerance: float = 0.05,
    bootstrap: int = 1000,
    seed: int = 0,
    against: str | None = None,
    tasks: Names = None,
    shots: int | Sequence[int] | str | None = None,
    metrics: Names = None,
    log_score: bool = False,
) -> Figure | Figures:
    """Draw one figure.

    Args:
        kind: loss-vs-compute, loss-vs-tokens, predicted-vs-measured, isoflop, allocation, residuals,
            contours, profiles, bootstrap, errors-by-reach, emergence and others: a key of
            `scaling.plots.kinds.KINDS`.
        source: a sweep directory, a CSV, a DataFrame, points that `read` returned, or a list of paths; for
            scores also gpt3.
        out: .png, .svg or .pdf file to write; with `by` the value is added to its name.
        law: a fit, or the path of a law.json; by default the law.json that `fit` wrote next to the source.
        columns: of a table, the column of a field that has another name: `{"params": "N"}`.
        params: of a directory, the parameter count N.
        flops: of a directory, the compute C: 6nd, or counted (matmul by matmul).
        family: model family, if a directory has several.
        where: rows to use, by column values: `{"dataset": "c4"}`.
        by: a column; gives one figure per value.
        force: accept losses that differ in kind, and implausible units.
        method: method for isoFLOP minima: windowed, parabola or akima.
        tolerance: largest relative difference in compute within one budget.
        bootstrap: bootstrap resamples for the figure's intervals.
        seed: seed of the resamples.
        against: scale of scores: flops, params, loss or step.
        tasks: tasks to use; all by default.
        shots: numbers of examples in the prompt to use; all by default.
        metrics: metrics to use; all by default.
        log_score: draw scores on a log axis.

    Returns:
        The figure, which a notebook shows; with `by`, one per value.

    Raises:
        BadInputError: an unknown kind, or a source without what the figure needs.

    Example:
        >>> fit = scaling.fit(frame)
        >>> scaling.plot("loss-vs-compute", frame, law=fit)
    """
    from scaling.plots.kinds import Options, check_kind, draw_and_tell

    check_kind(kind)
    if out is not None:
        from scaling.plots.style import check_path

        check_path(Path(out))
    given = (columns_of(columns), params, flops, family, where_of(where), force)
    options = Options(
        method=method,
        tolerance=tolerance,
        bootstrap=bootstrap,
        seed=seed,
        against=against,
        tasks=names_of(tasks),
        shots=shots_of(shots),
        metrics=names_of(metrics),
        log_score=log_score,
    )

    def drawn(sources: "Sources", path: Path | None) -> Figure:
        figure = Figure(kind, *draw_and_tell(kind, sources, options), path)
        if path is not None:
            figure.save(path)
        return figure

    sources = _sources(source, law, given)
    if by is None:
        return drawn(sources, None if out is None else Path(out))
    from scaling.laws.read.select import name_of_value

    return Figures(
        by,
        {
            value: drawn(
                part,
                None if out is None else Path(out).with_stem(f"{Path(out).stem}-{name_of_value(value)}"),
            )
            for value, part in sources.by(by).items()
        },
    )


def _sources(source: Any, law: Any, given: tuple[Any, ...]) -> "Sources":
    """What a figure reads."""
    from scaling.laws.read.comparable import comparable
    from scaling.laws.read.inputs import Sources

    if _is_read(source):
        return Sources.of(comparable(read(source).points, given[-1])[0], _law(law))
    several = isinstance(source, Sequence) and not isinstance(source, str)
    saved = law is None or isinstance(law, str | Path)
    path = Path(law) if saved and law is not None else None
    sources = Sources(tuple(source) if several else (source,), path, *given)
    if not saved:
        vars(sources).update(law=_law(law))
    return sources


def _is_read(source: Any) -> bool:
    """Whether a source is points that were read before."""
    return isinstance(source, PointTable) or hasattr(source, "subset")


def _law(law: Any) -> "Law | None":
    """A law given as a fit, a law or the path of a law.json."""
    from scaling.laws import read_law

    return read_law(Path(law)) if isinstance(law, str | Path) else law.law if isinstance(law, Fit) else law


@dataclass(frozen=True, repr=False)
class Report(Result):
    """A self-contained HTML page, at `path`."""

    path: Path

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"out": str(self.path), "bytes": self.path.stat().st_size}

    def blocks(self) -> list[Block]:  # noqa: D102
        return [Text(f"Written to {self.path}")]

    def _repr_html_(self) -> str:
        return f"<a href='{self.path}'>{self.path}</a>"


def report(
    source: PointSource | Sequence[str | Path],
    *,
    out: str | Path = "report.html",
    law: LawSource | None = None,
    columns: ColumnNames = None,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
    where: Rows = None,
    force: bool = False,
    title: str | None = None,
) -> Report:
    """Write a self-contained HTML page about one sweep or several.

    Args:
        source: a sweep directory, a CSV, a DataFrame, points that `read` returned, or a list of paths, which
            are shown together.
        out: HTML file to write.
        law: a fit, or the path of a law.json; by default the law.json that `fit` wrote next to the source.
        columns: of a table, the column of a field that has another name: `{"params": "N"}`.
        params: of a directory, the parameter count N.
        flops: of a directory, the compute C: 6nd, or counted (matmul by matmul).
        family: model family, if a directory has several.
        where: rows to use, by column values: `{"dataset": "c4"}`.
        force: accept losses that differ in kind, and implausible units.
        title: title of the page; the name of the first source by default.

    Returns:
        The path of the page.

    Raises:
        BadInputError: no finished run, losses that cannot be compared, or a law of something else than loss.

    Example:
        >>> scaling.report("runs/mine", out="report.html")
    """
    from scaling.laws.read.inputs import law_of
    from scaling.plots.report import write_report

    given = (columns_of(columns), params, flops, family, where_of(where), force)
    fitted = _law(law)
    shown: Any
    several = isinstance(source, Sequence) and not isinstance(source, str)
    sources: Any = source if several else [source]
    if all(isinstance(one, str | Path) for one in sources):
        shown = [Path(one) for one in sources]
        fitted = law_of(shown[0], None) if fitted is None else fitted
    else:
        shown = _sources(source, fitted, given).points
    named, chosen = given[0], given[4]
    write_report(shown, fitted, Path(out), params, flops, title, family, named, chosen, force)
    return Report(Path(out))
