"""Files that may be compressed: gzip and zstandard, recognised by their first bytes and not by their names.

No UTF-8 text begins like either, so a file that was decompressed without being renamed is read as it is.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from scaling.runtime.errors import BadInputError

_GZIP = b"\x1f\x8b"
# A frame, or one that readers skip (RFC 8878, section 3.1), with which pzstd begins.
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60)))
_LARGEST_WINDOW = 2**31  # of `zstd --long=31`


def is_compressed(first: bytes) -> bool:
    """Whether a file that begins with these bytes, at least 4 unless it is shorter, is compressed."""
    return first.startswith((_GZIP, *_ZSTD))


@contextmanager
def decompressed(raw: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """The content of an open file, decompressed as it is read if it is compressed.

    Raises:
        BadInputError: it is damaged or cut short, or the package for zstandard is not installed. The message
            begins with `name`.
        OSError: it cannot be read.
    """
    errors: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    first = raw.read(4)
    raw.seek(0)
    stream = raw
    if first.startswith(_GZIP):
        # Several members in one file are read as one.
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    elif first in _ZSTD:
        zstandard = _zstandard(name)
        errors = (*errors, zstandard.ZstdError)
        stream = io.BufferedReader(_WholeFrames(raw, zstandard), 1 << 17)
    try:
        yield stream
    except errors as error:
        raise BadInputError(f"{name}: a damaged or incomplete compressed file ({error})") from None


def read_plain(path: Path) -> bytes:
    """All of a local file, decompressed if it is compressed. Raises as `decompressed`."""
    with path.open("rb") as raw, decompressed(raw, str(path)) as stream:
        return stream.read()


class _WholeFrames(io.RawIOBase):
    """A zstandard stream of one frame or several; unlike the library's reader it refuses one that is cut."""

    def __init__(self, raw: IO[bytes], zstandard: Any) -> None:
        self._raw, self._zstandard = raw, zstandard
        self._frame: Any = None
        self._input = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        """True: `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` as far as decompressed bytes are at hand; 0 at the end."""
        while not self._plain:
            plain = self._more()
            if plain is None:
                return 0
            self._plain = memoryview(plain)
        size = min(len(buffer), len(self._plain))
        buffer[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def _more(self) -> bytes | None:
        """The next plain bytes, maybe none of them yet; None at the end."""
        self._input = self._input or self._raw.read(1 << 16)
        if not self._input:
            if self._frame is not None:
                raise EOFError("it ends inside a frame")
            return None
        if self._frame is None:
            self._frame = self._zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj()
        plain: bytes = self._frame.decompress(self._input)
        self._input = b""
        if self._frame.eof:
            self._input, self._frame = self._frame.unused_data, None
        return plain


def _zstandard(name: str) -> Any:
    try:
        import zstandard
    except ImportError:
        raise BadInputError(f"{name}: to read zstandard files: pip install zstandard") from None
    return zstandard
