"""Noise of C++ libraries, kept off the terminal: file descriptor 2 goes to a file for a while."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


class Noise:
    """What was written to file descriptor 2 meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def last_lines(self, count: int = 5) -> list[str]:
        """The last lines that say something; readable inside `captured_noise` only."""
        self._file.seek(0)
        text = self._file.read().decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()][-count:]


@contextmanager
def captured_noise() -> Iterator[Noise]:
    """While inside, what is written to file descriptor 2 lands in a temporary file.

    libtpu and XLA write there from C++, past `sys.stderr`. Whoever has something to say to a person meanwhile
    needs a copy of the descriptor from before.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield Noise(file)
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
