"""A run that stands still ends itself: a hung worker, a dead disk or a lost network would wait for ever."""

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
_LOOKS = 20  # in that time, at least
_LONGEST = 5.0  # seconds between two looks
_ASK_MS = 1000  # for another process's count, once it is over
_PATIENCE = 4  # looks that processes which end are apart, at most


def stall_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """How long a run may stand still: the environment's, or half an hour.

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
    """Ends the process when no `beat` comes for so many seconds, counted from the first one.

    It ends in one line with `TRY_AGAIN`: the same command goes on from the last checkpoint. Of several
    processes those that wait for a hung one stand still too, so all end, and a scheduler starts all again;
    the line names those that are silent or behind. The seconds have to be more than an evaluation or
    compiling a step takes. Time is told by looks of a thread: a laptop's sleep is no standstill.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._interval = min(seconds / _LOOKS, _LONGEST)
        self._count = 0
        self._over = threading.Event()
        watch = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        # A store that does not answer holds whoever writes to it: not the thread that has to notice.
        tell = threading.Thread(target=self._tell, name="heartbeat-tell", daemon=True)
        self._threads = [watch, tell] if several() else [watch]

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

    def _tell(self) -> None:
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
            f"scaling: no step for {self._seconds:g} s ({STALL_SECONDS}): {self._blame()}; start the same "
            "command again, it goes on from the last checkpoint",
            file=sys.stderr,
            flush=True,
        )
        if several() and jax.process_index() == 0:
            time.sleep(_PATIENCE * self._interval)  # others still ask the store, which ends with this process
        os._exit(TRY_AGAIN)

    def _blame(self) -> str:
        """Who stands in the way, in words."""
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
            return "all processes stand at the same step"
        return f"process {', '.join(map(str, behind))} is behind the others"


def _counts() -> dict[int, list[int]]:
    """Of every process the count of its beats and of its looks, as it last told them."""
    return {
        process: json.loads(client().blocking_key_value_get(_key(process), _ASK_MS))
        for process in range(jax.process_count())
    }


def _key(process: int) -> str:
    return f"scaling/heartbeat/{process}"
