"""The command line: parse, call, print. Every command answers `--json` with one document on stdout."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling import __version__
from scaling.config.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.run import RunConfig
    from scaling.laws import LawFit

# Quiet C++ start-up notices of the libraries below; a person's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

_ClickError: Any = typer.BadParameter.__mro__[2]  # click's ClickException, from wherever typer keeps click

app = typer.Typer(
    help="A laboratory for scaling language models: what it costs, how it trains, which law it obeys.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data: what a corpus holds, and tokenizers for it.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value changes to the config, as model.n_layers=6", metavar="[KEY=VALUE]..."),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what would be done, and do nothing")]


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"scaling {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


@app.command()
def models(
    family: Annotated[str | None, typer.Option(help="only names that start with this")] = None,
    as_json: Json = False,
) -> None:
    """The named models with parameters and training FLOPs per token."""
    from scaling.config.load import load_model, model_names
    from scaling.estimate.flops import train_flops_per_token
    from scaling.estimate.parameters import count_parameters

    names = [name for name in model_names() if name.startswith(family or "")]
    if not names:
        families = sorted({name.split("-")[0] for name in model_names()})
        raise BadInputError(f"no model is called {family!r}...; families: {', '.join(families)}")
    rows: list[dict[str, Any]] = []
    for name in names:
        config = load_model(name)
        counts = count_parameters(config)
        rows.append(
            {
                "model": name,
                "family": config.family,
                "n_layers": config.n_layers,
                "d_model": config.d_model,
                "n_heads": config.n_heads,
                "max_length": config.max_length,
                "params": counts.model_dump(),
                "train_flops_per_token": train_flops_per_token(config, config.max_length),
                "attention_convention": "causal",
            }
        )
    if as_json:
        _print_json(rows)
        return
    width = max(len(name) for name in names)
    typer.echo(
        f"{'model':{width}}  {'parameters':>16}  {'non-embedding':>16}  layers  width  heads  FLOPs/token"
    )
    for row in rows:
        typer.echo(
            f"{row['model']:{width}}  {row['params']['total']:>16,}  {row['params']['non_embedding']:>16,}  "
            f"{row['n_layers']:>6}  {row['d_model']:>5}  {row['n_heads']:>5}  "
            f"{row['train_flops_per_token']:>11.3e}"
        )
    typer.echo("Training FLOPs per token at the model's full length, matmul by matmul, causal attention.")


@app.command()
def train(
    run: Annotated[str, typer.Argument(help="a run in configs/runs, or a YAML file")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="run directory; runs/NAME where not given")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train one run; the same command resumes it."""
    from scaling.config.load import load_run

    config = load_run(run, overrides or ())
    if dry_run:
        _train_dry_run(config, as_json)
        return
    from scaling.train.loop import train as train_run
    from scaling.train.progress import Terminal

    directory = out or Path("runs") / config.name
    with Terminal() as reporter:
        record = train_run(config, directory, reporter)
    if as_json:
        _print_json(record.model_dump(mode="json"))
        return
    for point in record.points:
        bits = f", {point.bits_per_byte:.4f} bits per byte" if point.bits_per_byte else ""
        typer.echo(f"{record.name}: loss {point.loss:.4f} nats per token{bits} after {point.tokens:,} tokens")
    share = record.seconds["input_wait"] / max(record.seconds["total"], 1e-9)
    mfu = f", {record.mfu:.1%} of the matmul peak" if record.mfu else ""
    typer.echo(f"{record.seconds['total']:.0f} s{mfu}, {share:.1%} of it waiting for input; {directory}")


def _train_dry_run(config: "RunConfig", as_json: bool) -> None:
    import jax

    from scaling.parallel.mesh import abstract_mesh
    from scaling.parallel.rules import sharding_table
    from scaling.sweep.forecast import forecast
    from scaling.tables import forecast_table, show, table
    from scaling.train.device import matmul_peak
    from scaling.train.step import abstract_state

    mesh = abstract_mesh(config.mesh, len(jax.devices()))
    plan = forecast(config, matmul_peak(config.model.compute_dtype) * mesh.size)
    rows = sharding_table(abstract_state(config).model, mesh)
    if as_json:
        keys = ("parameter", "shape", "axes", "partition")
        _print_json(
            {
                "id": config.id(),
                "config": config.model_dump(mode="json"),
                "plan": plan.as_dict(),
                "mesh": dict(mesh.shape),
                "sharding": [dict(zip(keys, row, strict=True)) for row in rows],
            }
        )
        return
    show(forecast_table(f"Run {config.name} ({config.id()})", [plan]))
    typer.echo("")
    title = f"Sharding on {', '.join(f'{axis}={size}' for axis, size in mesh.shape.items())}"
    show(table(title, ("parameter", "shape", "axes", "partition"), rows, left=4))


@app.command()
def sweep(
    sweep: Annotated[str, typer.Argument(help="a sweep in configs/sweeps, or a YAML file")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="sweep directory; runs/NAME where not given")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train many runs: prints the plan first, skips what is done, resumes what was interrupted."""
    from scaling.config.load import load_sweep
    from scaling.laws.points import read_records
    from scaling.sweep.design import expand
    from scaling.sweep.forecast import achieved_flops, forecast
    from scaling.tables import forecast_table, show

    config = load_sweep(sweep, overrides or ())
    directory = out or Path("runs") / config.name
    runs = expand(config)
    from scaling.train.device import matmul_peak

    achieved = achieved_flops(read_records(directory)) if directory.is_dir() else None
    plans = [forecast(run, matmul_peak(run.model.compute_dtype), achieved) for run in runs]
    if not as_json:
        show(forecast_table(f"Sweep {config.name}", plans))
    if dry_run:
        if as_json:
            _print_json({"sweep": config.name, "runs": [plan.as_dict() for plan in plans]})
        return
    from scaling.sweep.execute import run_sweep
    from scaling.train.progress import Terminal

    with Terminal() as reporter:
        records, failures = run_sweep(config, directory, reporter)
    if as_json:
        runs_json = [record.model_dump(mode="json") for record in records]
        _print_json({"sweep": config.name, "runs": runs_json, "failures": failures})
    else:
        typer.echo(
            f"{len(records)} of {len(runs)} runs finished in {directory}; next: scaling fit {directory}"
        )
    if failures:
        raise typer.Exit(1)


@app.command()
def status(
    directory: Annotated[Path, typer.Argument(help="a sweep or run directory")], as_json: Json = False
) -> None:
    """The ledger of a sweep: every run, how far it is, what it reached and took."""
    from scaling.sweep.ledger import read_ledger

    entries = read_ledger(directory)
    if as_json:
        _print_json(
            [
                {
                    "name": entry.name,
                    "status": entry.status,
                    "note": entry.note,
                    "record": entry.record.model_dump(mode="json") if entry.record else None,
                }
                for entry in entries
            ]
        )
        return
    from scaling.tables import ledger_table, show

    show(ledger_table(str(directory), entries))


Columns = Annotated[str | None, typer.Option(help="which CSV column is what: params=N,tokens=D")]
Params = Annotated[str, typer.Option(help="N: non_embedding_with_head, non_embedding or total")]
Flops = Annotated[str, typer.Option(help="C: 6nd, or counted (matmul by matmul)")]


def _read_points(source: Path, columns: str | None, params: str, flops: str) -> Any:
    from scaling.laws import parse_columns, read_points

    return read_points(source, parse_columns(columns) if columns else None, params, flops)


@app.command()
def fit(
    source: Annotated[Path, typer.Argument(help="a sweep directory, or a CSV with params, tokens, loss")],
    law: Annotated[str, typer.Option(help="the functional form")] = "chinchilla",
    bootstrap: Annotated[int, typer.Option(help="resamples for the intervals; 0 for none")] = 1000,
    holdout: Annotated[
        str | None, typer.Option(help="share of points (0.2), number of largest sizes (1), or none")
    ] = "0.2",
    delta: Annotated[float, typer.Option(help="Huber delta on log loss")] = 1e-3,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 0,
    force: Annotated[bool, typer.Option("--force", help="fit what would be refused, and mark it")] = False,
    out: Annotated[Path | None, typer.Option(help="law.json; DIR/law.json where not given")] = None,
    as_json: Json = False,
) -> None:
    """Fit a law with intervals, and predict the largest runs from the others."""
    from scaling.laws import fit_points

    points = _read_points(source, columns, params, flops)
    fitted = fit_points(
        points, law, delta=delta, bootstrap=bootstrap, holdout=_holdout(holdout), seed=seed, force=force
    )
    path = out or (source / "law.json" if source.is_dir() else source.with_suffix(".law.json"))
    fitted.write(path)
    if as_json:
        _print_json(fitted.model_dump(mode="json"))
        return
    _print_law(fitted)
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


def _print_law(law: "LawFit") -> None:
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


@app.command()
def plot(
    kind: Annotated[str, typer.Argument(help="loss-vs-compute, loss-vs-tokens or predicted-vs-measured")],
    source: Annotated[Path, typer.Argument(help="a sweep directory or a CSV")],
    out: Annotated[Path, typer.Option(help="a .png, .svg or .pdf file")],
    law: Annotated[Path | None, typer.Option(help="law.json; DIR/law.json where there is one")] = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    as_json: Json = False,
) -> None:
    """Draw one figure."""
    from scaling.plots.curves import read_curves
    from scaling.plots.figures import draw, save_figure

    points = _read_points(source, columns, params, flops)
    curves = read_curves(source, params, flops) if source.is_dir() else None
    save_figure(draw(kind, points, _law_beside(source, law), curves), out)
    _wrote(out, as_json)


def _law_beside(source: Path, law: Path | None) -> "LawFit | None":
    from scaling.laws import read_law

    beside = source / "law.json"
    if law is not None:
        return read_law(law)
    return read_law(beside) if source.is_dir() and beside.is_file() else None


def _wrote(path: Path, as_json: bool) -> None:
    if as_json:
        _print_json({"out": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(f"Written to {path}")


@app.command()
def report(
    source: Annotated[Path, typer.Argument(help="a sweep directory or a CSV")],
    out: Annotated[Path, typer.Option(help="the HTML file")] = Path("report.html"),
    law: Annotated[Path | None, typer.Option(help="law.json; DIR/law.json where there is one")] = None,
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    title: Annotated[str | None, typer.Option(help="of the page")] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page that tells the whole sweep."""
    from scaling.plots.report import write_report

    given: Any = source if source.is_dir() else _read_points(source, columns, params, flops)
    write_report(given, _law_beside(source, law), out, params, flops, title)
    _wrote(out, as_json)


@app.command()
def generate(
    run: Annotated[Path, typer.Argument(help="a run directory")],
    prompt: Annotated[str, typer.Option(help="text to continue")],
    tokens: Annotated[int, typer.Option(help="new tokens at most")] = 100,
    temperature: Annotated[float, typer.Option(help="0 is greedy")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="draw from the k most likely tokens")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="draw from the likeliest that reach this probability")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    as_json: Json = False,
) -> None:
    """Continue a prompt with a trained model."""
    from scaling.models.generate import Sampling
    from scaling.models.generate import generate as continue_prompts
    from scaling.train.trained import load_trained

    sampling = Sampling(temperature, top_k, top_p).check()
    trained = load_trained(run, _say)
    end = trained.tokenizer.end_of_text
    ids = [end, *trained.tokenizer.encode(prompt).tolist()]
    new = continue_prompts(trained.model, [ids], new_tokens=tokens, sampling=sampling, seed=seed, stop=end)[0]
    text = trained.tokenizer.decode(new)
    if as_json:
        _print_json({"prompt": prompt, "text": text, "tokens": new})
    else:
        typer.echo(prompt + text)


@data_app.command("describe")
def data_describe(
    source: Annotated[
        str, typer.Argument(help="python-stdlib, text:GLOB, jsonl:GLOB or tfds:NAME")
    ] = "python-stdlib",
    tokenizer: Annotated[str, typer.Option(help="bytes or sentencepiece:PATH")] = "bytes",
    field: Annotated[str, typer.Option(help="the JSON field or TFDS feature that holds the text")] = "text",
    as_json: Json = False,
) -> None:
    """Documents, tokens and bytes of a corpus, and its validation split."""
    import dataclasses

    from scaling.config.data import DataConfig
    from scaling.config.load import validate
    from scaling.data.corpus import describe

    config = validate(DataConfig, {"source": source, "tokenizer": tokenizer, "field": field}, "data")
    summary = dataclasses.asdict(describe(config))
    if as_json:
        _print_json(summary)
        return
    for name, value in summary.items():
        typer.echo(f"{name:22} {value:,}" if isinstance(value, int) else f"{name:22} {value}")


@data_app.command("tokenizer")
def data_tokenizer(
    out: Annotated[Path, typer.Option(help="the .model file to write")],
    source: Annotated[
        str, typer.Option(help="python-stdlib, text:GLOB, jsonl:GLOB or tfds:NAME")
    ] = "python-stdlib",
    field: Annotated[str, typer.Option(help="the JSON field or TFDS feature that holds the text")] = "text",
    vocab_size: Annotated[int, typer.Option(help="pieces")] = 4096,
    kind: Annotated[str, typer.Option("--type", help="bpe or unigram")] = "bpe",
    seed: Annotated[int, typer.Option(help="of the sample of documents")] = 0,
    as_json: Json = False,
) -> None:
    """Train a SentencePiece tokenizer that gives every byte back."""
    from scaling.config.data import DataConfig
    from scaling.config.load import validate
    from scaling.data.sources import open_source
    from scaling.data.tokenizer_training import train_sentencepiece

    if kind not in ("bpe", "unigram"):
        raise BadInputError(f"--type {kind!r}: give bpe or unigram")
    config = validate(DataConfig, {"source": source, "field": field}, "data")
    train_sentencepiece(open_source(config), out, vocab_size=vocab_size, model_type=kind, seed=seed)  # type: ignore[arg-type]
    _wrote(out, as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where runs, figures and report go")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """The main job, here and now: train a ladder, fit its law, predict the largest size, write the report."""
    from scaling.demo import run_demo
    from scaling.train.progress import Terminal

    with Terminal() as reporter:
        result = run_demo(out, reporter)
    if as_json:
        _print_json(result.as_dict())
        return
    _print_law(result.law)
    for path in (*result.figures, result.report):
        typer.echo(f"Written to {path}")


def main() -> None:
    """Run the command line; an input mistake is one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except BadInputError as error:
        _say(f"scaling: {error}")
        code = 2
    except _ClickError as error:
        _say(f"scaling: {' '.join(error.format_message().split())} (scaling --help tells more)")
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        _say("scaling: interrupted")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as error:
        code = _ended(error)
    sys.exit(code)


def _ended(error: Exception) -> int:
    """The exit code of a run that failed or was asked to stop; anything else is a bug and keeps its trace."""
    from scaling.train.stopping import InterruptedRunError, RunFailedError

    if isinstance(error, InterruptedRunError):
        _say(f"scaling: {error}")
        return 128 + error.signal_number
    if isinstance(error, RunFailedError):
        _say(f"scaling: {error}")
        return 1
    raise error


if __name__ == "__main__":
    main()
