"""`scaling launch`: submit a sweep to a cluster."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.options import DryRun, Json, Overrides, print_json, say
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.run import RunConfig
    from scaling.launch.job import Job, Site
    from scaling.launch.launcher import Launcher
    from scaling.launch.submit import Decision

_MONTH = 720.0


def launch(
    sweep: Annotated[str, typer.Argument(help="sweep in configs/sweeps, or a YAML file")],
    overrides: Overrides = None,
    on: Annotated[str, typer.Option(help="engine: local, slurm, gke, tpu-vm or skypilot")] = "",
    device: Annotated[
        str | None,
        typer.Option(help="device kind, to find the smallest slice; or one slice, e.g. tpu-v5p:4x4x4"),
    ] = None,
    within: Annotated[float, typer.Option(help="most hours per run")] = _MONTH,
    out: Annotated[Path | None, typer.Option(help="local sweep directory; default: runs/NAME")] = None,
    bucket: Annotated[
        str | None,
        typer.Option(help="gke, tpu-vm, skypilot: where the runs are stored, gs://NAME/FOLDER"),
    ] = None,
    image: Annotated[str | None, typer.Option(help="gke: container image with scaling installed")] = None,
    zone: Annotated[str | None, typer.Option(help="tpu-vm: zone of the TPUs")] = None,
    spot: Annotated[bool, typer.Option("--spot", help="use preemptible devices, at their price")] = False,
    price: Annotated[
        float | None, typer.Option(help="price per device-hour in USD, instead of the list price")
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="script or manifest template of your own, based on those in launch/")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="also print the scripts or manifests")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Submit a sweep to a cluster, each run on the smallest slice that finishes it in time."""
    from scaling.config.load import load_sweep
    from scaling.launch.job import Job, Site
    from scaling.launch.slices import smallest_slice
    from scaling.launch.submit import decide, launcher_named, submit
    from scaling.sweep.design import expand

    if not on:
        raise BadInputError("--on: name the engine: local, slurm, gke, tpu-vm or skypilot")
    engine = launcher_named(on)
    for option, value in (("--within", within), ("--price", price)):
        if value is not None and not 0 < value < float("inf"):
            raise BadInputError(f"{option} {value:g}: give a positive number")
    if spot and not engine.rented:
        raise BadInputError(f"--spot: {on} rents nothing; it is for gke, tpu-vm and skypilot")
    config = load_sweep(sweep, overrides or ())
    directory = out or Path("runs") / config.name
    command = ("scaling",) if engine.rented else _this_command()
    site = Site(directory, config.name, command, bucket, image, zone, spot, within, template)
    kind = device or engine.default_device
    if kind.partition(":")[0] == "cpu":
        from scaling.commands.options import devices_named

        devices_named("cpu:1")  # measured when first needed
    jobs = [
        Job(
            smallest_slice(
                run,
                kind,
                within=within,
                price_kind="spot" if spot else "on-demand",
                usd_per_device_hour=price,
                accepted=engine.accepts,
            ),
            site,
        )
        for run in expand(config)
    ]
    if engine.rented and jobs[0].placement.cost.usd is None:
        raise BadInputError(f"--device {kind}: has no list price; give --price USD per device and hour")
    engine.submission(jobs[:1])  # refuses a bad template or path before anything is written
    if dry_run:
        decisions = decide(jobs, engine) if directory.is_dir() else decide_new(jobs)
    else:
        decisions = submit(config, jobs, engine, site, say)
    document = _document(engine, site, kind, decisions, dry_run)
    if as_json:
        print_json(document)
        return
    _print(engine, site, kind, document, decisions, dry_run, show)


def decide_new(jobs: "list[Job]") -> "list[Decision]":
    """Decisions for a sweep that has no directory yet."""
    from scaling.launch.submit import Decision

    return [Decision(job, True, "new") for job in jobs]


def _this_command() -> tuple[str, ...]:
    """The full path of `scaling`, by which machines that share this disk run it."""
    installed = Path(sys.executable).with_name("scaling")
    found = str(installed) if installed.is_file() else shutil.which("scaling")
    return (found,) if found else (sys.executable, "-m", "scaling.cli")


def _document(
    engine: "Launcher", site: "Site", kind: str, decisions: "list[Decision]", dry_run: bool
) -> dict[str, Any]:
    from scaling.estimate.counts import count_parameters

    rows = []
    for one in decisions:
        placement = one.job.placement
        cost = placement.cost
        rows.append(
            {
                "run": one.job.run_name,
                "id": one.job.run_id,
                "name": one.job.name,
                "params": count_parameters(placement.run.model).total,
                "devices": {"kind": placement.devices.hardware.name, "count": placement.devices.count},
                "slice": str(placement.devices),
                "hosts": placement.hosts,
                "mesh": placement.run.mesh.sizes(),
                "memory_bytes": placement.memory_bytes,
                "hours": placement.hours,
                "hours_high": placement.hours_high,
                "device_hours": cost.device_hours,
                "usd": cost.usd,
                "usd_interval": None if cost.usd is None else [cost.usd_low, cost.usd_high],
                "submit": one.submit,
                "reason": one.reason,
            }
        )
    known = [row["usd"] for row in rows]
    groups = engine.groups([one.job for one in decisions if one.submit])
    cost = decisions[0].job.placement.cost
    return {
        "sweep": site.sweep,
        "engine": engine.name,
        "device": kind,
        "within_hours": site.within,
        "dry_run": dry_run,
        "runs": rows,
        "usd": None if None in known else sum(known),  # type: ignore[arg-type]
        "device_hours": sum(row["device_hours"] for row in rows),
        "price": {
            "usd_per_device_hour": cost.usd_per_device_hour,
            "kind": cost.price_kind,
            "source": cost.price_source,
            "date": cost.price_date,
            "note": cost.price_note,
        },
        "submissions": [
            {"runs": [job.run_name for job in group], "text": engine.submission(group)} for group in groups
        ],
    }


def _print(
    engine: "Launcher",
    site: "Site",
    kind: str,
    document: dict[str, Any],
    decisions: "list[Decision]",
    dry_run: bool,
    scripts: bool,
) -> None:
    from scaling.tables import count_in_words, show, show_text, table

    def rounded(value: float | None) -> str:
        """Three significant digits: hours and prices are estimates."""
        if value is None:
            return "-"
        return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"

    def mesh(run: "RunConfig") -> str:
        sizes = [f"{axis}={size}" for axis, size in run.mesh.sizes().items() if size > 1]
        return ",".join(sizes) or "-"

    rows = []
    for row, one in zip(document["runs"], decisions, strict=True):
        rows.append(
            (
                row["run"],
                row["slice"],
                mesh(one.job.placement.run),
                count_in_words(row["params"]),
                str(row["hosts"]),
                rounded(row["hours"]),
                rounded(row["usd"]),
                "submit" if row["submit"] and row["reason"] == "new" else row["reason"],
            )
        )
    rows.append(
        (
            f"{len(rows)} runs",
            "",
            "",
            "",
            "",
            rounded(max(row["hours"] for row in document["runs"])),
            rounded(document["usd"]),
            "",
        )
    )
    what = "would be submitted" if dry_run else "submitted"
    title = (
        f"Sweep {site.sweep} on {engine.name}: each run on the smallest {kind} within {site.within:g} hours"
    )
    columns = ("run", "slice", "mesh", "params", "hosts", "hours", "USD", "action")
    show(table(title, columns, rows, left=3, words_last=True))
    price = document["price"]
    if price["usd_per_device_hour"] is not None:
        note = f"; {price['note']}" if price["note"] else ""
        by = "" if price["kind"] == "given" else f" of {price['source'].partition(':')[0]}"
        dated = f" ({price['date']})" if price["date"] else ""
        show_text(f"{price['usd_per_device_hour']:g} USD per device-hour, {price['kind']}{by}{dated}{note}.")
    turns = "runs take turns" if engine.name == "local" else "runs are submitted together"
    show_text(
        f"Last line: hours of the longest run ({turns}), USD of all, for {rounded(document['device_hours'])} "
        "device-hours. Intervals are in --json."
    )
    for group in document["submissions"] if scripts else ():
        typer.echo(f"\n--- {', '.join(group['runs'])}\n{group['text'].rstrip()}")
    count = sum(row["submit"] for row in document["runs"])
    typer.echo(
        f"{count} of {len(decisions)} runs {what}"
        + (" (--show prints the scripts)" if dry_run and not scripts else "")
    )
