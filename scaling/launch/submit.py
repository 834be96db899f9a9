"""Decides which runs of a sweep to submit, and submits them: never one that is finished, waiting or running.

`submissions.json` in the sweep directory is the ledger of what was submitted, where and under which name.
"""

import contextlib
import dataclasses
import datetime
import fcntl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from scaling.config.base import Frozen
from scaling.config.load import dump_yaml
from scaling.config.record import read_record
from scaling.config.sweep import SweepConfig
from scaling.launch.cloud import Gke, SkyPilot, TpuVm
from scaling.launch.job import Job, Site
from scaling.launch.launcher import Launcher
from scaling.launch.shared_disk import Local, Slurm
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically
from scaling.runtime.suggest import hint
from scaling.sweep.directory import finished_in, prepare
from scaling.train.lock import is_locked

FILE = "submissions.json"
_LOCK = "submissions.lock"
LAUNCHERS: dict[str, Launcher] = {one.name: one for one in (Local(), Slurm(), Gke(), TpuVm(), SkyPilot())}


class Submission(Frozen):
    """One run that was handed to an engine. `job` is null until the engine has answered."""

    run: str
    engine: str
    name: str  # for the engine
    job: str | None
    devices: str
    hours: float
    usd: float | None
    time: str


class Submissions(Frozen):
    """The content of `submissions.json` in a sweep directory, by run id."""

    runs: dict[str, Submission] = Field(default_factory=dict)

    def with_runs(self, more: dict[str, Submission]) -> "Submissions":
        """With submissions of further runs, or newer ones of the same runs."""
        return Submissions(runs={**self.runs, **more})


def read_submissions(directory: Path) -> Submissions:
    """The ledger of a sweep directory; empty if there is none.

    Raises:
        BadInputError: the file is damaged. Guessing what it said could submit a run twice.
    """
    path = directory / FILE
    try:
        return Submissions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Submissions()
    except (OSError, ValidationError) as error:
        raise BadInputError(
            f"{path}: not a ledger of submissions; repair it, or remove it to submit every run again"
        ) from error


def write_submissions(directory: Path, submissions: Submissions) -> None:
    """Write the ledger."""
    write_atomically(directory / FILE, submissions.model_dump_json(indent=2).encode() + b"\n")


@contextlib.contextmanager
def submitting(directory: Path) -> Iterator[None]:
    """Holds the lock of a sweep directory: no other process submits its runs meanwhile.

    Raises:
        BadInputError: another process holds the lock.
    """
    with (directory / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInputError(f"{directory}: another scaling launch is submitting this sweep") from error
        yield


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether a run is to be submitted, and the reason."""

    job: Job
    submit: bool
    reason: str


def launcher_named(name: str) -> Launcher:
    """The engine of that name.

    Raises:
        BadInputError: there is none.
    """
    if name not in LAUNCHERS:
        raise BadInputError(f"--on {name}: unknown engine; {hint(name, LAUNCHERS)}")
    return LAUNCHERS[name]


def decide(jobs: Sequence[Job], engine: Launcher) -> list[Decision]:
    """What to do with each run, from its record, the ledger and the scheduler."""
    if not jobs:
        return []
    site = jobs[0].site
    ledger = read_submissions(site.directory)
    elsewhere = finished_in(f"{site.bucket}/{site.sweep}") if site.bucket is not None else set()
    return [_decide(job, engine, ledger.runs.get(job.run_id), elsewhere) for job in jobs]


def _decide(job: Job, engine: Launcher, earlier: Submission | None, elsewhere: set[str]) -> Decision:
    path = job.site.directory / job.run_name
    try:
        record = read_record(path)
    except BadInputError:
        record = None  # damaged: the run rewrites it
    if job.run_id in elsewhere or (record and record.id == job.run_id and record.status == "finished"):
        return Decision(job, False, "finished")
    if is_locked(path):
        return Decision(job, False, "running on this machine")
    if earlier is None:
        return Decision(job, True, "new")
    called = f"{earlier.engine} job {earlier.job or earlier.name}"
    if earlier.engine != engine.name:
        state = launcher_named(earlier.engine).state(earlier.name, earlier.job, job.site)
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
    sweep: SweepConfig, jobs: Sequence[Job], engine: Launcher, site: Site, say: Callable[[str], None]
) -> list[Decision]:
    """Submits the runs that need it. Each group is written to the ledger before it is handed to the engine.

    Raises:
        BadInputError: the directory cannot be written, another process is submitting it, or the engine
            refuses. The ledger then contains what had been submitted before.
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
                write_submissions(site.directory, before)  # refused: nothing was submitted
                raise
            _note(site.directory, engine, group, names)
            said = ", ".join(job.run_name for job in group)
            say(f"submitted to {engine.name} as {' '.join(dict.fromkeys(names))}: {said}")
    return decisions


def _note(directory: Path, engine: Launcher, group: Sequence[Job], names: Sequence[str | None]) -> None:
    noted = {
        job.run_id: Submission(
            run=job.run_name,
            engine=engine.name,
            name=job.name,
            job=name,
            devices=str(job.placement.devices),
            hours=job.placement.hours,
            usd=job.placement.cost.usd,
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        for job, name in zip(group, names, strict=True)
    }
    write_submissions(directory, read_submissions(directory).with_runs(noted))
