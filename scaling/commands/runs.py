"""Training: `train`, `sweep`, `status`, `check-mup`, `launch`, `demo`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaling.commands.options import (
    Coordinator,
    DryRun,
    Json,
    Overrides,
    Price,
    Processes,
    ProcessId,
    show,
)

if TYPE_CHECKING:
    from scaling.api.runs import SweepPlan


def train(
    run: Annotated[
        str,
        typer.Argument(
            help="run in configs/runs, a YAML file, or a model with published training settings (gpt2-124m)"
        ),
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="run directory; default: runs/NAME")] = None,
    dry_run: DryRun = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process_id: ProcessId = None,
    as_json: Json = False,
) -> None:
    """Train one run; the same command resumes it."""
    from scaling.api import runs

    result = runs.train(
        run,
        overrides,
        out=out,
        dry_run=dry_run,
        coordinator=coordinator,
        processes=processes,
        process_id=process_id,
    )
    from scaling.parallel.processes import is_first

    if is_first():
        show(result, as_json)


def sweep(
    sweep: Annotated[str, typer.Argument(help="sweep in configs/sweeps, or a YAML file")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="sweep directory; default: runs/NAME")] = None,
    workers: Annotated[int, typer.Option(help="runs to train at once on this machine's CPU cores")] = 1,
    stack: Annotated[
        str, typer.Option(help="most runs of one shape to train in one program; auto estimates, off is 1")
    ] = "auto",
    seed_offset: Annotated[
        int, typer.Option(help="added to every seed, for other runs of the same design")
    ] = 0,
    yes: Annotated[
        bool, typer.Option("--yes", help="start without confirmation, however long it takes")
    ] = False,
    dry_run: DryRun = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process_id: ProcessId = None,
    as_json: Json = False,
) -> None:
    """Train many runs: print the plan, skip finished runs, resume interrupted ones."""
    from scaling.api import runs
    from scaling.api.progress import say

    config = runs.sweep_config(sweep, overrides, seed_offset)
    if dry_run:
        show(runs.sweep_plan(config, out, workers, stack, with_data=True), as_json)
        return
    from scaling.parallel.processes import is_first, joined, several

    with joined(coordinator, processes, process_id):
        plan = runs.sweep_plan(config, out, workers, stack)
        if not as_json and is_first():
            show(plan)
        if not several() and not confirm_long(plan, yes):
            say("scaling: nothing was started")
            raise typer.Exit(1)
        result = plan.train()
        if is_first():
            show(result, as_json)
            if (verdicts := result.verdicts()) is not None and not as_json:
                show(verdicts)
                path = result.directory / "emergence.json"
                typer.echo(f"Written to {path}; scaling emergence {result.directory} --full shows more")
    if result.failures:
        raise typer.Exit(1)


def confirm_long(plan: "SweepPlan", yes: bool) -> bool:
    """Whether to start: more than a day here needs `yes`, or a person who agrees.

    Raises:
        BadInputError: stdin is not a terminal, so nobody can agree.
    """
    from scaling.api.runs import DAY, too_long
    from scaling.api.text.blocks import seconds_in_words

    if yes or plan.seconds_left <= DAY:
        return True
    if not sys.stdin.isatty():
        raise too_long(plan)
    takes = f"about {seconds_in_words(plan.seconds_left)} on this machine"
    return typer.confirm(f"Training takes {takes}. Start it?", err=True)


def status(
    directory: Annotated[
        str, typer.Argument(help="sweep or run directory, also in a bucket: gs://NAME/FOLDER, s3://...")
    ],
    as_json: Json = False,
) -> None:
    """Show the ledger of a sweep: progress, loss and time of every run."""
    from scaling.api import runs

    show(runs.status(directory), as_json)


def check_mup(
    run: Annotated[
        str,
        typer.Argument(
            help="run in configs/runs, a YAML file, or a model with published training settings (gpt2-124m)"
        ),
    ],
    overrides: Overrides = None,
    widths: Annotated[
        str | None, typer.Option(help="widths, e.g. 64,128,256; default: 1, 2 and 4 times the base")
    ] = None,
    steps: Annotated[int, typer.Option(help="optimizer steps")] = 5,
    tolerance: Annotated[float, typer.Option(help="largest slope that counts as flat")] = 0.2,
    seeds: Annotated[int, typer.Option(help="seeds over which a slope is averaged, at least 2")] = 4,
    grow: Annotated[
        str,
        typer.Option(help="what grows with the width: heads (their number), d_head (their width) or both"),
    ] = "both",
    out: Annotated[Path | None, typer.Option(help=".png, .svg or .pdf file to write")] = None,
    as_json: Json = False,
) -> None:
    """Check muP's coordinates: whether updates scale correctly with width, next to the standard ones."""
    from scaling.api import runs

    result = runs.check_mup(
        run,
        overrides,
        widths=widths,
        steps=steps,
        tolerance=tolerance,
        seeds=seeds,
        grow=grow,
        out=out,
    )
    show(result, as_json)
    if out is not None and not as_json:
        typer.echo(f"Written to {out}")
    if not result.flat:
        raise typer.Exit(1)


def launch(
    sweep: Annotated[str, typer.Argument(help="sweep in configs/sweeps, or a YAML file")],
    overrides: Overrides = None,
    on: Annotated[str, typer.Option(help="engine: local, slurm, gke, tpu-vm or skypilot")] = "",
    device: Annotated[
        str | None,
        typer.Option(help="device kind, to find the smallest slice; or one slice, e.g. tpu-v5p:4x4x4"),
    ] = None,
    within: Annotated[float, typer.Option(help="most hours per run")] = 720.0,
    out: Annotated[Path | None, typer.Option(help="local sweep directory; default: runs/NAME")] = None,
    bucket: Annotated[
        str | None,
        typer.Option(help="gke, tpu-vm, skypilot: where the runs are stored, gs://NAME/FOLDER"),
    ] = None,
    image: Annotated[str | None, typer.Option(help="gke: container image with scaling installed")] = None,
    zone: Annotated[str | None, typer.Option(help="tpu-vm: zone of the TPUs")] = None,
    spot: Annotated[bool, typer.Option("--spot", help="use preemptible devices, at their price")] = False,
    price: Price = None,
    template: Annotated[
        Path | None, typer.Option(help="script or manifest template of your own, based on those in launch/")
    ] = None,
    show_scripts: Annotated[bool, typer.Option("--show", help="also print the scripts or manifests")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Submit a sweep to a cluster, each run on the smallest slice that finishes it in time."""
    from scaling.api.launch import launch as launch_sweep

    result = launch_sweep(
        sweep,
        overrides,
        on=on,
        device=device,
        within=within,
        out=out,
        bucket=bucket,
        image=image,
        zone=zone,
        spot=spot,
        price=price,
        template=template,
        dry_run=dry_run,
    )
    show(result, as_json)
    if as_json:
        return
    document = result.document
    for group in document["submissions"] if show_scripts else ():
        typer.echo(f"\n--- {', '.join(group['runs'])}\n{group['text'].rstrip()}")
    count = sum(row["submit"] for row in document["runs"])
    what = "would be submitted" if dry_run else "submitted"
    hint = " (--show prints the scripts)" if dry_run and not show_scripts else ""
    typer.echo(f"{count} of {len(document['runs'])} runs {what}{hint}")


def demo(
    out: Annotated[Path, typer.Option(help="directory of the runs, figures and report")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="seed of the initial weights and of the data order")] = 0,
    as_json: Json = False,
) -> None:
    """Train a small ladder, fit its law, predict the largest size and write the report."""
    from scaling.api.demo import demo

    show(demo(out, seed), as_json)
