"""What commands share: their options, and how they print."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scaling.config.devices import Devices

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value overrides of the config, e.g. model.n_layers=6", metavar="[KEY=VALUE]..."),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]
Mesh = Annotated[str | None, typer.Option(help="devices per mesh axis, e.g. fsdp=64,tensor=8")]
Remat = Annotated[str | None, typer.Option(help="rematerialisation: none, dots or full")]
BatchTokens = Annotated[
    str | None, typer.Option(help="tokens per step; default: one sequence per batch shard")
]
Length = Annotated[str | None, typer.Option(help="tokens per sequence; default: the model's maximum")]
Accumulation = Annotated[str | None, typer.Option(help="microbatches per step")]
Optimizer = Annotated[str | None, typer.Option(help="optimizer: adamw, adafactor, muon or lion")]
Coordinator = Annotated[
    str | None, typer.Option(help="multi-process: HOST:PORT of the first process, or auto (SLURM, TPU pods)")
]
Processes = Annotated[int | None, typer.Option(help="multi-process: number of processes")]
ProcessId = Annotated[int | None, typer.Option(help="multi-process: index of this process, from 0")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the plan and do nothing")]


def as_overrides(
    overrides: list[str] | None,
    remat: str | None,
    batch_tokens: str | None,
    length: str | None,
    accumulation: str | None,
    optimizer: str | None,
) -> list[str]:
    """The overrides that a person typed, and those that the options of a run stand for."""
    given = {
        "model.remat": remat,
        "train.batch_tokens": batch_tokens,
        "data.sequence_length": length,
        "train.accumulation": accumulation,
        "train.optimizer": optimizer,
    }
    return [*(overrides or ()), *(f"{key}={value}" for key, value in given.items() if value is not None)]


def devices_named(on: str) -> "Devices":
    """The devices of `--on`; this computer's own CPU is measured the first time."""
    from scaling.config.devices import parse_devices, this_cpu_is_measured

    if on.startswith("cpu:") and not this_cpu_is_measured():
        parse_devices(on)  # a count that is none is refused before anything is measured
        from scaling.train.device import measure_this_cpu

        measure_this_cpu()
    return parse_devices(on)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def say(text: str) -> None:
    """A line for a person, on stderr."""
    typer.echo(text, err=True)


def wrote(path: Path, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Say which file was written, and in JSON what is in it."""
    if as_json:
        print_json({"out": str(path), "bytes": path.stat().st_size, **(more or {})})
    else:
        typer.echo(f"Written to {path}")
