"""Files that may be compressed: gzip and zstandard, recognised by their first bytes and not by their names.

No UTF-8 text begins like either, so a file that was decompressed without being renamed is read as it is.
"""

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root

_GZIP = b"\x1f\x8b"
# A frame, or one that readers skip (RFC 8878, section 3.1), with which pzstd begins.
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60)))
_LARGEST_WINDOW = 2**31  # of `zstd --long=31`


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return file.read(4).startswith((_GZIP, *_ZSTD))


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """A file's content as bytes, decompressed where it is compressed.

    Raises:
        BadInputError: it is damaged or cut short, or the package for zstandard is not installed.
        OSError: it cannot be read.
    """
    with _open(path) as (stream, _):
        yield stream


def estimated_sizes(paths: Sequence[Path], most: int = 8, sample: int = 1 << 22) -> list[int]:
    """Bytes of the content of files, (paths,): exact of plain files.

    Those of compressed files are estimated from the first `sample` bytes of at most `most` of them. Raises as
    `open_plain`.
    """
    sizes = [path.stat().st_size for path in paths]
    packed = [i for i, path in enumerate(paths) if is_compressed(path)]
    plain, read = 0, 0
    for i in packed[:: max(1, len(packed) // most)][:most]:
        with _open(paths[i]) as (stream, raw):
            content = len(stream.read(sample))
            plain += content
            read += sizes[i] if content < sample else raw.tell()
    for i in packed:
        sizes[i] = round(sizes[i] * plain / max(1, read))
    return sizes


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, BinaryIO]]:
    """A file's content as a stream, and the file that it comes from."""
    errors: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    with path.open("rb") as raw:
        first = raw.read(4)
        raw.seek(0)
        stream: Any = raw
        if first.startswith(_GZIP):
            stream = gzip.GzipFile(fileobj=raw)  # several members in one file are read as one
        elif first in _ZSTD:
            zstandard = _zstandard(path)
            errors = (*errors, zstandard.ZstdError)
            stream = _WholeFrames(raw, zstandard, path)
        try:
            yield stream, raw
        except errors as error:
            raise BadInputError(f"{path}: a damaged or incomplete compressed file ({error})") from None


def read_plain(path: Path) -> bytes:
    """All of a file, decompressed where it is compressed. Raises as `open_plain`."""
    with open_plain(path) as file:
        return file.read()


class Unpacked:
    """Compressed files as plain ones in the cache, for random access, until this object is gone."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._paths: dict[Path, Path] = {}

    def path(self, path: Path) -> Path:
        """The plain file of `path`: itself where it is not compressed.

        Raises:
            BadInputError: it cannot be read, is damaged, or there is no room for it.
        """
        if path not in self._paths:
            try:
                self._paths[path] = self._unpack(path) if is_compressed(path) else path
            except OSError as error:
                raise BadInputError(f"data.source: cannot read {path}: {error.strerror or error}") from None
        return self._paths[path]

    def _unpack(self, path: Path) -> Path:
        if self._folder is None:
            parent = cache_root() / "unpacked"
            parent.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(dir=parent)
        plain = Path(self._folder.name, str(len(self._paths)))
        with open_plain(path) as stream, plain.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        return plain


class _WholeFrames:
    """A zstandard stream of one frame or several; unlike the library's reader it refuses one that is cut."""

    def __init__(self, raw: BinaryIO, zstandard: Any, path: Path) -> None:
        self._raw, self._zstandard, self._path = raw, zstandard, path
        self._frame: Any = None
        self._input = self._plain = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all of them where it is negative; none at the end."""
        parts: list[bytes] = [self._plain]
        held = len(self._plain)
        while (size < 0 or held < size) and (part := self._more()) is not None:
            parts.append(part)
            held += len(part)
        content = b"".join(parts)
        size = len(content) if size < 0 else size
        self._plain = content[size:]
        return content[:size]

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


def _zstandard(path: Path) -> Any:
    try:
        import zstandard
    except ImportError:
        raise BadInputError(f"{path}: to read zstandard files: pip install zstandard") from None
    return zstandard
