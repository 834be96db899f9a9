"""The lock on a run directory: only one process writes there, even if machines share the disk.

`flock` decides if the file system supports it: always on one machine, and over NFS and Lustre as they are
usually mounted. It is released when its owner dies, for any reason. Mounts of buckets do not share such locks
between machines, so the owner also writes a count into the file that rises while it lives. A process that
finds another machine's name there watches the count, and takes the lock when the count stops. No clocks are
compared.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from scaling.runtime.errors import BadInputError

NAME = "run.lock"
BEAT_SECONDS = 10.0
_LINE = 512  # bytes of the file while it is held
_BEATS = 3.5  # without a change of the count, after which its owner is considered dead


def is_locked(directory: Path) -> bool:
    """Whether a live process is training in this run directory, as far as `flock` shows."""
    try:
        with (directory / NAME).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


class RunLock:
    """The lock on one directory, held from `acquire` to `release` or to the death of the process."""

    def __init__(self, directory: Path, beat_seconds: float = BEAT_SECONDS) -> None:
        self._directory, self._beat = directory, beat_seconds
        self._me = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="run-lock", daemon=True)
        self._file: Any = None

    def acquire(self) -> None:
        """Take the lock; after a crash on another machine this waits for a few beats.

        Raises:
            BadInputError: another process holds it, and the message names it.
            OSError: the file cannot be written.
        """
        flags = os.O_RDWR | os.O_CREAT
        self._file = os.fdopen(os.open(self._directory / NAME, flags, 0o644), "r+b", buffering=0)
        try:
            self._flock()
            self._watch()
            self._write(0)
        except BaseException:
            self._file.close()
            raise
        self._thread.start()

    def _flock(self) -> None:
        for attempt in range(4):  # `is_locked` holds it for an instant
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if attempt == 3:
                    raise self._refusal() from None
                time.sleep(0.1)
            else:
                return

    def _watch(self) -> None:
        """Wait until another machine's count, if there is one, has stopped."""
        found = self._read()
        if not found or found.get("host") == self._me["host"]:
            return  # released, or its owner died: on this machine `flock` decides
        for _ in range(20):
            time.sleep(_BEATS * self._beat / 20)
            if self._read() not in (None, found):
                raise self._refusal()

    def _refusal(self) -> BadInputError:
        owner = self._read() or {}
        where = f" (process {owner['pid']} on {owner['host']})" if {"pid", "host"} <= owner.keys() else ""
        return BadInputError(
            f"{self._directory}: another process is training in this directory{where}; wait for it, stop it, "
            "or give another --out"
        )

    def _read(self) -> dict[str, Any] | None:
        """What the file says; empty if no process holds the lock, None if it cannot be read."""
        try:
            text = (self._directory / NAME).read_text()
            found = json.loads(text) if text.strip() else {}
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self, count: int | None) -> None:
        """In place: to `flock`, a replacement would be another file."""
        if count is None:
            self._file.truncate(0)
        else:  # one write of a fixed length: a concurrent reader finds the old line or the new one
            line = json.dumps({**self._me, "beat": count}).encode()
            os.pwrite(self._file.fileno(), line.ljust(_LINE - 1) + b"\n", 0)
        os.fsync(self._file.fileno())

    def _live(self) -> None:
        count = 0
        while not self._over.wait(self._beat):
            found = self._read()
            if found and found.get("token") not in (None, self._me["token"]):
                print(
                    f"scaling: {self._directory}: {found.get('host')} took over this directory while this "
                    "process was suspended; it ends here",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(2)
            count += 1
            with contextlib.suppress(OSError):  # a full disk: the run itself reports it
                self._write(count)

    def release(self) -> None:
        """Release the lock, and record it in the file."""
        if self._file is None or self._file.closed:
            return
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(OSError):
            self._write(None)
        with contextlib.suppress(OSError):
            self._file.close()
