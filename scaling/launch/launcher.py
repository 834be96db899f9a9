"""What every launcher provides, and how the command-line programs of schedulers are called."""

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
    """Submits runs to a scheduler or to a service that rents devices; `--on` selects one by `name`."""

    name: str
    template: str  # path in launch/
    suffix: str  # of the files that are submitted
    default_device: str  # without --device
    rented: bool  # whether devices cost their list price

    @abstractmethod
    def accepts(self, devices: Devices) -> bool:
        """Whether such a slice can be requested."""

    def check(self, site: Site) -> None:  # noqa: B027 (not every launcher needs something)
        """Raises BadInputError if something that a submission needs is missing."""

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Groups of jobs that are submitted together; by default one job each."""
        return [[job] for job in jobs]

    @abstractmethod
    def values(self, jobs: Sequence[Job]) -> Values:
        """The values of the placeholders of the template for one group."""

    def submission(self, jobs: Sequence[Job]) -> str:
        """The script or manifest of one group.

        Raises:
            BadInputError: such a job is not accepted, or the template cannot be filled in.
        """
        kind = "yaml" if self.template.endswith(".yaml") else "shell"
        return fill(jobs[0].site.template or template_file(self.template), self.values(jobs), kind)

    @abstractmethod
    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Submit the file of one group; returns the identifier of each job."""

    @abstractmethod
    def state(self, name: str, job: str | None, site: Site) -> State:
        """Whether a job submitted earlier is still waiting or running."""


def call(command: Sequence[str], what: str) -> str:
    """The output of a command of a scheduler.

    Raises:
        BadInputError: the program is not installed, or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BadInputError(f"{what}: cannot start {command[0]} ({error.strerror})") from error
    if done.returncode:
        message = " ".join((done.stderr or done.stdout).split())[:300]
        raise BadInputError(f"{what}: {command[0]} failed: {message}")
    return done.stdout


def query(command: Sequence[str], *, missing: str) -> tuple[State, str]:
    """The state of a job from a command that prints it, and the output of the command.

    The job is gone if the command fails with the words `missing`; after another failure its state is unknown.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown", ""
    if done.returncode:
        return ("gone" if missing.lower() in done.stderr.lower() else "unknown"), ""
    return "alive", done.stdout.strip()
