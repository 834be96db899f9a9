"""SLURM: an array job for all runs with slices of the same shape.

There is a process per GPU, or per machine without GPUs; JAX finds the processes of a job step by itself. A
run that lost a process or a node, or reached its time limit, is requeued and resumes from its checkpoint. A
run that failed for good (exit codes 1 and 2) is not requeued.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.engine import Engine, State, call, query
from scaling.launch.job import Job, Site, shared_disk_values
from scaling.launch.slices import host_chips
from scaling.launch.template import Values
from scaling.runtime.errors import BadInputError

_LONGEST = 365 * 24 * 60  # minutes


class Slurm(Engine):
    """A cluster whose machines share a disk with this one."""

    name = "slurm"
    template = "slurm/array.sh"
    suffix = ".sbatch"
    default_device = "h100-sxm"
    rented = False

    def accepts(self, devices: Devices) -> bool:
        """CPUs and GPUs; SLURM does not schedule TPUs."""
        return devices.hardware.platform != "tpu"

    def check(self, site: Site) -> None:
        """Refuses a path that sbatch would read as a pattern."""
        if set("%\\\n\"'") & set(str(site.directory)):
            raise BadInputError(
                f"--out {site.directory}: SLURM reads %, quotes and backslashes in a path; rename it"
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
        """The state in squeue; an array task that it no longer lists is gone."""
        if job is None:
            return "unknown"
        command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
        state, listed = query(command, missing="Invalid job id")
        return "gone" if state == "alive" and not listed else state


def _array_name(jobs: Sequence[Job]) -> str:
    ids = " ".join(job.run_id for job in jobs)
    return f"{jobs[0].site.sweep}-{hashlib.sha256(ids.encode()).hexdigest()[:6]}"
