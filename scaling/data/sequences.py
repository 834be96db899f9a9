"""The endless sequence of training rows: one corpus in epochs, each shuffled anew, or a mixture."""

import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from scaling.data.apportionment import Apportionment
from scaling.data.rows import Batch, Rows
from scaling.objectives.draws import mix_seed, row_keys
from scaling.runtime.errors import BadInputError


def _epochs(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


class RowSequence(Protocol):
    """Training rows by number, from 0: any of them without those before it."""

    length: int
    """Rows; `sys.maxsize` where epochs repeat without end."""

    def take(self, numbers_B: np.ndarray) -> Batch:
        """The rows of these numbers."""
        ...

    def order(self, numbers_B: np.ndarray) -> np.ndarray:
        """The rows of one global batch, by number, in the order in which hosts share them."""
        ...

    def until(self, rows: int) -> "RowSequence":
        """The sequence of a run of so many rows in all; it differs if weights change with the run."""
        ...

    def end(self, steps: int, rows: int | None = None) -> BadInputError:
        """The error of a run that needs more rows than the sequence has, which are enough for `steps`; `rows`
        is how many it needs, where that is known."""
        ...


class EpochSequence:
    """The rows of one corpus, shuffled anew in each epoch."""

    def __init__(self, rows: Rows, *, seed: int, max_epochs: int | None = None) -> None:
        self._rows, self._seed, self._max_epochs = rows, seed, max_epochs
        self.length = sys.maxsize if max_epochs is None else max_epochs * len(rows)

    @cached_property
    def _numbers(self) -> Any:
        import grain

        # The seed is given to shuffle itself: grain's default one depends on the shape of the pipeline.
        # Row numbers are shuffled, not rows: rows are made one batch at a time.
        numbers = grain.MapDataset.range(len(self._rows)).shuffle(seed=mix_seed(self._seed, stream=1) % 2**32)
        return numbers.repeat(self._max_epochs)

    def indices(self, numbers_B: np.ndarray) -> np.ndarray:
        """Which rows of the corpus these are."""
        return np.array([self._numbers[number] for number in numbers_B.tolist()], np.int64)

    def take(self, numbers_B: np.ndarray) -> Batch:
        """As `RowSequence.take`."""
        return self._rows.take(self.indices(numbers_B), numbers_B)

    def order(self, numbers_B: np.ndarray) -> np.ndarray:
        """As they are: they are shuffled already."""
        return numbers_B

    def until(self, rows: int) -> "EpochSequence":
        """The same sequence."""
        return self

    def end(self, steps: int, rows: int | None = None) -> BadInputError:
        """As `RowSequence.end`."""
        needed = "" if rows is None else f", which takes {_epochs(rows / len(self._rows))} epochs"
        return BadInputError(
            f"data.max_epochs={self._max_epochs}: the source has {self._rows.tokens_per_epoch} training "
            f"tokens per epoch, enough for {steps} steps, fewer than the run needs{needed}; raise "
            "data.max_epochs or train on fewer tokens"
        )


class MixtureSequence:
    """Rows of several corpora, each in its own shuffled epochs, in the shares of their weights.

    Each row is of one source. `phases` are (share of the run, weight of each source), from share 0 on; a run
    of unknown length stays in the first.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: Sequence[Rows],
        phases: Sequence[tuple[float, Sequence[float]]],
        *,
        seed: int,
        max_epochs: Sequence[int | None],
        capped: Sequence[bool],
        run_rows: int | None = None,
    ) -> None:
        self.names, self.rows = tuple(names), tuple(rows)
        self._phases, self._seed = tuple(phases), seed
        self._max_epochs, self._capped = tuple(max_epochs), tuple(capped)
        self._run_rows = run_rows
        self._sources = [EpochSequence(one, seed=seed) for one in rows]
        limits = [n and n * len(one) for n, one in zip(max_epochs, rows, strict=True)]
        self.apportionment = Apportionment(self._by_row(), limits, capped)
        self.length = self.apportionment.length

    def _by_row(self) -> list[tuple[int, Sequence[float]]]:
        """The phases by the row at which they begin."""
        if self._run_rows is None:
            return [(0, self._phases[0][1])]
        return [(round(share * self._run_rows), weights) for share, weights in self._phases]

    def take(self, numbers_B: np.ndarray) -> Batch:
        """The rows of these numbers. Noise depends on the number in the sequence of all sources."""
        sources_B, own_B = self.apportionment.locate(numbers_B)
        batch: Batch = {}
        for source in np.unique(sources_B):
            at = np.flatnonzero(sources_B == source)
            indices = self._sources[source].indices(own_B[at])
            for name, part in self.rows[source].take(indices, numbers_B[at]).items():
                if name not in batch:
                    batch[name] = np.zeros((len(numbers_B), *part.shape[1:]), part.dtype)
                batch[name][at] = part
        return batch

    def order(self, numbers_B: np.ndarray) -> np.ndarray:
        """Shuffled: otherwise a source would have its own places in a batch, and so its own hosts."""
        if len(self.rows) == 1:
            return numbers_B
        return numbers_B[np.argsort(row_keys(mix_seed(self._seed, stream=5), numbers_B), kind="stable")]

    def until(self, rows: int) -> "MixtureSequence":
        """As `RowSequence.until`."""
        if len(self._phases) == 1 or rows == self._run_rows:
            return self
        return MixtureSequence(
            self.names,
            self.rows,
            self._phases,
            seed=self._seed,
            max_epochs=self._max_epochs,
            capped=self._capped,
            run_rows=rows,
        )

    def end(self, steps: int, rows: int | None = None) -> BadInputError:
        """As `RowSequence.end`."""
        source = self.apportionment.ended_by
        enough = f"enough for {steps} steps, fewer than the run needs"
        if source is not None and rows is not None:
            needed = Apportionment(self._by_row()).counts(rows)[source] / len(self.rows[source])
            enough += f", which takes {_epochs(needed)} epochs of it"
        if source is None:
            return BadInputError(
                f"data.mixture: every source that is read is capped, and together they are {enough}; raise "
                "max_epochs of one, or train on fewer tokens"
            )
        name, most = self.names[source], self._max_epochs[source]
        return BadInputError(
            f"data.mixture.{name}.max_epochs={most}: {enough}; raise it, lower the weight, cap the source "
            f"(data.mixture.{name}.exhausted=cap) or train on fewer tokens"
        )
