"""The ledger of submissions: which run of a sweep went where, and as what: why nothing is submitted twice."""

import contextlib
import datetime
import fcntl
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from scaling.config.base import Frozen
from scaling.config.errors import BadInputError
from scaling.config.files import write_atomically

FILE = "submissions.json"
_LOCK = "submissions.lock"


class Submission(Frozen):
    """One run that was handed to an engine. `job` is null from before it was until the engine answered."""

    run: str
    engine: str
    name: str  # as the engine knows it
    job: str | None
    devices: str
    hours: float
    usd: float | None
    time: str


class Submissions(Frozen):
    """What `submissions.json` in a sweep directory holds, by the id of the run."""

    runs: dict[str, Submission] = Field(default_factory=dict)

    def with_runs(self, more: dict[str, Submission]) -> "Submissions":
        """With further runs, or newer submissions of the same."""
        return Submissions(runs={**self.runs, **more})


def read_submissions(directory: Path) -> Submissions:
    """The ledger of a sweep directory, empty where there is none.

    Raises:
        BadInputError: the file is there and is not one: guessing could submit a run twice.
    """
    path = directory / FILE
    try:
        return Submissions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Submissions()
    except (OSError, ValidationError) as error:
        raise BadInputError(
            f"{path}: not a ledger of submissions; mend it, or remove it to submit anew"
        ) from error


def write_submissions(directory: Path, submissions: Submissions) -> None:
    """Replace the ledger."""
    write_atomically(directory / FILE, submissions.model_dump_json(indent=2).encode() + b"\n")


@contextlib.contextmanager
def submitting(directory: Path) -> Iterator[None]:
    """Inside, no other process submits runs of this sweep directory.

    Raises:
        BadInputError: another one does.
    """
    with (directory / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInputError(f"{directory}: another scaling launch is submitting this sweep") from error
        yield


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
