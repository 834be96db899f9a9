"""The rewinds of a run, in `rewinds.json` of its directory: written before anything is undone.

A process that dies while it goes back leaves the last rewind pending; the next one undoes the rest, and so
trains on the same batches.
"""

import json
from collections.abc import Callable, Collection
from pathlib import Path

from pydantic import BaseModel, ValidationError

from scaling.config.record import Rewind
from scaling.config.train import SpikesConfig
from scaling.parallel.processes import from_first
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically
from scaling.train.spikes import SpikeError, goal

NAME = "rewinds.json"


def plan(
    spike: SpikeError,
    config: SpikesConfig,
    *,
    kept: Collection[int],
    every: int,
    rows_of: Callable[[int, int], tuple[int, int]],
) -> Rewind:
    """Where to go back to from a spike, of the checkpoints that are `kept` (one every `every` steps), and
    which rows to skip; `rows_of(first, stop)` are those of a range of steps."""
    first = max(0, spike.step - 1 - config.rewind_steps)
    step = goal(first, spike.step, kept, every)
    first = max(first, step)
    stop = first + config.skip_batches
    return Rewind(
        spike_step=spike.step,
        reason=spike.reason,
        step=step,
        skipped_batches=(first, stop),
        skipped_rows=rows_of(first, stop),
        seconds=0.0,
    )


class _Journal(BaseModel, extra="forbid"):
    rewinds: tuple[Rewind, ...] = ()
    pending: bool = False


class Rewinds:
    """What was undone, the same on every process of a run.

    Raises:
        BadInputError: the file is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._journal = _Journal.model_validate(from_first(self._read))

    def _read(self) -> dict:
        if not self._path.is_file():
            return {}
        try:
            return _Journal.model_validate_json(self._path.read_bytes()).model_dump(mode="json")
        except (OSError, ValidationError) as error:
            raise BadInputError(
                f"{self._path}: cannot be read; without it nobody knows which batches the run skipped: "
                "restore it, or train in another directory"
            ) from error

    @property
    def done(self) -> tuple[Rewind, ...]:
        """All of them, oldest first."""
        return self._journal.rewinds

    @property
    def pending(self) -> Rewind | None:
        """The one that is not undone yet."""
        return self.done[-1] if self._journal.pending else None

    @property
    def skipped_rows(self) -> list[tuple[int, int]]:
        """Rows of the endless sequence that are passed by."""
        return [rewind.skipped_rows for rewind in self.done]

    def seconds_since(self, count: int) -> float:
        """Seconds of steps that all rewinds but the first `count` undid.

        Raises:
            BadInputError: there are fewer.
        """
        if count > len(self.done):
            raise BadInputError(
                f"{self._path}: holds {len(self.done)} rewinds, the checkpoint was saved after {count}: "
                "restore the file, or train in another directory"
            )
        return sum(rewind.seconds for rewind in self.done[count:])

    def add(self, rewind: Rewind) -> None:
        """Decide on a rewind: from here on it happens, whoever dies."""
        self._write(_Journal(rewinds=(*self.done, rewind), pending=True))

    def finish(self, seconds: float) -> None:
        """The pending rewind, if there is one, is undone; it undid steps of so many seconds."""
        if self.pending is not None:
            last = self.pending.model_copy(update={"seconds": round(seconds, 4)})
            self._write(_Journal(rewinds=(*self.done[:-1], last)))

    def _write(self, journal: _Journal) -> None:
        text = json.dumps(journal.model_dump(mode="json"), indent=1)
        from_first(lambda: write_atomically(self._path, text.encode()))
        self._journal = journal
