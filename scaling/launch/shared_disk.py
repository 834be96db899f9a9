"""Machines that share a disk with this one: this machine itself, and SLURM clusters.

SLURM starts a process per GPU, or per machine without GPUs, and JAX finds the processes of a job step by
itself. A run that lost a process or a node, or reached its time limit, is requeued and resumes from its
checkpoint. A run that failed with exit code 1 or 2 is not requeued.
"""

import hashlib
import math
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.job import Job, Site, Values, shared_disk_values
from scaling.launch.launcher import (
    Launcher,
    State,
    call,
    query,
)
from scaling.launch.slices import host_chips
from scaling.runtime.errors import BadInputError


class Local(Launcher):
    """This machine: the runs of a sweep one after another in a background process."""

    name = "local"
    template = "local/sweep.sh"
    suffix = ".sh"
    default_device = "cpu"
    rented = False

    def accepts(self, devices: Devices) -> bool:
        """Slices of a single machine."""
        return devices.slices == 1 and devices.chips <= host_chips(devices)

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """All runs in one script."""
        return [list(jobs)] if jobs else []

    def values(self, jobs: Sequence[Job]) -> Values:
        """The runs and the directories of their configs and results."""
        return shared_disk_values(jobs)

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Start the script in its own session, so that it survives the terminal."""
        with file.with_suffix(".log").open("ab") as log:
            started = subprocess.Popen(
                ["bash", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return [f"{started.pid}@{_start_time(started.pid)}"] * len(jobs)

    def state(self, name: str, job: str | None, site: Site) -> State:
        """Whether the process still runs."""
        pid, _, began = (job or "").partition("@")
        if not pid.isdecimal():
            return "unknown"
        return "alive" if _start_time(int(pid)) == began and _runs(int(pid)) else "gone"


def _start_time(pid: int) -> str:
    """When a process started, in kernel ticks; distinguishes processes that reuse an id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _runs(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_LONGEST = 365 * 24 * 60  # minutes


class Slurm(Launcher):
    """SLURM: an array job for all runs with slices of the same shape."""

    name = "slurm"
    template = "slurm/array.sh"
    suffix = ".sbatch"
    default_device = "h100-sxm"
    rented = False

    def accepts(self, devices: Devices) -> bool:
        """CPUs and GPUs; SLURM does not schedule TPUs."""
        return devices.hardware.platform != "tpu"

    def check(self, site: Site) -> None:
        """Refuses a path that sbatch would interpret as a pattern."""
        if set("%\\\n\"'") & set(str(site.directory)):
            raise BadInputError(
                f"--out {site.directory}: SLURM interprets %, quotes and backslashes in a path; rename it"
            )

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """An array for the runs with slices of the same shape."""
        shapes: dict[tuple[str, float], list[Job]] = {}
        for job in jobs:
            shapes.setdefault((str(job.placement.devices), job.site.within), []).append(job)
        return list(shapes.values())

    def values(self, jobs: Sequence[Job]) -> Values:
        """The array and its slice."""
        placement, site = jobs[0].placement, jobs[0].site
        self.check(site)
        values = shared_disk_values(jobs)
        chips = host_chips(placement.devices)
        gpus = placement.devices.hardware.platform == "gpu"
        return values | {
            "NAME": _array_name(jobs),
            "LAST": len(jobs) - 1,
            "NODES": placement.hosts,
            "TASKS": chips if gpus else 1,
            "GPUS": chips if gpus else None,
            "MINUTES": min(math.ceil(60 * site.within), _LONGEST),
            "LOG": values["CONFIGS"] / "%x-%a.log",
        }

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Submit the array; its tasks are in the order of the jobs."""
        number = call(["sbatch", "--parsable", str(file)], "--on slurm").strip().partition(";")[0]
        return [f"{number}_{task}" for task in range(len(jobs))]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """The state in squeue; an array task that is no longer listed is gone."""
        if job is None:
            return "unknown"
        command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
        state, listed = query(command, missing="Invalid job id")
        return "gone" if state == "alive" and not listed else state


def _array_name(jobs: Sequence[Job]) -> str:
    ids = " ".join(job.run_id for job in jobs)
    return f"{jobs[0].site.sweep}-{hashlib.sha256(ids.encode()).hexdigest()[:6]}"
