"""Laws and figures: `fit`, `plot`, `report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.emergence import KINDS, Against, Metrics, Shots, Tasks, draw_scores
from scaling.commands.options import Json, print_json, wrote
from scaling.config.errors import BadInputError

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


def fit(
    source: Annotated[Path, typer.Argument(help="a sweep directory, or a CSV with params, tokens, loss")],
    law: Annotated[str, typer.Option(help="the functional form")] = "chinchilla",
    bootstrap: Annotated[int, typer.Option(help="resamples for the intervals; 0 for none")] = 1000,
    holdout: Annotated[
        str | None, typer.Option(help="share of points (0.2), number of largest sizes (1), or none")
    ] = "0.2",
    delta: Annotated[float, typer.Option(help="Huber delta of the residuals; 10 for least squares")] = 1e-3,
    residual: Annotated[str, typer.Option(help="log: of log loss; plain: of the loss itself")] = "log",
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 0,
    force: Annotated[bool, typer.Option("--force", help="fit what would be refused, and mark it")] = False,
    out: Annotated[Path | None, typer.Option(help="law.json; DIR/law.json where not given")] = None,
    as_json: Json = False,
) -> None:
    """Fit a law with intervals, and predict the largest runs from the others."""
    from scaling.laws import fit_points

    points = read_points_of(source, columns, params, flops, family)
    fitted = fit_points(
        points,
        law,
        delta=delta,
        bootstrap=bootstrap,
        holdout=_holdout(holdout),
        seed=seed,
        force=force,
        residual=residual,  # type: ignore[arg-type]
    )
    path = out or (source / "law.json" if source.is_dir() else source.with_suffix(".law.json"))
    fitted.write(path)
    if as_json:
        print_json(fitted.model_dump(mode="json"))
        return
    print_law(fitted)
    typer.echo(f"Written to {path}")


def _holdout(text: str | None) -> float | int | None:
    """0.2 is a share, 1 a number of sizes, none is no test."""
    if text is None or text.lower() == "none":
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError as error:
        raise BadInputError(
            f"--holdout {text!r}: give a share such as 0.2, a number of largest sizes, or none"
        ) from error


def print_law(law: "LawFit") -> None:
    """A law with its intervals, for a person."""
    typer.echo(f"{law.law}: {law.equation}")
    for name, value in law.parameters.items():
        interval = law.intervals.get(name)
        shown = f"   [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else ""
        typer.echo(f"  {name:6} {value:.5g}{shown}")
    typer.echo(
        f"  {law.n_points} points, {law.n_starts_at_best} of {law.n_starts} starts at the best, "
        f"objective {law.objective.value:.6g}, gradient norm {law.gradient_norm:.1e}"
    )
    if law.holdout is not None:
        typer.echo(
            f"  held out: {law.holdout.n} points, mean error {law.holdout.mean_abs_rel_error:.2%}, "
            f"worst {law.holdout.max_abs_rel_error:.2%}"
        )
    for warning in law.warnings:
        typer.echo(f"  note: {warning}")


def plot(
    kind: Annotated[
        str,
        typer.Argument(
            help="loss-vs-compute, loss-vs-tokens, predicted-vs-measured, families; of scores: emergence, "
            "sharp-and-smooth, in-context"
        ),
    ],
    source: Annotated[Path, typer.Argument(help="a sweep directory or a CSV")],
    out: Annotated[Path, typer.Option(help="a .png, .svg or .pdf file")],
    law: Annotated[Path | None, typer.Option(help="law.json; DIR/law.json where there is one")] = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    against: Against = None,
    tasks: Tasks = None,
    shots: Shots = None,
    metrics: Metrics = None,
    log_score: Annotated[bool, typer.Option("--log-score", help="scores on a log axis")] = False,
    as_json: Json = False,
) -> None:
    """Draw one figure."""
    from scaling.plots.curves import read_curves
    from scaling.plots.figures import draw, save_figure

    if kind in KINDS:
        draw_scores(kind, source, out, params, against, tasks, shots, metrics, log_score)
        wrote(out, as_json)
        return
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
