"""The ledger of a sweep: every run it plans, and how far each has come."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scaling.config.record import RunRecord, read_record
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand
from scaling.sweep.directory import read_sweep
from scaling.train.lock import is_locked

RunStatus = Literal["pending", "running", "interrupted", "failed", "finished", "imported", "damaged"]


@dataclass(frozen=True)
class Entry:
    """One run of the ledger; `record` is None until the run has started."""

    name: str
    status: RunStatus
    record: RunRecord | None
    note: str | None = None


def _entry(directory: Path, elsewhere: bool) -> Entry:
    try:
        record = read_record(directory)
    except BadInputError as error:
        return Entry(directory.name, "damaged", None, str(error))
    if record is None:
        return Entry(directory.name, "running" if is_locked(directory) else "pending", None)
    status: RunStatus = record.status
    if status == "running" and not elsewhere and not is_locked(directory):
        status = "interrupted"  # the process died without a word
    return Entry(directory.name, status, record, record.error)


def read_ledger(directory: Path, *, elsewhere: bool = False) -> list[Entry]:
    """The runs of a sweep directory in the order of its design, then any others; or of one run directory.

    What runs `elsewhere` holds no lock here: of a copy, a record that says it runs is believed.

    Raises:
        BadInputError: neither a sweep nor a run directory.
    """
    if not directory.is_dir():
        raise BadInputError(f"{directory}: no such directory")
    if (directory / "config.yaml").is_file():
        return [_entry(directory, elsewhere)]
    planned: list[str] = []
    if (directory / "sweep.yaml").is_file():
        sweep = read_sweep(directory)
        with contextlib.suppress(BadInputError):  # of a version that accepted more
            planned = [run.name for run in expand(sweep)]
    found = sorted(p.parent.name for p in directory.glob("*/config.yaml"))
    names = planned + [name for name in found if name not in planned]
    if not names:
        raise BadInputError(
            f"{directory}: neither a sweep nor a run directory (no sweep.yaml, no config.yaml)"
        )
    return [_entry(directory / name, elsewhere) for name in names]
