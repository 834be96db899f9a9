"""A sweep on a cluster: `launch`."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.arguments import Overrides, check_positive, devices_named
from scaling.api.progress import say
from scaling.api.results import TableResult
from scaling.api.runs import sweep_config
from scaling.api.text.blocks import Block
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.sweep import SweepConfig
    from scaling.launch.job import Site
    from scaling.launch.launcher import Launcher
    from scaling.launch.submit import Decision

_MONTH = 720.0


@dataclass(frozen=True, repr=False)
class Launch(TableResult):
    """The slice, hours and price of each run of a sweep, and whether it is submitted. The table has a row per
    run."""

    document: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return dict(self.document)

    def rows(self) -> Sequence[Mapping[str, Any]]:  # noqa: D102
        return self.document["runs"]

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.runs import launch_blocks

        return launch_blocks(self.document)


def launch(
    sweep: "str | Path | Mapping[str, Any] | SweepConfig",
    overrides: Overrides = None,
    *,
    on: str,
    device: str | None = None,
    within: float = _MONTH,
    out: str | Path | None = None,
    bucket: str | None = None,
    image: str | None = None,
    zone: str | None = None,
    spot: bool = False,
    price: float | None = None,
    template: str | Path | None = None,
    dry_run: bool = False,
) -> Launch:
    """Submit a sweep to a cluster, each run on the smallest slice that finishes it in time.

    Args:
        sweep: a sweep: a name in `configs/sweeps/`, a path to a YAML file, a config
            object, or its fields as a mapping.
        overrides: changes of the config.
        on: engine: local, slurm, gke, tpu-vm or skypilot.
        device: device kind, to find the smallest slice; or one slice, `"tpu-v5p:4x4x4"` for example.
        within: most hours per run.
        out: local sweep directory; runs/NAME by default.
        bucket: gke, tpu-vm, skypilot: where the runs are stored, gs://NAME/FOLDER.
        image: gke: container image with scaling installed.
        zone: tpu-vm: zone of the TPUs.
        spot: use preemptible devices, at their price.
        price: price per device-hour in USD, instead of the list price.
        template: script or manifest template of your own, based on those in `launch/`.
        dry_run: decide, and submit nothing.

    Returns:
        Slice, mesh, hours and price of each run, and the scripts or manifests.

    Raises:
        BadInputError: an unknown engine, a run that no slice finishes in time, or a missing option.

    Example:
        >>> scaling.launch("demo", on="slurm", device="h100-sxm", dry_run=True).to_frame()
    """
    from scaling.launch.job import Job, Site
    from scaling.launch.slices import smallest_slice
    from scaling.launch.submit import Decision, decide, launcher_named, submit
    from scaling.sweep.design import expand

    if not on:
        raise BadInputError("--on: name the engine: local, slurm, gke, tpu-vm or skypilot")
    engine = launcher_named(on)
    check_positive(within=within, price=price)
    if spot and not engine.rented:
        raise BadInputError(f"--spot: {on} rents nothing; it is for gke, tpu-vm and skypilot")
    config = sweep_config(sweep, overrides)
    directory = Path(out or Path("runs") / config.name)
    command = ("scaling",) if engine.rented else this_command()
    own = None if template is None else Path(template)
    site = Site(directory, config.name, command, bucket, image, zone, spot, within, own)
    kind = device or engine.default_device
    if kind.partition(":")[0] == "cpu":
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
    if not dry_run:
        decisions = submit(config, jobs, engine, site, say)
    elif directory.is_dir():
        decisions = decide(jobs, engine)
    else:
        decisions = [Decision(job, True, "new") for job in jobs]
    return Launch(_document(engine, site, kind, decisions, dry_run))


def this_command() -> tuple[str, ...]:
    """The full path of `scaling`, by which machines that share this disk run it."""
    installed = Path(sys.executable).with_name("scaling")
    found = str(installed) if installed.is_file() else shutil.which("scaling")
    return (found,) if found else (sys.executable, "-m", "scaling.cli")


def _document(
    engine: "Launcher", site: "Site", kind: str, decisions: "Sequence[Decision]", dry_run: bool
) -> dict[str, Any]:
    rows = [_row(one) for one in decisions]
    usd = [row["usd"] for row in rows]
    groups = engine.groups([one.job for one in decisions if one.submit])
    cost = decisions[0].job.placement.cost
    return {
        "sweep": site.sweep,
        "engine": engine.name,
        "device": kind,
        "within_hours": site.within,
        "dry_run": dry_run,
        "runs": rows,
        "usd": None if None in usd else sum(usd),
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


def _row(decision: "Decision") -> dict[str, Any]:
    from scaling.estimate.counts import count_parameters

    job, placement, cost = decision.job, decision.job.placement, decision.job.placement.cost
    return {
        "run": job.run_name,
        "id": job.run_id,
        "name": job.name,
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
        "submit": decision.submit,
        "reason": decision.reason,
    }
