"""What every engine can do, and how its programs are called."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.launch.job import Job, Site

State = Literal["alive", "gone", "unknown"]


class Engine(Protocol):
    """One kind of scheduler.

    `default_device` is the kind of device where none is asked for; `rented` whether its devices cost what
    their list price says.
    """

    name: str
    suffix: str
    default_device: str
    rented: bool

    def accepts(self, devices: Devices) -> bool:
        """Whether such a slice can be asked for here."""

    def check(self, site: Site) -> None:
        """Raises BadInputError where something that a real submission needs is missing."""

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Jobs that are submitted together."""

    def submission(self, jobs: Sequence[Job]) -> str:
        """The script or manifest of one group."""

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Submit a group's file; what the engine calls each job."""

    def state(self, name: str, job: str | None, site: Site) -> State:
        """Whether a job that was submitted before is waiting or running."""


def call(command: Sequence[str], what: str) -> str:
    """The output of a scheduler's program.

    Raises:
        BadInputError: it is not installed, or it refuses.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BadInputError(f"{what}: cannot start {command[0]} ({error.strerror})") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise BadInputError(f"{what}: {command[0]} says: {said}")
    return done.stdout


def ask(command: Sequence[str], *, missing: str) -> tuple[State, str]:
    """A program's answer: `gone` where it fails with the words `missing`, `unknown` where with others."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown", ""
    if done.returncode:
        return ("gone" if missing.lower() in done.stderr.lower() else "unknown"), ""
    return "alive", done.stdout.strip()
