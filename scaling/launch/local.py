"""This machine: the runs of a sweep one after the other, in a process of their own."""

import os
import shlex
import string
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.engine import State
from scaling.launch.job import Job, Site
from scaling.launch.slices import host_chips

_SCRIPT = string.Template("""\
#!/usr/bin/env bash
# $title
set -uo pipefail
failed=0
runs=($runs)
for run in "$${runs[@]}"; do
    $command train $configs/"$$run".yaml --out $directory/"$$run"
    code=$$?
    if [ "$$code" -ge 128 ]; then exit "$$code"; fi  # asked to stop: the other runs too
    if [ "$$code" -ne 0 ]; then failed=1; fi
done
exit "$$failed"
""")


class Local:
    """The computer that the command is typed on."""

    name = "local"
    suffix = ".sh"
    default_device = "cpu"
    rented = False

    def accepts(self, devices: Devices) -> bool:
        """What one machine holds."""
        return devices.slices == 1 and devices.chips <= host_chips(devices)

    def check(self, site: Site) -> None:
        """Nothing more is needed."""

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """One after the other."""
        return [list(jobs)] if jobs else []

    def submission(self, jobs: Sequence[Job]) -> str:
        """The script that trains them in turn."""
        site = jobs[0].site
        directory = site.directory.absolute()
        return _SCRIPT.substitute(
            title=f"{len(jobs)} runs of the sweep {site.sweep}, one after the other",
            runs=" ".join(shlex.quote(job.run_name) for job in jobs),
            command=shlex.join(site.command),
            configs=shlex.quote(str(directory / "launch")),
            directory=shlex.quote(str(directory)),
        )

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Start the script in a session of its own, which outlives the terminal's."""
        with file.with_suffix(".log").open("ab") as log:
            started = subprocess.Popen(
                ["bash", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return [f"{started.pid}@{_began(started.pid)}"] * len(jobs)

    def state(self, name: str, job: str | None, site: Site) -> State:
        """Whether the process is still the one that was started."""
        pid, _, began = (job or "").partition("@")
        if not pid.isdecimal():
            return "unknown"
        return "alive" if _began(int(pid)) == began and _runs(int(pid)) else "gone"


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks: what tells it from a later one of the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
