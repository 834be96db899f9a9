"""Ways in which a run ends before its budget: it fails, or it receives a signal to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from scaling.parallel.processes import SharedError


class RunFailedError(SharedError):
    """A run that cannot continue, in one line: a loss that is not finite, for example."""


class InterruptedRunError(SharedError):
    """A run that stopped on a signal, after it saved its state."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class StopRequest:
    """Remembers SIGTERM and SIGINT instead of ending the process."""

    signal_number: int | None = None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Catch the signals while inside; does nothing off the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        old = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
