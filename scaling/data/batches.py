"""Batches of training: the batch of step n is a function of the config and of n.

The training rows form one endless sequence (`scaling.data.sequences`). Step n reads the next rows of it, and
each host reads its own slice of those. Rows that a rewind skips are left out of the sequence. Nothing depends
on the number of hosts or on when a run was stopped: a run resumed on other hardware repeats no row and misses
none.
"""

import itertools
import json
import sys
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.data.rows import Batch
from scaling.data.sequences import RowSequence
from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class BatchSchedule:
    """Rows of the global batch, piecewise constant over steps: phases of (first step, rows), from step 0.

    Step n reads rows [rows_before(n), rows_before(n) + rows_at(n)) of the endless sequence of training rows.
    GPT-3 (Brown et al. 2020, appendix B) grows its batch over the first 4 to 12 billion tokens.

    Raises:
      ValueError: no phase, a first phase not at step 0, steps that do not increase, or rows below 1.
    """

    phases: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.phases or self.phases[0][0] != 0:
            raise ValueError(f"the first phase of a batch schedule starts at step 0, got {self.phases}")
        steps = [step for step, _ in self.phases]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(f"the phases of a batch schedule start at increasing steps, got {self.phases}")
        if any(rows < 1 for _, rows in self.phases):
            raise ValueError(f"every phase of a batch schedule has at least one row, got {self.phases}")

    @classmethod
    def constant(cls, rows: int) -> "BatchSchedule":
        """The same batch at every step."""
        return cls(((0, rows),))

    def rows_at(self, step: int) -> int:
        """Rows of the global batch of one step."""
        return self.phases[self._phase(step)][1]

    def rows_before(self, step: int) -> int:
        """Rows read by the steps before this one."""
        phase = self._phase(step)
        total = 0
        for (first, rows), (following, _) in zip(self.phases[:phase], self.phases[1:], strict=False):
            total += (following - first) * rows
        first, rows = self.phases[phase]
        return total + (step - first) * rows

    def steps_within(self, rows: int) -> int:
        """The most complete steps that `rows` rows are enough for."""
        phase = max(k for k, (first, _) in enumerate(self.phases) if self.rows_before(first) <= rows)
        first, batch = self.phases[phase]
        steps = first + (rows - self.rows_before(first)) // batch
        return min(steps, self.phases[phase + 1][0]) if phase + 1 < len(self.phases) else steps

    def steps_for(self, rows: int) -> int:
        """The fewest steps that read at least `rows` rows."""
        steps = self.steps_within(rows)
        return steps if self.rows_before(steps) >= rows else steps + 1

    def _phase(self, step: int) -> int:
        if step < 0:
            raise ValueError(f"step {step} is before the first")
        return bisect_right(self.phases, step, key=lambda phase: phase[0]) - 1


class StepBatches:
    """Random access to batches by step: item n is host `host_index`'s share of step n's batch."""

    def __init__(
        self,
        sequence: RowSequence,
        schedule: BatchSchedule,
        *,
        host_index: int = 0,
        host_count: int = 1,
        skipped: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Rows [begin, end) of the sequence are left out for each of `skipped`.

        Raises ValueError where the hosts do not divide the batch, or `host_index` is not one of them.
        """
        if not 0 <= host_index < host_count:
            raise ValueError(f"host_index {host_index} is not below host_count {host_count}")
        for _, batch_rows in schedule.phases:
            if batch_rows % host_count:
                raise ValueError(f"a batch of {batch_rows} rows does not divide over {host_count} hosts")
        self.sequence = sequence
        self._schedule = schedule
        self._host_index = host_index
        self._host_count = host_count
        self._skipped = merged(skipped)
        self._steps = sys.maxsize
        if (last := sequence.length) != sys.maxsize:
            left = last - sum(max(0, min(end, last) - begin) for begin, end in self._skipped)
            self._steps = schedule.steps_within(left)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        rows = self._schedule.rows_at(step)
        begin = self._schedule.rows_before(step)
        numbers_B = self.sequence.order(self.position(np.arange(begin, begin + rows)))
        share = rows // self._host_count
        return self.sequence.take(numbers_B[self._host_index * share :][:share])

    def position(self, numbers: np.ndarray) -> np.ndarray:
        """Positions of the n-th rows that are read in the sequence that includes the skipped ones."""
        for begin, end in self._skipped:
            numbers = np.where(numbers >= begin, numbers + (end - begin), numbers)
        return numbers

    def rows_of(self, first: int, stop: int) -> tuple[int, int]:
        """The rows [begin, end) that steps [first, stop) read, those skipped between them included."""
        begin, end = self._schedule.rows_before(first), self._schedule.rows_before(stop)
        low, high = self.position(np.array([begin, end - 1])).tolist()
        return low, high + 1

    def skipping(self, skipped: Sequence[tuple[int, int]]) -> "StepBatches":
        """The same batches with other rows left out."""
        return self._of(self.sequence, skipped)

    def until(self, steps: int) -> "StepBatches":
        """The batches of a run of so many steps in all: these, unless weights change with the run."""
        sequence = self.sequence.until(self._schedule.rows_before(steps))
        return self if sequence is self.sequence else self._of(sequence, self._skipped)

    def _of(self, sequence: RowSequence, skipped: Sequence[tuple[int, int]]) -> "StepBatches":
        return StepBatches(
            sequence,
            self._schedule,
            host_index=self._host_index,
            host_count=self._host_count,
            skipped=skipped,
        )


def merged(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges [begin, end) in order, those that touch or overlap as one."""
    out: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((begin, end))
    return tuple(out)


class BatchIterator:
    """Batches in the order of steps, made ahead in a background thread; its state is the next step.

    Batches are dicts of arrays with B = rows of the step / host_count: those that
    `scaling.config.data.batch_arrays` names. Without weights every target counts.
    """

    def __init__(
        self,
        batches: StepBatches,
        schedule: BatchSchedule,
        *,
        prefetch: int,
        fingerprint: str,
        parts: Mapping[str, Any] | None = None,
    ) -> None:
        """Batches from step 0.

        Args:
            batches: the batch of each step.
            schedule: the number of rows of each step.
            prefetch: batches prepared ahead.
            fingerprint: names the sequence of rows.
            parts: what the fingerprint is made of, as JSON by a name in the config, to say what differs.
        """
        self._schedule = schedule
        self._batches, self._prefetch = batches, prefetch
        self._fingerprint, self._parts = fingerprint, dict(parts or {})
        self._length = len(batches)
        self._iterator = self._read_ahead()
        self.wait_seconds = 0.0
        """Time the caller has spent waiting inside `next`, in seconds, since this iterator was made."""

    def _read_ahead(self) -> Any:
        import grain

        # One thread makes millions of tokens per second; more would only contend for the interpreter.
        options = grain.ReadOptions(
            num_threads=1 if self._prefetch else 0, prefetch_buffer_size=self._prefetch
        )
        return iter(grain.MapDataset.source(self._batches).to_iter_dataset(options))

    def rows_of(self, first: int, stop: int) -> tuple[int, int]:
        """As `StepBatches.rows_of`."""
        return self._batches.rows_of(first, stop)

    def skip(self, rows: Sequence[tuple[int, int]], step: int) -> None:
        """Leaves out rows [begin, end) for each of `rows`, and goes to `step`. Steps that end before the
        first of them read the same rows as before.

        Raises:
          BadInputError: `data.max_epochs` ends before that step.
        """
        self._replace(self._batches.skipping(rows), step)

    def until(self, steps: int) -> None:
        """Read on as a run of so many steps in all does. Only a mixture whose weights change with the run
        differs: a cooldown branch anneals at the end of its own budget.

        Raises:
          BadInputError: a source runs out before the next step.
        """
        batches = self._batches.until(steps)
        if batches is not self._batches:
            self._replace(batches, self.step)

    def _replace(self, batches: StepBatches, step: int) -> None:
        self._iterator.close()
        self._batches, self._length = batches, len(batches)
        self._iterator = self._read_ahead()
        self.seek(step)

    def check(self, steps: int) -> None:
        """Check that there are batches for a run of so many steps.

        Raises:
          BadInputError: a source would be exhausted earlier.
        """
        batches = self._batches.until(steps)
        if steps > len(batches):
            raise batches.sequence.end(len(batches), batches.rows_of(0, steps)[1])

    @property
    def step(self) -> int:
        """The step that the next batch is for."""
        return int(self._iterator.get_state()["next_index"])

    @property
    def steps(self) -> int | None:
        """Steps that there are batches for; None where epochs repeat without end."""
        return None if self._length == sys.maxsize else self._length

    def __iter__(self) -> "BatchIterator":
        return self

    def __next__(self) -> Batch:
        """The batch of `step`.

        Raises:
          BadInputError: `data.max_epochs` allows no further batch.
        """
        begin = time.perf_counter()
        try:
            return next(self._iterator)
        except StopIteration:
            raise self._batches.sequence.end(self._length) from None
        finally:
            self.wait_seconds += time.perf_counter() - begin

    def get_state(self) -> dict[str, Any]:
        """The state for a checkpoint: JSON, the same on every host. Prefetched batches do not count."""
        step = self.step
        state = {"step": step, "rows": self._schedule.rows_before(step), "data": self._fingerprint}
        return state | ({"parts": self._parts} if self._parts else {})

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues exactly where `get_state` was called, whatever the number of hosts then and now.

        Raises:
          BadInputError: the state is of other data, or of a batch schedule that had read other rows by then.
        """
        step = int(state["step"])
        if state["data"] != self._fingerprint and (differ := self._differing(state.get("parts"))):
            raise BadInputError(
                f"the checkpoint was trained on another mixture than the config names: {differ}"
            )
        if state["data"] != self._fingerprint:
            raise BadInputError(
                f"the checkpoint was trained on other data ({state['data']}) than the config names "
                f"({self._fingerprint}): the source's texts, tokenizer, validation_fraction, max_documents, "
                "sequence_length, mask_documents or seed, or the objective, differ"
            )
        if state["rows"] != self._schedule.rows_before(step):
            raise BadInputError(
                f"the checkpoint had read {state['rows']} rows by step {step}, this batch schedule would "
                f"have read {self._schedule.rows_before(step)}: rows would be repeated or missed"
            )
        self.seek(step)

    def _differing(self, earlier: Mapping[str, Any] | None) -> str:
        """The parts of the data that are not those of a checkpoint, in words."""
        then, now = earlier or {}, self._parts
        return "; ".join(
            f"{name} {_words(then.get(name))} in the checkpoint, {_words(now.get(name))} now"
            for name in dict.fromkeys([*then, *now])
            if then and now and then.get(name) != now.get(name)
        )

    def seek(self, step: int) -> None:
        """Makes `step` the next batch, without reading earlier ones.

        Raises:
          BadInputError: `data.max_epochs` ends before that step.
        """
        if not 0 <= step <= self._length:
            raise BadInputError(
                f"step {step} is outside the {self._length} steps that data.max_epochs allows"
            )
        self._iterator.set_state({"next_index": step})

    def close(self) -> None:
        """Stops the background thread; no batches can be read afterwards."""
        self._iterator.close()


def _words(value: Any) -> str:
    return "absent" if value is None else json.dumps(value)
