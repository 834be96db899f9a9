"""TensorBoard's copy of the metrics: a disk that fails costs the copy, never the run."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_FLUSH_SECONDS = 30.0


class Events:
    """Scalars appended to an event file in a folder, which is made when the first ones come.

    tensorboardX's writer of records without its thread, whose errors nobody could catch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._writer, self._failed = folder, None, False
        self._flushed = time.monotonic()

    def add(self, step: int, numbers: Mapping[str, Any]) -> None:
        """The floats among `numbers`, at a step."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=n, simple_value=v) for n, v in numbers.items() if isinstance(v, float)]
        if self._failed:
            return
        try:
            writer = self._open()
            writer.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                writer.flush()
                self._flushed = time.monotonic()
        except OSError:
            self._failed = True

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX.event_file_writer import EventsWriter

            self._folder.mkdir(exist_ok=True)
            self._writer = EventsWriter(str(self._folder / "events"))
        return self._writer

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
