"""What every engine provides, and how its command-line programs are called."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from scaling.config.devices import Devices
from scaling.launch.job import Job, Site, Values, fill, template_file
from scaling.runtime.errors import BadInputError

State = Literal["alive", "gone", "unknown"]


class Launcher(ABC):
    """A scheduler, or a service that rents devices, to which runs are submitted."""

    name: str
    template: str  # path in launch/
    suffix: str  # of the files that are submitted
    default_device: str  # where the command names none
    rented: bool  # whether the list price of its devices is what they cost

    @abstractmethod
    def accepts(self, devices: Devices) -> bool:
        """Whether the engine has such a slice."""

    def check(self, site: Site) -> None:  # noqa: B027 (not every engine needs something)
        """Raises BadInputError if something that a real submission needs is missing."""

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Jobs that are submitted together; by default each is submitted alone."""
        return [[job] for job in jobs]

    @abstractmethod
    def values(self, jobs: Sequence[Job]) -> Values:
        """What the placeholders of the template stand for, for one group."""

    def submission(self, jobs: Sequence[Job]) -> str:
        """The script or manifest of one group.

        Raises:
            BadInputError: the engine refuses such a job, or the user's template cannot be filled in.
        """
        kind = "yaml" if self.template.endswith(".yaml") else "shell"
        return fill(jobs[0].site.template or template_file(self.template), self.values(jobs), kind)

    @abstractmethod
    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Submit the file of one group; returns the engine's identifier of each job."""

    @abstractmethod
    def state(self, name: str, job: str | None, site: Site) -> State:
        """Whether a job that was submitted earlier is still waiting or running."""


def call(command: Sequence[str], what: str) -> str:
    """The output of a scheduler's program.

    Raises:
        BadInputError: the program is not installed, or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BadInputError(f"{what}: cannot start {command[0]} ({error.strerror})") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise BadInputError(f"{what}: {command[0]} failed: {said}")
    return done.stdout


def query(command: Sequence[str], *, missing: str) -> tuple[State, str]:
    """The state of a job by a program that reports on it, and the program's output.

    A program that fails with the words `missing` no longer knows the job. After any other failure the state
    is unknown.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown", ""
    if done.returncode:
        return ("gone" if missing.lower() in done.stderr.lower() else "unknown"), ""
    return "alive", done.stdout.strip()
