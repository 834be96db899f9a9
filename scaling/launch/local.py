"""This machine: the runs of a sweep one after the other, in a background process."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.engine import Engine, State
from scaling.launch.job import Job, Site, shared_disk_values
from scaling.launch.slices import host_chips
from scaling.launch.template import Values


class Local(Engine):
    """The machine on which the command is run."""

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
        """The runs, and the folders of their configs and results."""
        return shared_disk_values(jobs)

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Start the script in its own session, so that it survives the end of the terminal's."""
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
        """Whether the process that was started still runs."""
        pid, _, began = (job or "").partition("@")
        if not pid.isdecimal():
            return "unknown"
        return "alive" if _start_time(int(pid)) == began and _runs(int(pid)) else "gone"


def _start_time(pid: int) -> str:
    """When a process started, in kernel ticks; distinguishes it from a later process with the same id."""
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
