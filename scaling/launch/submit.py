"""Submits the runs of a sweep, except those that are finished, waiting or running.

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
    """A submitted run. `job` is null until the scheduler has answered."""

    run: str
    engine: str
    name: str  # of the job
    job: str | None
    devices: str
    hours: float
    usd: float | None
    time: str


class Submissions(Frozen):
    """The content of `submissions.json` in a sweep directory, by run id."""

    runs: dict[str, Submission] = Field(default_factory=dict)

    def with_runs(self, more: dict[str, Submission]) -> "Submissions":
        """The content with new submissions added; newer ones replace those of the same run."""
        return Submissions(runs={**self.runs, **more})


def read_submissions(directory: Path) -> Submissions:
    """The ledger of a sweep directory; empty if there is none.

    Raises:
        BadInputError: the file is damaged; ignoring it could submit a run twice.
    """
    path = directory / FILE
    try:
        return Submissions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Submissions()
    except (OSError, ValidationError) as error:
        raise BadInputError(
            f"{path}: is not a ledger of submissions; repair it, or remove it to submit every run again"
        ) from error


def write_submissions(directory: Path, submissions: Submissions) -> None:
    """Write submissions.json."""
    write_atomically(directory / FILE, submissions.model_dump_json(indent=2).encode() + b"\n")


@contextlib.contextmanager
def submitting(directory: Path) -> Iterator[None]:
    """Hold the lock of a sweep directory, so that no other process submits its runs.

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
    """Whether a run is submitted, and why."""

    job: Job
    submit: bool
    reason: str


def launcher_named(name: str) -> Launcher:
    """The launcher of a name; raises BadInputError if there is none."""
    if name not in LAUNCHERS:
        raise BadInputError(f"--on {name}: unknown engine; {hint(name, LAUNCHERS)}")
    return LAUNCHERS[name]


def decide(jobs: Sequence[Job], launcher: Launcher) -> list[Decision]:
    """Which runs to submit, by their records, the ledger and the scheduler."""
    if not jobs:
        return []
    site = jobs[0].site
    ledger = read_submissions(site.directory)
    elsewhere = finished_in(f"{site.bucket}/{site.sweep}") if site.bucket is not None else set()
    return [_decide(job, launcher, ledger.runs.get(job.run_id), elsewhere) for job in jobs]


def _decide(job: Job, launcher: Launcher, earlier: Submission | None, elsewhere: set[str]) -> Decision:
    path = job.site.directory / job.run_name
    try:
        record = read_record(path)
    except BadInputError:
        record = None  # damaged; the run rewrites it
    if job.run_id in elsewhere or (record and record.id == job.run_id and record.status == "finished"):
        return Decision(job, False, "finished")
    if is_locked(path):
        return Decision(job, False, "running on this machine")
    if earlier is None:
        return Decision(job, True, "new")
    job_name = f"{earlier.engine} job {earlier.job or earlier.name}"
    if earlier.engine != launcher.name:
        state = launcher_named(earlier.engine).state(earlier.name, earlier.job, job.site)
    else:
        state = launcher.state(earlier.name, earlier.job, job.site)
    if state == "alive":
        return Decision(job, False, f"submitted as {job_name}")
    if state == "gone":
        return Decision(job, True, f"again: {job_name} has ended, the run has not")
    return Decision(
        job, False, f"submitted as {job_name}, whose state is unknown; if it is gone, remove it from {FILE}"
    )


def submit(
    sweep: SweepConfig, jobs: Sequence[Job], launcher: Launcher, site: Site, say: Callable[[str], None]
) -> list[Decision]:
    """Submit the runs that need it. Each group is written to the ledger before it is submitted.

    Raises:
        BadInputError: the directory cannot be written, another process is submitting the sweep, or the
            scheduler refuses; the ledger then contains what was submitted before.
    """
    launcher.check(site)
    prepare(sweep, site.directory)
    (site.directory / "launch").mkdir(exist_ok=True)
    with submitting(site.directory):
        decisions = decide(jobs, launcher)
        chosen = [one.job for one in decisions if one.submit]
        for group in launcher.groups(chosen):
            for job in group:
                write_atomically(job.config, dump_yaml(job.placement.run).encode())
            file = site.directory / "launch" / f"{group[0].name}{launcher.suffix}"
            write_atomically(file, launcher.submission(group).encode())
            before = read_submissions(site.directory)
            _note(site.directory, launcher, group, [None] * len(group))
            try:
                names = launcher.submit(group, file)
            except BadInputError:
                write_submissions(site.directory, before)  # refused: nothing was submitted
                raise
            _note(site.directory, launcher, group, names)
            runs = ", ".join(job.run_name for job in group)
            say(f"submitted to {launcher.name} as {' '.join(dict.fromkeys(names))}: {runs}")
    return decisions


def _note(directory: Path, launcher: Launcher, group: Sequence[Job], names: Sequence[str | None]) -> None:
    noted = {
        job.run_id: Submission(
            run=job.run_name,
            engine=launcher.name,
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
