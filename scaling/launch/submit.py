"""Decide which runs of a sweep to submit, and submit them: never one that is finished, waiting or running."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from scaling.config.errors import BadInputError
from scaling.config.files import write_atomically
from scaling.config.load import dump_yaml
from scaling.config.record import read_record
from scaling.config.suggest import hint
from scaling.config.sweep import SweepConfig
from scaling.launch.engine import Engine
from scaling.launch.gke import Gke
from scaling.launch.job import Job, Site
from scaling.launch.local import Local
from scaling.launch.skypilot import SkyPilot
from scaling.launch.slurm import Slurm
from scaling.launch.submissions import (
    FILE,
    Submission,
    now,
    read_submissions,
    submitting,
    write_submissions,
)
from scaling.launch.tpu_vm import TpuVm
from scaling.sweep.bucket import finished_in
from scaling.sweep.directory import prepare
from scaling.train.lock import is_locked

ENGINES: dict[str, Engine] = {one.name: one for one in (Local(), Slurm(), Gke(), TpuVm(), SkyPilot())}


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether a run is to be submitted, and why not."""

    job: Job
    submit: bool
    reason: str


def engine_named(name: str) -> Engine:
    """An engine.

    Raises:
        BadInputError: there is none of that name.
    """
    if name not in ENGINES:
        raise BadInputError(f"--on {name}: unknown engine; {hint(name, ENGINES)}")
    return ENGINES[name]


def decide(jobs: Sequence[Job], engine: Engine) -> list[Decision]:
    """What to do with each run, by its record, the ledger of submissions and the scheduler."""
    if not jobs:
        return []
    site = jobs[0].site
    ledger = read_submissions(site.directory)
    elsewhere = finished_in(f"{site.bucket}/{site.sweep}") if site.bucket is not None else set()
    return [_decide(job, engine, ledger.runs.get(job.run_id), elsewhere) for job in jobs]


def _decide(job: Job, engine: Engine, earlier: Submission | None, elsewhere: set[str]) -> Decision:
    path = job.site.directory / job.run_name
    try:
        record = read_record(path)
    except BadInputError:
        record = None  # damaged: the run writes it again
    if job.run_id in elsewhere or (record and record.id == job.run_id and record.status == "finished"):
        return Decision(job, False, "finished")
    if is_locked(path):
        return Decision(job, False, "running on this machine")
    if earlier is None:
        return Decision(job, True, "new")
    called = f"{earlier.engine} job {earlier.job or earlier.name}"
    if earlier.engine != engine.name:
        state = engine_named(earlier.engine).state(earlier.name, earlier.job, job.site)
    else:
        state = engine.state(earlier.name, earlier.job, job.site)
    if state == "alive":
        return Decision(job, False, f"submitted as {called}")
    if state == "gone":
        return Decision(job, True, f"again: {called} has ended, the run has not")
    return Decision(
        job, False, f"submitted as {called}, which cannot be asked; if it is gone, take it from {FILE}"
    )


def submit(
    sweep: SweepConfig, jobs: Sequence[Job], engine: Engine, site: Site, say: Callable[[str], None]
) -> list[Decision]:
    """Submit what has to be; every group is in the ledger before the engine hears of it.

    Raises:
        BadInputError: the directory cannot be written or is being submitted by another process, or the engine
            refuses. What was submitted before that is in the ledger.
    """
    engine.check(site)
    prepare(sweep, site.directory)
    (site.directory / "launch").mkdir(exist_ok=True)
    with submitting(site.directory):
        decisions = decide(jobs, engine)
        chosen = [one.job for one in decisions if one.submit]
        for group in engine.groups(chosen):
            for job in group:
                write_atomically(job.config, dump_yaml(job.placement.run).encode())
            file = site.directory / "launch" / f"{group[0].name}{engine.suffix}"
            write_atomically(file, engine.submission(group).encode())
            before = read_submissions(site.directory)
            _note(site.directory, engine, group, [None] * len(group))
            try:
                names = engine.submit(group, file)
            except BadInputError:
                write_submissions(site.directory, before)  # it was refused: nothing went out
                raise
            _note(site.directory, engine, group, names)
            said = ", ".join(job.run_name for job in group)
            say(f"submitted to {engine.name} as {' '.join(dict.fromkeys(names))}: {said}")
    return decisions


def _note(directory: Path, engine: Engine, group: Sequence[Job], names: Sequence[str | None]) -> None:
    noted = {
        job.run_id: Submission(
            run=job.run_name,
            engine=engine.name,
            name=job.name,
            job=name,
            devices=str(job.placement.devices),
            hours=job.placement.hours,
            usd=job.placement.cost.usd,
            time=now(),
        )
        for job, name in zip(group, names, strict=True)
    }
    write_submissions(directory, read_submissions(directory).with_runs(noted))
