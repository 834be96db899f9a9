"""Trying again what a bucket or a network disk refuses for a while."""

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# What network file systems and FUSE mounts of buckets answer while their other end is away.
_PASSING = {
    errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.EIO, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.EREMOTEIO,
    errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip
_HTTP = {408, 429, 500, 502, 503, 504}  # "try again", of the stores that answer by HTTP
_FIRST_SECONDS = 0.5
_TRIES = 7  # waits of 0.5 s to 16 s: half a minute in all


def may_pass(error: Exception) -> bool:
    """Whether an error is of the moment: a full disk, a missing file or a wrong password is not."""
    if isinstance(error, OSError):
        unnumbered = error.errno is None and type(error) in (OSError, TimeoutError, ConnectionError)
        return unnumbered or error.errno in _PASSING
    return getattr(error, "code", None) in _HTTP  # gcsfs says it so


def patiently(action: Callable[[], T], tries: int = _TRIES) -> T:
    """What `action` returns; where it fails for the moment it is tried again, after waits that double.

    A wait is drawn from the upper half of its length: the hosts of a run do not come back all at once.
    The last error, or one that will not pass, is raised.
    """
    for attempt in range(tries - 1):
        try:
            return action()
        except Exception as error:
            if not may_pass(error):
                raise
        time.sleep(_FIRST_SECONDS * 2**attempt * random.uniform(0.5, 1.0))
    return action()
