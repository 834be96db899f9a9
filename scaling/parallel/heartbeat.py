"""A stalled run ends itself: with a hung worker, a dead disk or a lost network it would wait for ever."""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType

import jax

from scaling.parallel.processes import TRY_AGAIN, client, several
from scaling.runtime.errors import BadInputError

STALL_SECONDS = "SCALING_STALL_SECONDS"
_DEFAULT = 1800.0
_CHECKS = 20  # in that time, at least
_LONGEST = 5.0  # seconds between two checks
_READ_MS = 1000  # for another process's count at the end
_PATIENCE = 4  # checks by which the ends of processes differ, at most


def stall_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds that a run may stall: from the environment, by default half an hour.

    Raises:
        BadInputError: not a positive number.
    """
    text = environment.get(STALL_SECONDS)
    try:
        seconds = _DEFAULT if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadInputError(f"{STALL_SECONDS}={text!r}: give a positive number of seconds")
    return seconds


class Heartbeat:
    """Ends the process if there is no `beat` for so many seconds, counted from the first one.

    It ends with one line and the exit code `TRY_AGAIN`: the same command resumes from the last checkpoint. Of
    several processes those that wait for a hung one stall too, so all end, and a scheduler starts all again;
    the line names those that are silent or behind. The limit must be longer than an evaluation or the
    compilation of a step. Time is counted in checks of a thread, so a laptop's sleep is not a stall.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._interval = min(seconds / _CHECKS, _LONGEST)
        self._count = 0
        self._over = threading.Event()
        watch = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        # A store that does not answer blocks its writer, so another thread watches.
        publish = threading.Thread(target=self._publish, name="heartbeat-publish", daemon=True)
        self._threads = [watch, publish] if several() else [watch]

    def __enter__(self) -> "Heartbeat":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._threads[0].join()

    def beat(self) -> None:
        """Something was done."""
        self._count += 1

    def _publish(self) -> None:
        for look in itertools.count():
            if self._over.wait(self._interval):
                return
            said = json.dumps([self._count, look])
            try:
                client().key_value_set(_key(jax.process_index()), said, allow_overwrite=True)
            except Exception:  # the store is gone: whoever waits for this process's steps sees to the end
                return

    def _watch(self) -> None:
        seen, idle = 0, 0
        while not self._over.wait(self._interval):
            if self._count == 0:
                continue
            idle = idle + 1 if self._count == seen else 0
            seen = self._count
            if idle * self._interval >= self._seconds:
                self._end()

    def _end(self) -> None:
        print(
            f"scaling: no step for {self._seconds:g} s ({STALL_SECONDS}): {self._blame()}; run the same "
            "command to resume from the last checkpoint",
            file=sys.stderr,
            flush=True,
        )
        if several() and jax.process_index() == 0:
            time.sleep(
                _PATIENCE * self._interval
            )  # others still read the store, which ends with this process
        os._exit(TRY_AGAIN)

    def _blame(self) -> str:
        """The cause of the stall, in words."""
        if not several():
            return "a disk or a device does not answer"
        try:
            before = _counts()
            time.sleep(_PATIENCE * self._interval)
            after = _counts()
        except Exception:  # whatever the store raises: this process is about to end
            return "process 0, where the others meet, does not answer"
        silent = [process for process, said in after.items() if said == before.get(process)]
        if silent:
            return f"process {', '.join(map(str, silent))} is silent"
        steps = {process: said[0] for process, said in after.items()}
        behind = [process for process, step in steps.items() if step == min(steps.values())]
        if len(behind) == len(steps):
            return "all processes are at the same step"
        return f"process {', '.join(map(str, behind))} is behind the others"


def _counts() -> dict[int, list[int]]:
    """The last published counts of beats and of checks of every process."""
    return {
        process: json.loads(client().blocking_key_value_get(_key(process), _READ_MS))
        for process in range(jax.process_count())
    }


def _key(process: int) -> str:
    return f"scaling/heartbeat/{process}"
