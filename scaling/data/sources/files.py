"""The files of a source, local or remote: found by a glob, opened for reading, cut into byte ranges.

A pattern with `://` is a URL that fsspec opens (gs://, s3://, https://, memory://); anything else is a local
path. Remote files are read in ranges of bytes while they are needed and are never copied to disk.
"""

import glob
import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, cast

from scaling.data.sources.compressed import decompressed, is_compressed
from scaling.data.sources.interface import Document, Part
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import patiently

# What stores call the field of a listing that changes when a file does.
_VERSIONS = (
    "etag",
    "ETag",
    "generation",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)
_CLOUD = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}


@dataclass(frozen=True)
class File:
    """A file of a source: an absolute path or a URL, its size in bytes, and its time or etag."""

    name: str
    size: int
    version: str

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes of the file, seekable. Raises BadInputError where it cannot be read."""
        with _named(self.name):
            if is_url(self.name):
                system, path = _file_system(self.name)
                remote: IO[bytes] = patiently(lambda: system.open(path, "rb"))
                with remote:
                    yield remote
            else:
                with open(self.name, "rb") as local:
                    yield local

    @contextmanager
    def open_plain(self) -> Iterator[IO[bytes]]:
        """The content of the file, decompressed as it is read if it is compressed. Raises BadInputError."""
        with self.open() as raw, decompressed(raw, f"data.source: {self.name}") as stream:
            yield stream

    def is_compressed(self) -> bool:
        """Whether its first bytes are those of a compressed file. Raises BadInputError."""
        with _named(self.name):
            if is_url(self.name):
                system, path = _file_system(self.name)
                return is_compressed(patiently(lambda: system.cat_file(path, start=0, end=4)))
            with open(self.name, "rb") as local:
                return is_compressed(local.read(4))


@dataclass(frozen=True)
class Span:
    """The records of a file that start at bytes `begin` to `end` (not included); None is to the end."""

    file: File
    begin: int = 0
    end: int | None = None


@dataclass(frozen=True)
class SpansPart:
    """A part that is some files, or a range of a large one; `read` gives the documents of a span."""

    spans: tuple[Span, ...]
    read: Callable[[Span], Iterator[Document]]

    @property
    def name(self) -> str:
        """The file and the range, or the first file and how many follow."""
        first = self.spans[0]
        if len(self.spans) > 1:
            return f"{first.file.name} and the next {len(self.spans) - 1}"
        if first.end is None:
            return first.file.name
        return f"{first.file.name}[bytes {first.begin}-{first.end}]"

    @property
    def size(self) -> int:
        """Bytes of the files as they are stored."""
        return sum((s.file.size if s.end is None else s.end) - s.begin for s in self.spans)

    def documents(self) -> Iterator[Document]:
        """Those of each span in turn."""
        for span in self.spans:
            yield from self.read(span)


def parts_of(
    files: Sequence[File],
    read: Callable[[Span], Iterator[Document]],
    target_bytes: int,
    divisible: Callable[[File], bool],
) -> list[Part]:
    """Parts of about `target_bytes`: small files together, large `divisible` ones in ranges."""
    parts: list[Part] = []
    group: list[Span] = []
    grouped = 0  # bytes
    for file in files:
        divided = file.size > target_bytes and divisible(file)
        if group and (divided or grouped + file.size > target_bytes):
            parts.append(SpansPart(tuple(group), read))
            group, grouped = [], 0
        if divided:
            count = math.ceil(file.size / target_bytes)
            bounds = [file.size * i // count for i in range(count + 1)]
            parts += [SpansPart((Span(file, *pair),), read) for pair in itertools.pairwise(bounds)]
        else:
            group.append(Span(file))
            grouped += file.size
    if group:
        parts.append(SpansPart(tuple(group), read))
    return parts


def is_url(pattern: str) -> bool:
    """Whether fsspec opens it."""
    return "://" in pattern


def matching_files(source: str, pattern: str) -> list[File]:
    """The files that a pattern names, sorted by name.

    Args:
      source: `data.source`, for messages.
      pattern: a path or URL, in which `*`, `?`, `[...]` and `**` match names.

    Raises:
      BadInputError: no file matches, or the store cannot be reached.
    """
    if files := find_files(pattern):
        return files
    where = "" if is_url(pattern) else f" from {os.getcwd()}"
    if not is_url(pattern) and os.path.isdir(os.path.expanduser(pattern)):
        where = f": it is a directory; give a glob of the files in it, for example {pattern.rstrip('/')}/**/*"
    raise BadInputError(f"data.source={source}: no file matches {pattern!r}{where}")


def find_files(pattern: str) -> list[File]:
    """As `matching_files`, but there may be none."""
    return _remote_files(pattern) if is_url(pattern) else _local_files(pattern)


def local_file(path: str | Path) -> File:
    """A file on a local disk. Raises BadInputError where there is none."""
    path = Path(path).absolute()
    with _named(str(path)):
        stat = path.stat()
    return File(str(path), stat.st_size, str(stat.st_mtime_ns))


def digest(files: Sequence[File], root: Path | None = None) -> str:
    """Names, sizes and versions of files in 128 bits; names are relative to `root` where one is given."""
    hashed = hashlib.blake2b(digest_size=16)
    for file in files:
        name = PurePath(file.name).relative_to(root).as_posix() if root else file.name
        hashed.update(f"{name}\0{file.size}\0{file.version}\n".encode(errors="surrogateescape"))
    return hashed.hexdigest()


def estimated_sizes(files: Sequence[File], most: int = 8, sample: int = 1 << 22) -> list[int]:
    """Bytes of the content of files, (files,): exact of plain files.

    Those of compressed files are estimated from the first `sample` bytes of at most `most` of them; whether
    files are compressed is looked up for at most 64. Raises as `File.open_plain`.
    """
    step = max(1, len(files) // 64)
    looked = {i: files[i].is_compressed() for i in range(0, len(files), step)}
    packed = [i for i in range(len(files)) if looked[i - i % step]]
    plain, read = 0, 0
    for i in packed[:: max(1, len(packed) // most)][:most]:
        with files[i].open() as raw, decompressed(raw, f"data.source: {files[i].name}") as stream:
            content = len(stream.read(sample))
            plain += content
            read += files[i].size if content < sample else raw.tell()
    sizes = [file.size for file in files]
    for i in packed:
        sizes[i] = round(sizes[i] * plain / max(1, read))
    return sizes


def _local_files(pattern: str) -> list[File]:
    pattern = os.path.expanduser(pattern)
    # A name that exists is not a pattern: `[1].txt`.
    paths = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
    return [local_file(path) for path in paths if os.path.isfile(path)]


def _remote_files(pattern: str) -> list[File]:
    with _named(pattern):
        system, path = _file_system(pattern)
        if glob.has_magic(path):
            found = patiently(lambda: cast(dict[str, Any], system.glob(path, detail=True)))
        else:
            try:
                found = {path: patiently(lambda: system.info(path))}
            except FileNotFoundError:
                found = {}
    return [
        File(
            system.unstrip_protocol(name),
            int(info.get("size") or 0),
            str(next((info[key] for key in _VERSIONS if info.get(key) is not None), "")),
        )
        for name, info in sorted(found.items())
        if info["type"] == "file"
    ]


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, cached by fsspec, and the path in it."""
    import fsspec

    scheme = url.partition("://")[0]
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except ImportError as error:
        package = _CLOUD.get(scheme)
        remedy = f'{scheme}:// needs {package}: pip install "scaling-lab[cloud]"' if package else str(error)
        raise BadInputError(f"data.source: cannot read {url}: {remedy}") from None
    except ValueError as error:
        raise BadInputError(
            f"data.source: cannot read {url}: no file system is known for {scheme}:// ({error}); "
            "give a local path, gs://, s3:// or another URL that fsspec opens"
        ) from None


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns what reading raises into one line that names the file."""
    try:
        yield
    except BadInputError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            reason = "no such file"
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif is_url(name) or isinstance(error, OSError):
            # Clients of stores raise their own types for missing credentials, buckets and permissions.
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        else:
            raise
        raise BadInputError(f"data.source: cannot read {name}: {reason}") from None
