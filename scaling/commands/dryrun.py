"""What the compiler says: `dryrun`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.options import (
    Accumulation,
    BatchTokens,
    Json,
    Length,
    Mesh,
    Optimizer,
    Overrides,
    Remat,
    as_overrides,
    devices_named,
    print_json,
)
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.devices import Devices
    from scaling.config.record import Compiled
    from scaling.config.run import RunConfig

_GIB = 2**30


def dryrun(
    model: Annotated[str, typer.Argument(help="model or run: a name in configs, or a YAML file")],
    overrides: Overrides = None,
    on: Annotated[str, typer.Option(help="devices as KIND:COUNT or KIND:TOPOLOGY, e.g. tpu-v5p:8x8x8")] = "",
    mesh: Mesh = None,
    remat: Remat = None,
    batch_tokens: BatchTokens = None,
    length: Length = None,
    accumulation: Accumulation = None,
    optimizer: Optimizer = None,
    effort: Annotated[
        str, typer.Option(help="effort of the TPU compiler: quick, or full as in training (minutes)")
    ] = "quick",
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="compile again instead of reading the cache")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile the real train step for devices you do not have: memory, collectives, whether it fits."""
    from scaling.config.devices import run_for
    from scaling.train.compiled_cache import compiled_step

    if not on:
        raise BadInputError("--on: name the devices, for example --on tpu-v5p:8x8x8 or --on h100-sxm:64")
    if effort not in ("quick", "full"):
        raise BadInputError(f"--effort {effort!r}: give quick or full")
    devices = devices_named(on)
    changes = as_overrides(overrides, remat, batch_tokens, length, accumulation, optimizer)
    run = run_for(model, devices, mesh, changes)
    with waiting(f"compiling {run.model.name} for {devices}"):
        compiled = compiled_step(run, devices, effort, fresh=no_cache)  # type: ignore[arg-type]
    if as_json:
        print_json(_document(run, devices, compiled))
    else:
        _print(run, devices, compiled)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A spinner on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # Descriptor 2 is captured while the compiler runs.
    with os.fdopen(os.dup(2), "w") as stderr:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=Console(file=stderr), transient=True) as progress:
            progress.add_task(what, total=None)
            yield


def would_help(run: "RunConfig", compiled: "Compiled") -> list[str]:
    """What to change so that a step that does not fit takes less memory; nothing where it fits."""
    from scaling.estimate import estimate

    if compiled.fits:
        return []
    return estimate.would_help(run, compiled.argument_bytes, compiled.capacity_bytes)


def _document(run: "RunConfig", devices: "Devices", compiled: "Compiled") -> dict[str, Any]:
    """The keys of `estimate --json`, and what the compiler says beside them."""
    from scaling.estimate.estimate import model_part, on_devices

    estimated = on_devices(run, devices, None)
    document = model_part(run.model, run.data.sequence_length)
    document |= {"train": None, **estimated.as_dict(devices)}
    memory = estimated.memory
    document["compiled"] = compiled.model_dump(mode="json")
    document["estimate_over_compiled"] = {
        "argument_bytes": memory.arguments / compiled.argument_bytes,
        "peak_bytes": memory.total / compiled.peak_bytes,
        "flops_per_device": estimated.time.hardware_flops / devices.count / compiled.flops_per_device,
    }
    document["would_help"] = would_help(run, compiled)
    return document


def _print(run: "RunConfig", devices: "Devices", compiled: "Compiled") -> None:
    from scaling.estimate.estimate import on_devices
    from scaling.tables import show, show_text, table

    ours = on_devices(run, devices, None).memory

    show_text(
        f"{run.model.name} on {devices}, {devices.count} devices as {run.mesh}; "
        f"{run.train.batch_tokens:,} tokens a step, {compiled.flops_per_device:.3e} FLOPs a device and step"
    )
    rows = [
        ("arguments (parameters, optimizer state, batch)", compiled.argument_bytes, ours.arguments),
        ("temporaries (gradients, activations)", compiled.temp_bytes, None),
        ("most at once", compiled.peak_bytes, ours.total),
        ("there is", compiled.capacity_bytes, None),
    ]
    shown = [
        (
            name,
            "-" if size is None else f"{size / _GIB:.2f}",
            "" if estimate is None else f"{estimate / _GIB:.2f}",
            "" if estimate is None or size is None else f"{estimate / size - 1:+.1%}",
        )
        for name, size, estimate in rows
    ]
    show(table("", ("memory of a device, GiB", "compiler", "estimate", "difference"), shown))
    spare = compiled.capacity_bytes - compiled.peak_bytes
    if compiled.fits:
        show_text(f"Fits, with {spare / _GIB:.2f} GiB to spare.")
    else:
        show_text(f"Does not fit: {max(0, -spare) / _GIB:.2f} GiB too much. What would help:")
        for line in would_help(run, compiled):
            show_text(f"  {line}")
    if compiled.collectives is not None:
        moved = [
            (kind.replace("_", "-"), f"{traffic['count']:,}", f"{traffic['bytes'] / _GIB:.2f}")
            for kind, traffic in compiled.collectives.model_dump().items()
            if traffic["count"]
        ]
        if moved:
            show(table("", ("collective", "a step", "GiB"), moved))
    for note in compiled.notes:
        show_text(f"Note: {note}.")
    versions = ", ".join(f"{name} {version}" for name, version in compiled.versions.items())
    show_text(f"Compiled in {compiled.compile_seconds:.0f} s ({compiled.effort} effort) by {versions}.")
