"""Training batches: the batch of step n is a function of config and n, so any step can be gone to at once.

The training rows, shuffled anew each epoch, form one endless sequence. Step n reads the next rows of it, and
each host reads its own slice of those. Rows that a rewind passes by are left out of the sequence. Nothing
depends on how many hosts there are or when a run was stopped: a run resumed on other hardware repeats no row
and misses none.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from scaling.data.batch_schedule import BatchSchedule
from scaling.data.packing import Batch, Rows
from scaling.objectives.draws import mix_seed
from scaling.runtime.errors import BadInputError


class StepBatches:
    """Random access to batches by step: item n is host `host_index`'s share of step n's batch."""

    def __init__(
        self,
        rows: Rows,
        schedule: BatchSchedule,
        *,
        seed: int,
        max_epochs: int | None = None,
        host_index: int = 0,
        host_count: int = 1,
        skipped: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Rows [begin, end) of the sequence are left out for each of `skipped`.

        Raises ValueError where the hosts do not divide the batch, or `host_index` is not one of them.
        """
        import grain

        if not 0 <= host_index < host_count:
            raise ValueError(f"host_index {host_index} is not below host_count {host_count}")
        for _, batch_rows in schedule.phases:
            if batch_rows % host_count:
                raise ValueError(f"a batch of {batch_rows} rows does not divide over {host_count} hosts")
        # The seed is given to shuffle itself: grain's default one depends on the shape of the pipeline.
        # Row numbers are shuffled, not rows: rows are made a whole batch at a time.
        numbers = grain.MapDataset.range(len(rows)).shuffle(seed=mix_seed(seed, stream=1) % 2**32)
        self._numbers = numbers.repeat(max_epochs)
        self._rows, self._seed, self._max_epochs = rows, seed, max_epochs
        self._schedule = schedule
        self._host_index = host_index
        self._host_count = host_count
        self._skipped = merged(skipped)
        self._steps = sys.maxsize
        if max_epochs is not None:
            last = max_epochs * len(rows)
            left = last - sum(max(0, min(end, last) - begin) for begin, end in self._skipped)
            self._steps = schedule.steps_within(left)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        share = self._schedule.rows_at(step) // self._host_count
        begin = self._schedule.rows_before(step) + self._host_index * share
        numbers_B = self.position(np.arange(begin, begin + share))
        return self._rows.take(np.array([self._numbers[number] for number in numbers_B.tolist()]), numbers_B)

    def position(self, numbers: np.ndarray) -> np.ndarray:
        """Where the n-th rows that are read stand in the sequence with the skipped ones."""
        for begin, end in self._skipped:
            numbers = np.where(numbers >= begin, numbers + (end - begin), numbers)
        return numbers

    def rows_of(self, first: int, stop: int) -> tuple[int, int]:
        """The rows [begin, end) that steps [first, stop) read, those skipped between them included."""
        begin, end = self._schedule.rows_before(first), self._schedule.rows_before(stop)
        low, high = self.position(np.array([begin, end - 1])).tolist()
        return low, high + 1

    def skipping(self, skipped: Sequence[tuple[int, int]]) -> "StepBatches":
        """The same batches but for other rows that are left out."""
        return StepBatches(
            self._rows,
            self._schedule,
            seed=self._seed,
            max_epochs=self._max_epochs,
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
    `scaling.config.data.batch_arrays` names. Where there are no weights every target counts.
    """

    def __init__(
        self,
        batches: StepBatches,
        schedule: BatchSchedule,
        *,
        prefetch: int,
        fingerprint: str,
        tokens_per_epoch: int,
    ) -> None:
        self._schedule = schedule
        self._batches, self._prefetch = batches, prefetch
        self._fingerprint = fingerprint
        self._tokens_per_epoch = tokens_per_epoch
        self._length = len(batches)
        self._iterator = self._read_ahead()
        self.wait_seconds = 0.0
        """Time the caller has spent waiting inside `next`, in seconds, since this iterator was made."""

    def _read_ahead(self) -> Any:
        import grain

        # One thread makes millions of tokens a second; more would only contend for the interpreter.
        options = grain.ReadOptions(
            num_threads=1 if self._prefetch else 0, prefetch_buffer_size=self._prefetch
        )
        return iter(grain.MapDataset.source(self._batches).to_iter_dataset(options))

    def rows_of(self, first: int, stop: int) -> tuple[int, int]:
        """As `StepBatches.rows_of`."""
        return self._batches.rows_of(first, stop)

    def skip(self, rows: Sequence[tuple[int, int]], step: int) -> None:
        """Leaves rows [begin, end) out for each of `rows`, and goes to `step`. Steps that end before the
        first of them read what they did before.

        Raises:
          BadInputError: `data.max_epochs` ends before that step.
        """
        self._iterator.close()
        self._batches = self._batches.skipping(rows)
        self._length = len(self._batches)
        self._iterator = self._read_ahead()
        self.seek(step)

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
            raise BadInputError(
                f"data.max_epochs: the source has {self._tokens_per_epoch} training tokens an epoch, enough "
                f"for {self._length} steps, and training goes on; raise data.max_epochs or train "
                "on fewer tokens"
            ) from None
        finally:
            self.wait_seconds += time.perf_counter() - begin

    def get_state(self) -> dict[str, Any]:
        """What to save in a checkpoint: JSON, the same on every host. Batches made ahead do not count."""
        step = self.step
        return {"step": step, "rows": self._schedule.rows_before(step), "data": self._fingerprint}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on exactly where `get_state` was called, whatever the number of hosts then and now.

        Raises:
          BadInputError: the state is of other data, or a batch schedule that had read other rows by then.
        """
        step = int(state["step"])
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

    def seek(self, step: int) -> None:
        """Makes the next batch that of `step`, at no cost in earlier ones.

        Raises:
          BadInputError: `data.max_epochs` ends before that step.
        """
        if not 0 <= step <= self._length:
            raise BadInputError(
                f"step {step} is outside the {self._length} steps that data.max_epochs allows "
                f"({self._tokens_per_epoch} training tokens an epoch)"
            )
        self._iterator.set_state({"next_index": step})

    def close(self) -> None:
        """Stops the background thread. No batch can be had afterwards."""
        self._iterator.close()
