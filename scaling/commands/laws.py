"""Figures of laws: `plot`, `report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.options import Json, wrote

if TYPE_CHECKING:
    from scaling.laws import LawFit

Columns = Annotated[str | None, typer.Option(help="which CSV column is what: params=N,tokens=D")]
Params = Annotated[str, typer.Option(help="N: non_embedding_with_head, non_embedding or total")]
Flops = Annotated[str, typer.Option(help="C: 6nd, or counted (matmul by matmul)")]

Family = Annotated[str | None, typer.Option(help="whose runs, where a directory has several families")]


def read_points_of(
    source: Path, columns: str | None, params: str, flops: str, family: str | None = None
) -> Any:
    """The points of a sweep directory or a CSV, by the options of the command line."""
    from scaling.laws import parse_columns, read_points

    return read_points(source, parse_columns(columns) if columns else None, params, flops, family)


def plot(
    kind: Annotated[
        str, typer.Argument(help="loss-vs-compute, loss-vs-tokens, predicted-vs-measured, or families")
    ],
    source: Annotated[Path, typer.Argument(help="a sweep directory or a CSV")],
    out: Annotated[Path, typer.Option(help="a .png, .svg or .pdf file")],
    law: Annotated[Path | None, typer.Option(help="law.json; DIR/law.json where there is one")] = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    as_json: Json = False,
) -> None:
    """Draw one figure."""
    from scaling.plots.curves import read_curves
    from scaling.plots.figures import draw, save_figure

    if kind == "families":
        from scaling.laws import read_records
        from scaling.plots.families import families_figure

        save_figure(families_figure(read_records(source)), out)
        wrote(out, as_json)
        return
    points = read_points_of(source, columns, params, flops, family)
    curves = read_curves(source, params, flops, family) if source.is_dir() else None
    save_figure(draw(kind, points, law_beside(source, law), curves), out)
    wrote(out, as_json)


def law_beside(source: Path, law: Path | None) -> "LawFit | None":
    """The law that was asked for, or the one that lies in the sweep directory."""
    from scaling.laws import read_law

    beside = source / "law.json"
    if law is not None:
        return read_law(law)
    return read_law(beside) if source.is_dir() and beside.is_file() else None


def report(
    source: Annotated[Path, typer.Argument(help="a sweep directory or a CSV")],
    out: Annotated[Path, typer.Option(help="the HTML file")] = Path("report.html"),
    law: Annotated[Path | None, typer.Option(help="law.json; DIR/law.json where there is one")] = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    title: Annotated[str | None, typer.Option(help="of the page")] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page that tells the whole sweep."""
    from scaling.plots.report import write_report

    given: Any = source if source.is_dir() else read_points_of(source, columns, params, flops, family)
    write_report(given, law_beside(source, law), out, params, flops, title, family)
    wrote(out, as_json)
