"""Files written completely or not at all, retries for network disks, and the directory of caches."""

import errno
import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from scaling.runtime.errors import BadInputError

T = TypeVar("T")

# What network file systems and FUSE mounts of buckets return while the other end is unavailable.
_PASSING = {
    errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.EIO, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.EREMOTEIO,
    errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip
_HTTP = {408, 429, 500, 502, 503, 504}  # "try again", of the stores that answer by HTTP
_FIRST_SECONDS = 0.5
_TRIES = 7  # waits of 0.5 s to 16 s: half a minute in all
_PART = ".part"


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary file, so that no reader sees an incomplete file.

    Raises:
        BadInputError: the parent directory is missing, or the path cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise BadInputError(
            f"{path}: the directory {path.parent} does not exist; create it, or give another path"
        )
    if path.is_dir():
        raise BadInputError(f"{path} is a directory; give the path of a file")
    try:
        replace(path, content)
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}; give another path") from error


def replace(path: Path, content: bytes) -> None:
    """As `write_atomically`, with retries on a network disk; raises OSError."""
    patiently(partial(_replace, path, content))


def _replace(path: Path, content: bytes) -> None:
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=_PART)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        BadInputError: no such file, one that cannot be read, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from error
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInputError(f"{str(path)!r}: not the name of a file") from error


def clear_parts(directory: Path) -> None:
    """Remove the temporary files of killed processes from a directory that no process writes to now."""
    for part in directory.glob(f".*{_PART}"):
        part.unlink(missing_ok=True)


def may_pass(error: Exception) -> bool:
    """Whether an error is temporary: a full disk, a missing file or a wrong password is not."""
    if isinstance(error, OSError):
        unnumbered = error.errno is None and type(error) in (OSError, TimeoutError, ConnectionError)
        return unnumbered or error.errno in _PASSING
    return getattr(error, "code", None) in _HTTP  # gcsfs


def patiently(action: Callable[[], T], tries: int = _TRIES) -> T:
    """Call `action`, and again after a temporary error, with waits that double.

    Waits are random, at least half of their length, so that the hosts of a run do not retry all at once. The
    last error, or one that is not temporary, is raised.
    """
    for attempt in range(tries - 1):
        try:
            return action()
        except Exception as error:
            if not may_pass(error):
                raise
        time.sleep(_FIRST_SECONDS * 2**attempt * random.uniform(0.5, 1.0))
    return action()


def cache_root() -> Path:
    """The directory of results that are slow to compute: tokens, compiled steps, the rates of this CPU.

    `$SCALING_CACHE`, or `scaling` in the user's cache directory.
    """
    if named := os.environ.get("SCALING_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "scaling"
