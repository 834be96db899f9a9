"""Figures and the report: `plot`, `report`."""

from pathlib import Path
from typing import Annotated

import typer

from scaling.commands.options import (
    Against,
    By,
    Columns,
    Family,
    Flops,
    Force,
    Json,
    Metrics,
    Params,
    Shots,
    Tasks,
    Where,
    show,
)
from scaling.plots.kinds import KINDS

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
    where: Where = None,
    by: By = None,
    force: Force = False,
    method: Annotated[
        str, typer.Option(help="method for isoFLOP minima: windowed, parabola or akima")
    ] = "windowed",
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
    from scaling.api import figures

    result = figures.plot(
        kind,
        source,
        out=out,
        law=law,
        columns=columns,
        params=params,
        flops=flops,
        family=family,
        where=where,
        by=by,
        force=force,
        method=method,
        tolerance=tolerance,
        bootstrap=bootstrap,
        seed=seed,
        against=against,
        tasks=tasks,
        shots=shots,
        metrics=metrics,
        log_score=log_score,
    )
    show(result, as_json)


def report(
    source: Annotated[list[Path], typer.Argument(help="sweep directories or CSVs, shown together")],
    out: Annotated[Path, typer.Option(help="HTML file to write")] = Path("report.html"),
    law: LawFile = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    where: Where = None,
    force: Force = False,
    title: Annotated[str | None, typer.Option(help="title of the page")] = None,
    as_json: Json = False,
) -> None:
    """Write a self-contained HTML page about one sweep or several."""
    from scaling.api import figures

    result = figures.report(
        source,
        out=out,
        law=law,
        columns=columns,
        params=params,
        flops=flops,
        family=family,
        where=where,
        force=force,
        title=title,
    )
    show(result, as_json)
