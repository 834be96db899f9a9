"""Running: `train`, `sweep`, `status`, `generate`, `demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaling.commands.options import (
    Coordinator,
    DryRun,
    Json,
    Overrides,
    Processes,
    ProcessId,
    print_json,
    say,
)

if TYPE_CHECKING:
    from scaling.config.run import RunConfig
    from scaling.config.sweep import SweepConfig


def train(
    run: Annotated[str, typer.Argument(help="run in configs/runs, or a YAML file")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="run directory; default: runs/NAME")] = None,
    dry_run: DryRun = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process_id: ProcessId = None,
    as_json: Json = False,
) -> None:
    """Train one run; the same command resumes it."""
    from scaling.config.load import load_run

    config = load_run(run, overrides or ())
    if dry_run:
        _train_dry_run(config, as_json)
        return
    from scaling.parallel.processes import is_first, joined
    from scaling.train.loop import train as train_run
    from scaling.train.progress import Terminal

    directory = out or Path("runs") / config.name
    with joined(coordinator, processes, process_id):
        with Terminal() as reporter:
            record = train_run(config, directory, reporter)
        if not is_first():
            return
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    from scaling.tables import show_text

    for point in record.points:
        bits = f", {point.bits_per_byte:.4f} bits per byte" if point.bits_per_byte else ""
        show_text(f"{record.name}: loss {point.loss:.4f} nats per token{bits} after {point.tokens:,} tokens")
    share = record.seconds["input_wait"] / max(record.seconds["total"], 1e-9)
    mfu = f", {record.mfu:.1%} of the matmul peak" if record.mfu else ""
    show_text(f"{record.seconds['total']:.0f} s{mfu}, {share:.1%} of it waiting for input; {directory}")


def _train_dry_run(config: "RunConfig", as_json: bool) -> None:
    import jax

    from scaling.commands.ahead import data_of, data_text, forecasts
    from scaling.parallel.mesh import abstract_mesh, sharding_table
    from scaling.tables import forecast_table, show, show_text, table
    from scaling.train.step import abstract_state

    (data,) = data_of([config])
    mesh = abstract_mesh(config.mesh, len(jax.devices()))
    plans = forecasts([config])
    counted = config.model.family == "ngram"  # counts lie nowhere before they are counted
    rows = [] if counted else sharding_table(abstract_state(config).model, mesh)
    if as_json:
        keys = ("parameter", "shape", "axes", "partition")
        print_json(
            {
                "id": config.id(),
                "config": config.model_dump(mode="json"),
                "plan": plans[0].as_dict(),
                "data": data,
                "mesh": dict(mesh.shape),
                "sharding": [dict(zip(keys, row, strict=True)) for row in rows],
            }
        )
        return
    show(forecast_table(f"Run {config.name} ({config.id()})", plans))
    show_text(data_text(data))
    if mesh.size > len(jax.devices()):
        show_text(
            f"The time is that of {mesh.size} devices like this machine's {len(jax.devices())}: for others, "
            f"scaling estimate RUN --on KIND:COUNT"
        )
    show_text(f"Objective {config.objective.name}: a token of loss is {config.objective.token_of_loss}.")
    if counted:
        return
    typer.echo("")
    sizes = [f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1]
    if sizes:
        show(
            table(
                f"Sharding on {', '.join(sizes)}", ("parameter", "shape", "axes", "partition"), rows, left=4
            )
        )
    else:
        columns = ("parameter", "shape", "axes")
        show(table("Parameters, all on one device", columns, [row[:3] for row in rows], left=3))


def sweep(
    sweep: Annotated[str, typer.Argument(help="sweep in configs/sweeps, or a YAML file")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="sweep directory; default: runs/NAME")] = None,
    workers: Annotated[int, typer.Option(help="runs to train at once on this machine's CPU cores")] = 1,
    seed_offset: Annotated[
        int, typer.Option(help="added to every seed, for other runs of the same design")
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="start without asking, however long it takes")] = False,
    dry_run: DryRun = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process_id: ProcessId = None,
    as_json: Json = False,
) -> None:
    """Train many runs: print the plan, skip finished runs, resume interrupted ones."""
    from scaling.config.load import load_sweep
    from scaling.sweep.design import expand

    config = load_sweep(sweep, overrides or ()).with_seed_offset(seed_offset)
    directory = out or Path("runs") / config.name
    runs = expand(config)
    if dry_run:
        _sweep(config, directory, runs, True, as_json, workers, yes)
        return
    from scaling.parallel.processes import joined

    with joined(coordinator, processes, process_id):
        failures = _sweep(config, directory, runs, False, as_json, workers, yes)
    if failures:
        raise typer.Exit(1)


def _sweep(
    config: "SweepConfig",
    directory: Path,
    runs: "list[RunConfig]",
    dry_run: bool,
    as_json: bool,
    workers: int,
    yes: bool,
) -> list[str]:
    """Print the plan of a sweep, then train it; the runs that failed."""
    from scaling.commands.ahead import confirm_long, data_of, data_text, forecasts, seconds_left
    from scaling.laws.read import read_records
    from scaling.parallel.processes import is_first, several
    from scaling.sweep.planned_run import achieved_flops, seconds_at_once
    from scaling.sweep.workers import check_workers
    from scaling.tables import forecast_table, seconds_in_words, show, show_text

    check_workers(workers)
    achieved = achieved_flops(read_records(directory)) if directory.is_dir() else None
    plans = forecasts(runs, achieved, workers)
    total = seconds_at_once([plan.seconds for plan in plans], workers)
    left = seconds_left(runs, plans, directory, workers)
    data = data_of(runs) if dry_run else []
    if not as_json and is_first():
        show(forecast_table(f"Sweep {config.name}", plans, total))
        if workers > 1:
            show_text(f"Times are those of {workers} runs at once, each on its share of the CPU cores.")
        if left < total:
            show_text(f"Some runs are finished in {directory}: about {seconds_in_words(left)} are left.")
        for one in data:
            show_text(data_text(one))
    if dry_run:
        if as_json:
            document = {"sweep": config.name, "runs": [plan.as_dict() for plan in plans]}
            print_json({**document, "seconds": total, "seconds_left": left, "data": data})
        return []
    if not several() and not confirm_long(config.name, left, yes):
        say("scaling: nothing was started")
        raise typer.Exit(1)
    from scaling.sweep.execute import run_sweep
    from scaling.train.progress import Terminal

    with Terminal() as reporter:
        records, failures = run_sweep(config, directory, reporter, workers)
    if not is_first():
        return failures
    if as_json:
        runs_json = [record.model_dump(mode="json") for record in records]
        print_json({"sweep": config.name, "runs": runs_json, "failures": failures})
    else:
        done = f"{len(records)} of {len(runs)} runs finished in {directory}"
        show_text(f"{done}; next: scaling fit {directory}" if config.evaluation is None else done)
    if config.evaluation is not None and records:
        _verdicts(directory, config.evaluation.against, as_json)
    return failures


def _verdicts(directory: Path, against: str, as_json: bool) -> None:
    """Write what the scores of a sweep say as emergence.json, and print a line per task."""
    from scaling.commands.emergence_text import summary
    from scaling.laws.emergence import emergence, read_scores
    from scaling.tables import show_text

    document = emergence(read_scores(directory), against).document
    document.write(directory / "emergence.json")
    if as_json:
        return
    for line in summary(document):
        typer.echo(line)
    show_text(f"Written to {directory / 'emergence.json'}; scaling emergence {directory} --full shows more")


def status(
    directory: Annotated[
        str, typer.Argument(help="sweep or run directory, also in a bucket: gs://NAME/FOLDER, s3://...")
    ],
    as_json: Json = False,
) -> None:
    """Show the ledger of a sweep: progress, loss and time of every run."""
    from scaling.sweep.directory import downloaded, is_bucket, read_ledger

    if is_bucket(directory):
        with downloaded(directory) as copy:
            entries = read_ledger(copy, elsewhere=True)
    else:
        entries = read_ledger(Path(directory))
    if as_json:
        print_json(
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
    from scaling.tables import goodput_text, ledger_table, show, show_text

    show(ledger_table(directory, entries))
    if (text := goodput_text(entries)) is not None:
        show_text(text)


def generate(
    run: Annotated[Path, typer.Argument(help="run directory")],
    prompt: Annotated[str, typer.Option(help="text to continue")],
    tokens: Annotated[int, typer.Option(help="most tokens to generate")] = 100,
    temperature: Annotated[float, typer.Option(help="sampling temperature; 0 is greedy")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="sample from the k most likely tokens")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="sample from the most likely tokens that reach this probability")
    ] = None,
    beams: Annotated[
        int | None, typer.Option(help="number of beams, for beam search instead of sampling")
    ] = None,
    length_penalty: Annotated[float, typer.Option(help="length penalty of beam search; 0 is none")] = 0.6,
    seed: Annotated[int, typer.Option(help="seed of the samples")] = 0,
    as_json: Json = False,
) -> None:
    """Continue a prompt with a trained decoder, or answer it with an encoder-decoder."""
    from scaling.models.generate import Beams, Sampling
    from scaling.models.generate import generate as continue_prompts
    from scaling.train.trained import load_trained

    how = Sampling(temperature, top_k, top_p) if beams is None else Beams(beams, length_penalty)
    how.check()
    trained = load_trained(run, say)
    end = trained.tokenizer.end_of_text
    ids = trained.tokenizer.encode(prompt).tolist()
    if trained.run.model.family == "decoder":
        ids = [trained.start, *ids]
    new = continue_prompts(
        trained.model,
        [ids],
        new_tokens=tokens,
        sampling=how,
        seed=seed,
        start=trained.start,
        stop=end,
        writable=trained.writable,
    )[0]
    text = trained.tokenizer.decode(new)
    if as_json:
        print_json({"prompt": prompt, "text": text, "tokens": new})
    else:
        typer.echo(prompt + text)


def demo(
    out: Annotated[Path, typer.Option(help="directory of the runs, figures and report")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="seed of the initial weights and of the data order")] = 0,
    as_json: Json = False,
) -> None:
    """Train a small ladder, fit its law, predict the largest size and write the report."""
    from scaling.commands.fit_text import print_law
    from scaling.demo import run_demo
    from scaling.train.progress import Terminal

    with Terminal() as reporter:
        result = run_demo(out, reporter, seed)
    if as_json:
        print_json(result.as_dict())
        return
    print_law(result.law)
    for path in (*result.figures, result.report):
        typer.echo(f"Written to {path}")
