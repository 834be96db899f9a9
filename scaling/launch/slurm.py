"""SLURM: an array job for the runs of one shape; a process for each GPU, or for each machine without any.

JAX finds the processes of a step by itself. A run that lost a process or a node, or came to its time limit,
goes back into the queue and on from its checkpoint; one that failed for good (exit codes 1 and 2) does not.
"""

import hashlib
import math
import shlex
import string
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.launch.engine import State, ask, call
from scaling.launch.job import Job, Site
from scaling.launch.slices import host_chips

_MOST_RESTARTS = 100
_LONGEST = 365 * 24 * 60  # minutes
_GRACE_SECONDS = 180  # between SIGTERM and the end of the time limit: a step and a checkpoint

_SCRIPT = string.Template("""\
#!/usr/bin/env bash
# $title
#SBATCH --job-name=$name
#SBATCH --array=0-$last
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=$tasks
$gpus#SBATCH --time=$minutes
#SBATCH --signal=TERM@$grace
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=$log
set -uo pipefail

runs=($runs)
run=$${runs[$$SLURM_ARRAY_TASK_ID]}
# 75: a process was lost; more than 128: a signal, the time limit's among them. The next start goes on. Every
# process sees to it, for srun waits for a node's lost ones until SLURM takes the node for dead.
# shellcheck disable=SC2016
process='trap : TERM
"$$@"
code=$$?
if [ "$$code" -ge $again ] && [ "$${SLURM_RESTART_COUNT:-0}" -lt $most ]; then
    scontrol requeue "$$SLURM_JOB_ID"
fi
exit "$$code"'
srun --kill-on-bad-exit=1 bash -c "$$process" process \\
    $command train $configs/"$$run".yaml --out $directory/"$$run"
code=$$?
if [ "$$code" -ge $again ] && [ "$${SLURM_RESTART_COUNT:-0}" -lt $most ]; then
    scontrol requeue "$$SLURM_JOB_ID"
fi
exit "$$code"
""")


class Slurm:
    """A cluster whose machines share a disk with this one."""

    name = "slurm"
    suffix = ".sbatch"
    default_device = "h100-sxm"
    rented = False

    def accepts(self, devices: Devices) -> bool:
        """TPUs are not under SLURM."""
        return devices.hardware.platform != "tpu"

    def check(self, site: Site) -> None:
        """Of a path that sbatch would take for a pattern."""
        if set("%\\\n\"'") & set(str(site.directory)):
            raise BadInputError(
                f"--out {site.directory}: SLURM reads %, quotes and backslashes in a path; rename it"
            )

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Runs of the same shape are one array."""
        shapes: dict[tuple[str, float], list[Job]] = {}
        for job in jobs:
            shapes.setdefault((str(job.placement.devices), job.site.within), []).append(job)
        return list(shapes.values())

    def submission(self, jobs: Sequence[Job]) -> str:
        """The sbatch script of an array."""
        first = jobs[0]
        devices, site = first.placement.devices, first.site
        self.check(site)
        gpus = devices.hardware.platform == "gpu"
        chips = host_chips(devices)
        directory = site.directory.absolute()
        return _SCRIPT.substitute(
            title=f"{len(jobs)} runs of the sweep {site.sweep}, each on {devices}",
            name=shlex.quote(_array_name(jobs)),
            last=len(jobs) - 1,
            nodes=first.placement.hosts,
            tasks=chips if gpus else 1,
            gpus=f"#SBATCH --gpus-per-node={chips}\n" if gpus else "",
            minutes=min(math.ceil(60 * site.within), _LONGEST),
            grace=_GRACE_SECONDS,
            log=shlex.quote(str(directory / "launch" / "%x-%a.log")),
            runs=" ".join(shlex.quote(job.run_name) for job in jobs),
            command=shlex.join(site.command),
            configs=shlex.quote(str(directory / "launch")),
            directory=shlex.quote(str(directory)),
            again=75,
            most=_MOST_RESTARTS,
        )

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """One sbatch; the tasks of its array in the order of the jobs."""
        number = call(["sbatch", "--parsable", str(file)], "--on slurm").strip().partition(";")[0]
        return [f"{number}_{task}" for task in range(len(jobs))]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """What squeue says; an array task that it no longer lists is gone."""
        if job is None:
            return "unknown"
        state, said = ask(["squeue", "--noheader", "--format=%T", f"--jobs={job}"], missing="Invalid job id")
        return "gone" if state == "alive" and not said else state


def _array_name(jobs: Sequence[Job]) -> str:
    ids = " ".join(job.run_id for job in jobs)
    return f"{jobs[0].site.sweep}-{hashlib.sha256(ids.encode()).hexdigest()[:6]}"
