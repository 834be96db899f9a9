"""Loss spikes: detected by a running median, and rewound.

The rewinds of a run are in `rewinds.json` of its directory, written before anything is undone: if the process
dies during a rewind, the next process undoes the rest, and so trains on the same batches.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from scaling.config.record import Rewind
from scaling.config.train import SpikesConfig
from scaling.parallel.processes import from_first
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically

_TO_SIGMA = 1.4826  # of a median absolute deviation, for a normal distribution (Rousseeuw and Croux 1993)
_LEAST = 1e-3  # of the median: a floor for a loss that hardly varies
_SMALLEST = 1e-6  # nats: a floor for a loss of zero; the rounding of a loss in float32


class SpikeError(Exception):
    """A step whose loss is a spike or not finite; the loop catches it and rewinds."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step, self.reason = step, reason


class SpikeDetector:
    """Compares each step's loss with those before it. Its state is those losses: `state()` is saved in
    checkpoints, so that a resumed run decides as the uninterrupted one does."""

    def __init__(self, config: SpikesConfig, losses: Iterable[float] = ()) -> None:
        self._config = config
        self._losses = deque(losses, maxlen=config.window)

    def state(self) -> list[float]:
        """The losses that the next one is compared with, the newest last."""
        return list(self._losses)

    def judge(self, metrics: Mapping[str, float]) -> str | None:
        """Why this step is a spike; None if it is not, and then its loss is kept."""
        if (name := not_finite(metrics)) is not None:
            return f"{name} is {metrics[name]}"
        loss = metrics["loss"]
        if 2 * len(self._losses) >= self._config.window:
            losses = np.array(self._losses)
            median = float(np.median(losses))
            deviation = _TO_SIGMA * float(np.median(np.abs(losses - median)))
            deviation = max(deviation, _LEAST * abs(median), _SMALLEST)
            if loss > median + self._config.deviations * deviation:
                return (
                    f"loss {loss:.4f} is {(loss - median) / deviation:.1f} robust deviations above the "
                    f"median {median:.4f} of {len(losses)} steps"
                )
        self._losses.append(loss)
        return None


def not_finite(metrics: Mapping[str, float]) -> str | None:
    """The first metric that is NaN or infinite."""
    return next((name for name, value in metrics.items() if not math.isfinite(value)), None)


def goal(first: int, spike: int, kept: Collection[int], every: int) -> int:
    """The checkpoint to rewind to from a spike at step `spike`, or 0 for the start.

    The last multiple of `every` up to `first`, the step whose batch is the first to be skipped: the same
    however often the run was stopped. If it is missing (damaged, or replaced by those that a stopped run
    saves), the newest before it, otherwise the oldest before the spike.
    """
    wanted = first // every * every
    if wanted == 0 or wanted in kept:
        return wanted
    before = [step for step in kept if step < spike]
    earlier = [step for step in before if step <= first]
    return max(earlier) if earlier else min(before, default=0)


NAME = "rewinds.json"


def plan(
    spike: SpikeError,
    config: SpikesConfig,
    *,
    kept: Collection[int],
    every: int,
    rows_of: Callable[[int, int], tuple[int, int]],
) -> Rewind:
    """Choose the checkpoint to rewind to, of those that are `kept` (one every `every` steps), and the rows to
    skip; `rows_of(first, stop)` are those of a range of steps."""
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
    """The rewinds of a run, the same on every process.

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
                f"{self._path}: cannot be read, so the batches that the run skipped are unknown: "
                "restore it, or train in another directory"
            ) from error

    @property
    def done(self) -> tuple[Rewind, ...]:
        """All of them, oldest first."""
        return self._journal.rewinds

    @property
    def pending(self) -> Rewind | None:
        """The one that is not complete yet."""
        return self.done[-1] if self._journal.pending else None

    @property
    def skipped_rows(self) -> list[tuple[int, int]]:
        """Rows of the endless sequence that are skipped."""
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
        """Record a rewind before it begins: a later process completes it after a crash."""
        self._write(_Journal(rewinds=(*self.done, rewind), pending=True))

    def finish(self, seconds: float) -> None:
        """Mark the pending rewind, if there is one, as complete; it undid steps of so many seconds."""
        if self.pending is not None:
            last = self.pending.model_copy(update={"seconds": round(seconds, 4)})
            self._write(_Journal(rewinds=(*self.done[:-1], last)))

    def _write(self, journal: _Journal) -> None:
        text = json.dumps(journal.model_dump(mode="json"), indent=1)
        from_first(lambda: write_atomically(self._path, text.encode()))
        self._journal = journal
