"""`scaling` in a process that stops itself at a point of its own work, so that no test has to watch for it:

    python -m tests.faults.dying PHASE NUMBER DELAY SIGNAL ARGUMENTS...

When the process enters a phase for the NUMBER-th time, it sends itself the signal. With a DELAY in seconds, a
timer of the kernel ends it that much later instead, whatever it does then: an unhandled alarm ends a
process as abruptly as SIGKILL.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The function that a phase is: module, class, name.
PHASES = {
    "resuming": ("scaling.train.checkpoints", "Checkpoints", "restore"),
    "compiling": ("scaling.train.training", "_Training", "_steps"),
    "stepping": ("scaling.train.run_directory", "RunDirectory", "append_metrics"),
    "evaluating": ("scaling.train.training", "_Training", "_evaluate"),
    "writing a checkpoint": ("scaling.train.checkpoints", "Checkpoints", "save"),
    "writing the record": ("scaling.train.run_directory", "RunDirectory", "write_record"),
}
AFTER = {"a checkpoint is whole": ("scaling.train.checkpoints", "Checkpoints", "_seal")}


@dataclass(frozen=True)
class At:
    """Where a process stops itself, and how."""

    phase: str  # "starting", or one of PHASES and AFTER
    number: int = 1
    delay: float = 0.0
    signal: str = "SIGKILL"

    def program(self) -> list[str]:
        """The command that replaces `python -m scaling.cli`."""
        words = (self.phase, self.number, self.delay, self.signal)
        return [sys.executable, "-m", "tests.faults.dying", *map(str, words)]


def _stop(at: At) -> None:
    if at.delay:
        signal.setitimer(signal.ITIMER_REAL, at.delay)
    else:
        os.kill(os.getpid(), signal.Signals[at.signal])


def _arrange(at: At) -> None:
    if at.phase == "starting":
        _stop(at)
        return
    module, owner, name = (PHASES | AFTER)[at.phase]
    where: Any = getattr(importlib.import_module(module), owner)
    function: Callable[..., Any] = getattr(where, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        due = calls == at.number
        if due and at.phase in PHASES:
            _stop(at)
        result = function(*args, **kwargs)
        if due and at.phase in AFTER:
            _stop(at)
        return result

    setattr(where, name, counted)


def main() -> None:
    phase, number, delay, how = sys.argv[1:5]
    sys.argv[1:5] = []
    _arrange(At(phase, int(number), float(delay), how))
    from scaling.cli import main as scaling

    scaling()


if __name__ == "__main__":
    main()
