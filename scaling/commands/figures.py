"""Figures and the report: `plot`, `report`."""

from pathlib import Path
from typing import Annotated

import typer

from scaling.commands.emergence import Against, Metrics, Shots, Tasks, names_of, numbers_of
from scaling.commands.laws import By, Columns, Family, Flops, Force, Params, WhereOption, where_of
from scaling.commands.options import Json, print_json, wrote
from scaling.plots.kinds import KINDS, check_kind

LawFile = Annotated[
    Path | None, typer.Option(help="law.json; default: the one that `fit` wrote next to the source")
]


def plot(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    source: Annotated[list[Path], typer.Argument(help="sweep directories or CSVs; for scores also gpt3")],
    out: Annotated[Path, typer.Option(help=".png, .svg or .pdf file to write")],
    law: LawFile = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    where: WhereOption = None,
    by: By = None,
    force: Force = False,
    method: Annotated[str, typer.Option(help="method for isoFLOP minima: parabola or akima")] = "parabola",
    tolerance: Annotated[
        float, typer.Option(help="largest relative difference in compute within one budget")
    ] = 0.05,
    bootstrap: Annotated[int, typer.Option(help="bootstrap resamples for the figure's intervals")] = 1000,
    seed: Annotated[int, typer.Option(help="seed of the resamples")] = 0,
    against: Against = None,
    tasks: Tasks = None,
    shots: Shots = None,
    metrics: Metrics = None,
    log_score: Annotated[bool, typer.Option("--log-score", help="draw scores on a log axis")] = False,
    as_json: Json = False,
) -> None:
    """Draw one figure."""
    check_kind(kind)
    from scaling.laws import parse_columns
    from scaling.laws.read.inputs import Sources
    from scaling.laws.read.select import name_of_value
    from scaling.plots.kinds import Options, draw_and_tell
    from scaling.plots.style import check_path, save_figure

    check_path(out)
    named = parse_columns(columns) if columns else None
    sources = Sources(tuple(source), law, named, params, flops, family, where_of(where), force)
    options = Options(
        method=method,
        tolerance=tolerance,
        bootstrap=bootstrap,
        seed=seed,
        against=against,
        tasks=names_of(tasks),
        shots=numbers_of(shots),
        metrics=names_of(metrics),
        log_score=log_score,
    )
    if by is None:
        figure, numbers = draw_and_tell(kind, sources, options)
        save_figure(figure, out)
        wrote(out, as_json, numbers)
        return
    groups = {}
    for value, part in sources.by(by).items():
        path = out.with_stem(f"{out.stem}-{name_of_value(value)}")
        figure, numbers = draw_and_tell(kind, part, options)
        save_figure(figure, path)
        groups[value] = {"out": str(path), "bytes": path.stat().st_size, **numbers}
    if as_json:
        print_json({"by": by, "groups": groups})
    else:
        for made in groups.values():
            typer.echo(f"Written to {made['out']}")


def report(
    source: Annotated[list[Path], typer.Argument(help="sweep directories or CSVs, shown together")],
    out: Annotated[Path, typer.Option(help="HTML file to write")] = Path("report.html"),
    law: LawFile = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    where: WhereOption = None,
    force: Force = False,
    title: Annotated[str | None, typer.Option(help="title of the page")] = None,
    as_json: Json = False,
) -> None:
    """Write a self-contained HTML page about one sweep or several."""
    from scaling.laws import parse_columns
    from scaling.laws.read.inputs import law_of
    from scaling.plots.report import write_report

    named = parse_columns(columns) if columns else None
    beside = law_of(source[0], law)
    write_report(source, beside, out, params, flops, title, family, named, where_of(where), force)
    wrote(out, as_json)
