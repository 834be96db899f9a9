"""Laws and abilities: `fit`, `emergence`."""

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


def fit(
    source: Annotated[Path, typer.Argument(help="sweep directory, or CSV with params, tokens and loss")],
    law: Annotated[
        str, typer.Option(help="functional form, or auto: the simplest law that predicts best")
    ] = "chinchilla",
    laws: Annotated[
        str | None, typer.Option(help="laws to compare by rolled error, e.g. chinchilla,coupled,farseer")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="bootstrap resamples for the intervals; 0 for none")] = 1000,
    holdout: Annotated[
        str | None,
        typer.Option(help="held-out test: share of points (0.2), number of largest sizes (1), or none"),
    ] = "0.2",
    rolling: Annotated[int, typer.Option(help="compute cut-offs of the rolled hold-out; 0 for none")] = 4,
    profile: Annotated[bool, typer.Option(help="compute profile intervals")] = True,
    sensitivity: Annotated[bool, typer.Option(help="repeat the fit with other choices")] = True,
    at: Annotated[str | None, typer.Option(help="training FLOPs to allocate, e.g. 1e21,1e22")] = None,
    predict: Annotated[str | None, typer.Option(help="point to predict, e.g. params=7e9,tokens=1e12")] = None,
    then: Annotated[
        str | None, typer.Option(help="second law, from loss to task error: downstream-error")
    ] = None,
    approaches: Annotated[
        bool,
        typer.Option("--approaches", help="compare the optimum by envelope, isoFLOP, projection and law"),
    ] = False,
    delta: Annotated[
        str,
        typer.Option(
            help="Huber delta of the residuals: auto (1.345 times their scale), paper (1e-3) or a number; "
            "10 gives least squares"
        ),
    ] = "auto",
    residual: Annotated[
        str, typer.Option(help="residuals: log (of log loss) or plain (of the loss)")
    ] = "log",
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    where: Where = None,
    by: By = None,
    seed: Annotated[int, typer.Option(help="seed of the bootstrap")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="fit data that would be refused, and mark the result")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="law.json to write; default: next to the source")] = None,
    as_json: Json = False,
) -> None:
    """Fit a law with intervals, and predict the largest runs from the others."""
    from scaling.api.laws import fit as fit_law

    name, suffix = ("law", ".law.json") if by is None else (f"law-by-{by}", f".by-{by}.json")
    path = out or (source / f"{name}.json" if source.is_dir() else source.with_suffix(suffix))
    result = fit_law(
        source,
        law,
        laws=laws,
        bootstrap=bootstrap,
        holdout=holdout,
        rolling=rolling,
        profile=profile,
        sensitivity=sensitivity,
        at=at,
        predict=predict,
        then=then,
        approaches=approaches,
        delta=delta,
        residual=residual,
        columns=columns,
        params=params,
        flops=flops,
        family=family,
        where=where,
        by=by,
        seed=seed,
        force=force,
        out=path,
    )
    show(result, as_json)
    if not as_json:
        typer.echo(f"Written to {path}" + (f" and {path.with_name('approaches.json')}" if approaches else ""))


def emergence(
    source: Annotated[
        Path, typer.Argument(help="sweep directory with evaluations, CSV with task and score, or gpt3")
    ],
    against: Against = None,
    tasks: Tasks = None,
    shots: Shots = None,
    metrics: Metrics = None,
    params: Params = "non_embedding_with_head",
    where: Where = None,
    force: Force = False,
    columns: Annotated[
        str | None, typer.Option(help="CSV column of each field, e.g. score=acc_norm,params=N,stderr=se")
    ] = None,
    percent: Annotated[
        str | None, typer.Option(help="metrics of a CSV that are percentages, e.g. acc_norm,f1")
    ] = None,
    chance: Annotated[
        str | None, typer.Option(help="score of guessing per task, e.g. piqa=0.5,arc=0.25")
    ] = None,
    above: Annotated[
        float | None, typer.Option(help="score that counts as a breakthrough; default: half way from chance")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="also print the table behind the verdicts")] = False,
    out: Annotated[Path | None, typer.Option(help="file to write emergence.json to")] = None,
    as_json: Json = False,
) -> None:
    """Report for each task whether its score jumps with scale, how often, and whether it was foreseen."""
    from scaling.api import emergence as api
    from scaling.api.progress import say

    result = api.emergence(
        source,
        against=against,
        tasks=tasks,
        shots=shots,
        metrics=metrics,
        params=params,
        where=where,
        force=force,
        columns=columns,
        percent=percent,
        chance=chance,
        above=above,
        out=out,
    )
    if as_json:
        for note in result.document.notes:
            say(note)
    show(result, as_json, result.evidence() if full else ())
    if out is not None and not as_json:
        typer.echo(f"Written to {out}")
