"""TensorBoard's event files, written where a disk that fails can be noticed."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_FLUSH_SECONDS = 30.0


class Events:
    """Scalars appended to an event file in a folder, which is made when the first ones come.

    tensorboardX's writer of records without its thread, whose errors nobody could catch. With `purge` the
    file opens with TensorBoard's mark that what earlier files hold of that step and later ones is undone.
    """

    def __init__(self, folder: Path, purge: int | None = None) -> None:
        self._folder, self._purge = folder, purge
        self._writer: Any = None
        self._flushed = time.monotonic()

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step.

        Raises:
            OSError: the disk cannot be written.
        """
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        writer = self._open()
        writer.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            writer.flush()
            self._flushed = time.monotonic()

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

            self._folder.mkdir(exist_ok=True)
            # tensorboardX names a file by the second it was opened in, and would overwrite one of the same
            # second. TensorBoard reads the files in the order of their names.
            number = sum(1 for _ in self._folder.iterdir())
            self._writer = EventsWriter(str(self._folder / "events"), f".{number:06}")
            if self._purge is not None:
                start = SessionLog(status=SessionLog.START)
                self._writer.write_event(Event(step=self._purge, wall_time=time.time(), session_log=start))
        return self._writer

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
