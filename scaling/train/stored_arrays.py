"""Arrays of a checkpoint, written and read in parts: a model may be larger than memory.

The files are those that Orbax writes: OCDBT with Zarr arrays (https://orbax.readthedocs.io, "Checkpoint
format"). Only the chunks of the arrays are chosen here, so that a layer can be read without the others.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import tensorstore

PART_BYTES = 1 << 26  # a part or a chunk has at most so many, if its rows allow
Index = tuple[int | slice, ...]


@dataclass(frozen=True)
class StreamedArray:
    """An array that is made in parts while it is written.

    `parts` yields disjoint parts with their indices. With `stacked`, axis 0 is layers and each part is within
    one layer.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Callable[[], Iterator[tuple[Index, np.ndarray]]]
    stacked: bool

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """The shape of a stored chunk: rows of a layer, or rows of an array without layers."""
        layers = (1,) if self.stacked else ()
        one = self.shape[len(layers) :]
        return (*layers, *((rows_per_part(one, self.dtype), *one[1:]) if one else ()))

    def __deepcopy__(self, memo: Any) -> "StreamedArray":
        return self  # Orbax copies arrays, because a trainer may change them while they are written


def rows_per_part(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """The number of rows, along axis 0, of an array's parts."""
    row = math.prod(shape[1:]) * dtype.itemsize
    return max(1, min(shape[0], PART_BYTES // max(1, row)))


class _StreamHandler(ocp.type_handlers.NumpyHandler):
    """Writes streamed arrays as Orbax writes NumPy arrays, one part after another."""

    def __init__(self) -> None:
        super().__init__()
        self._one_at_a_time = asyncio.Lock()
        self.failure: Exception | None = None
        """The first error. It is not raised where it occurs: Orbax would leave others writing."""

    async def _open_and_write(self, value: Any, tspec: dict[str, Any], ts_context: Any) -> None:
        tspec["metadata"]["chunks"] = list(value.chunks)
        async with self._one_at_a_time:
            if self.failure is not None:
                return
            try:
                spec = tensorstore.Spec(tspec)
                store = await tensorstore.open(spec, create=True, open=True, context=ts_context)
                for index, part in value.parts():
                    await store[index].write(part, can_reference_source_data_indefinitely=True)
            except Exception as error:
                self.failure = error


def write_streamed(directory: Path, arrays: Mapping[str, StreamedArray], counters: dict[str, Any]) -> None:
    """Write a checkpoint with a state of `arrays`; raises whatever the storage or the parts raise."""
    stream = _StreamHandler()
    registry = ocp.type_handlers.create_type_handler_registry((StreamedArray, stream))
    state = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    handler = ocp.CompositeCheckpointHandler(state=state, counters=ocp.JsonCheckpointHandler())
    try:
        with ocp.Checkpointer(handler) as writer:
            writer.save(
                directory.absolute(),
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(dict(arrays)), counters=ocp.args.JsonSave(counters)
                ),
            )
    finally:
        if stream.failure is not None:
            raise stream.failure


class StoredArray:
    """An array of a checkpoint, which is read in parts.

    Raises whatever the storage raises: on opening if the array is missing, on reading if it is damaged.
    """

    def __init__(self, state: Path, name: str) -> None:
        spec = {
            "driver": "zarr",
            "kvstore": {
                "driver": "ocdbt",
                "base": {"driver": "file", "path": f"{state.absolute()}/"},
                "path": f"{name}/",
            },
            "fill_missing_data_reads": False,
        }
        self._store = tensorstore.open(spec, open=True, read=True).result()
        self.shape: tuple[int, ...] = tuple(self._store.shape)
        self.dtype: np.dtype = self._store.dtype.numpy_dtype
        chunk = self._store.chunk_layout.read_chunk.shape
        self._rows = (chunk[0] if chunk else None) or 1  # a chunk is decoded as a unit
        self._kept: tuple[int, np.ndarray] | None = None

    def layer(self, i: int) -> np.ndarray:
        """Element i of axis 0, as an array with that axis: (1, ...).

        A chunk of several layers is kept until the last of them is read.
        """
        first = i - i % self._rows
        if self._kept is None or self._kept[0] != first:
            self._kept = None
            self._kept = first, self._read(first)
        held = self._kept[1][i - first : i - first + 1]
        if i - first + 1 == len(self._kept[1]):
            self._kept = None
        return held

    def parts(self) -> Iterator[np.ndarray]:
        """All rows, along axis 0, in parts of whole chunks."""
        if not self.shape:
            yield self._store.read().result()
            return
        for first in range(0, self.shape[0], self._rows):
            yield self._read(first)

    def _read(self, first: int) -> np.ndarray:
        return self._store[first : min(first + self._rows, self.shape[0])].read().result()
