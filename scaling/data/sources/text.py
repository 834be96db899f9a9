"""Text files: a document per file, or one file whose end is validation; the embedded corpus."""

import os
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import IO

from scaling.config.data import DataConfig
from scaling.data.sources.files import (
    File,
    Span,
    digest,
    estimated_sizes,
    local_file,
    matching_files,
    parts_of,
)
from scaling.data.sources.interface import Document, Malformed, Part, Sample
from scaling.runtime.errors import BadInputError

# Left out of the embedded corpus: installed packages (they differ from machine to machine), test suites
# (a third of the tree, much of it tables), and two packages that newer Pythons dropped or split off.
_NOT_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}

_PIECE = 1 << 20  # bytes of one text file that are tokenised at once
_LONG_LINE = 1 << 16  # bytes after which a piece may end inside a line
_SAMPLED = 16  # files of a sample


def open_text(pattern: str, config: DataConfig) -> "TextFiles | OneText":
    """`text:GLOB`. Raises BadInputError where no file matches."""
    files = matching_files(config.source, pattern)
    return TextFiles(files, skip=config.on_error == "skip") if len(files) > 1 else OneText(files[0])


def stdlib_source() -> "TextFiles":
    """The source text of the running Python's standard library: real text on every machine, about 11 MB."""
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _NOT_STDLIB]
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    if not paths:
        raise BadInputError(
            f"data.source=python-stdlib: this Python has no library source text under {root}; "
            "use text:GLOB or jsonl:GLOB"
        )
    paths.sort(key=lambda path: path.relative_to(root).as_posix())
    return TextFiles([local_file(path) for path in paths], root=root, skip=True)


class TextFiles:
    """A document per file, UTF-8, also compressed (gzip, zstandard).

    An undecodable file is an error, or with `skip` a malformed record. Names of an identity are relative to
    `root`.
    """

    def __init__(self, files: Sequence[File], *, root: Path | None = None, skip: bool = False) -> None:
        self._files = files
        self._root = root
        self._skip = skip

    @cached_property
    def identity(self) -> str:
        """Names, sizes and modification times."""
        return "text:" + digest(self._files, self._root) + (":skip" if self._skip else "")

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Groups of files."""
        return parts_of(self._files, partial(_read_text, skip=self._skip), target_bytes, lambda file: False)

    def sample(self, most: int = 1 << 20) -> Sample:
        """The beginnings of the largest files."""
        return _sample(self._files, most, self._skip)


class OneText:
    """One text file, also compressed: its end is validation and the rest is training.

    Its documents, where they are read as those of any source, are pieces of about a megabyte that end at
    line ends.
    """

    def __init__(self, file: File) -> None:
        self._file = file

    @cached_property
    def identity(self) -> str:
        """Name, size and modification time."""
        return "one-text:" + digest([self._file])

    @property
    def size(self) -> int:
        """Bytes of the file as it is stored."""
        return self._file.size

    def sides(self, validation_fraction: float) -> tuple[Iterator[str], Iterator[str]]:
        """Pieces of the training side and of the validation side, each an iterator of texts in order.

        The cut is at the first line end from `1 - validation_fraction` of the bytes on. A compressed file is
        read once more to find it.
        """
        size = self._content_size
        with self._file.open_plain() as stream:
            content = _Content(stream, size, self._file.name)
            cut = content.line_end(round(size * (1 - validation_fraction)))
        return self._pieces(0, cut), self._pieces(cut, size)

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Ranges that start at line ends; a compressed file is one."""
        return parts_of([self._file], _read_pieces, target_bytes, lambda file: not file.is_compressed())

    def sample(self, most: int = 1 << 20) -> Sample:
        """The beginning of the file."""
        return _sample([self._file], most, skip=False)

    @cached_property
    def _content_size(self) -> int:
        return _content_size(self._file)

    def _pieces(self, begin: int, end: int) -> Iterator[str]:
        with self._file.open_plain() as stream:
            yield from _Content(stream, self._content_size, self._file.name).pieces(begin, end)


class _Content:
    """The content of an open text file, read at positions that only grow."""

    def __init__(self, stream: IO[bytes], size: int, name: str) -> None:
        self._stream, self._size, self._name = stream, size, name
        self._held, self._start = b"", 0  # bytes from position `_start` on

    def line_end(self, position: int) -> int:
        """The first line end at or after a position; in a very long line the next character's start."""
        return position + self._until_line_end(self._at(position, _LONG_LINE), position)

    def pieces(self, begin: int, end: int) -> Iterator[str]:
        """The text from `begin` to `end` in pieces of about a megabyte."""
        while begin < end:
            block = self._at(begin, _PIECE + _LONG_LINE)
            stop = begin + _PIECE + self._until_line_end(block[_PIECE:], begin + _PIECE)
            stop = min(end, stop)
            try:
                yield block[: stop - begin].decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadInputError(
                    f"data.source: {self._name} is not UTF-8 text (byte {begin + error.start})"
                ) from None
            begin = stop

    def _until_line_end(self, ahead: bytes, position: int) -> int:
        newline = ahead.find(b"\n")
        if newline >= 0:
            return newline + 1
        if position + len(ahead) >= self._size:
            return self._size - position
        return next((i for i, byte in enumerate(ahead) if byte & 0xC0 != 0x80), len(ahead))

    def _at(self, position: int, length: int) -> bytes:
        """Up to `length` bytes from `position` on, fewer at the end."""
        if position > self._start + len(self._held):
            self._skip(position - self._start - len(self._held))
            self._held = b""
        else:
            self._held = self._held[position - self._start :]
        self._start = position
        missing = length - len(self._held)
        while missing > 0 and (block := self._stream.read(missing)):
            self._held += block
            missing -= len(block)
        return self._held[:length]

    def _skip(self, count: int) -> None:
        if self._stream.seekable():  # not so of zstandard; gzip reads on to the position
            self._stream.seek(count, os.SEEK_CUR)
            return
        while count and (block := self._stream.read(min(count, 1 << 20))):
            count -= len(block)


def _content_size(file: File) -> int:
    """Bytes of the content of a file; a compressed one is read to count them."""
    if not file.is_compressed():
        return file.size
    with file.open_plain() as stream:
        return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))


def _read_pieces(span: Span) -> Iterator[Document]:
    size = span.file.size if span.end is not None else _content_size(span.file)
    with span.file.open_plain() as stream:
        content = _Content(stream, size, span.file.name)
        begin = content.line_end(span.begin) if span.begin else 0
        end = size
        if span.end is not None:
            with span.file.open_plain() as ahead:
                end = _Content(ahead, size, span.file.name).line_end(span.end)
        yield from content.pieces(begin, end)


def _read_text(span: Span, skip: bool) -> Iterator[Document]:
    name = span.file.name
    try:
        with span.file.open_plain() as stream:
            content = stream.read()
        yield content.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = (
            f"data.source: {name} is not UTF-8 text (byte {error.start}); leave it out of the glob, or give "
            "data.on_error=skip"
        )
        if not skip:
            raise BadInputError(reason) from None
        yield Malformed(reason)


def _sample(files: Sequence[File], most: int, skip: bool) -> Sample:
    sizes = estimated_sizes(files)
    total = float(sum(sizes))
    if total == 0:
        raise BadInputError(f"data.source: {files[0].name}: the files are empty")
    texts: list[str] = []
    for file, size in sorted(zip(files, sizes, strict=True), key=lambda one: -one[1])[:_SAMPLED]:
        if sum(len(text) for text in texts) < most and size:
            texts.append(_head(file, most, skip))
    # One text file is two documents, one on each side of the split.
    return Sample([*texts], max(2, len(files)), total)


def _head(file: File, most: int, skip: bool) -> str:
    """The beginning of a text file; empty where it is not UTF-8 and may be skipped."""
    with file.open_plain() as stream:
        head = stream.read(most)
    for cut in range(min(4, len(head)) if len(head) == most else 1):  # the sample may end in a character
        try:
            return head[: len(head) - cut].decode()
        except UnicodeDecodeError as error:
            at = error.start
    if skip:
        return ""
    raise BadInputError(
        f"data.source: {file.name} is not UTF-8 text (byte {at}); leave it out of the glob, or give "
        "data.on_error=skip"
    )
