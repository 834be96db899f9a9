"""Writing one shard: a file of tokens and an index for each side, complete or not there at all."""

import contextlib
import errno
import hashlib
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from scaling.data.sources.interface import Tally
from scaling.data.store.manifest import SHARDS, Shard, Side, encoded
from scaling.data.store.tokens import BLOCK, SPLITS
from scaling.runtime.files import replace

# A document is a chunk of its own, so that reading it decodes no other. Token ids hardly compress.
_OPTIONS = "group_size:1,uncompressed,max_parallelism:1"
PART = ".part"  # of files that are being written


class ShardWriter:
    """A shard that is being written under temporary names; `commit` makes it visible.

    Memory: a block of tokens, and 16 bytes per document of this shard.
    """

    def __init__(self, folder: Path, number: int, dtype: np.dtype, end_of_text: int) -> None:
        self._folder, self._number = folder, number
        self.sides = {split: SideWriter(folder / SHARDS, dtype, end_of_text) for split in SPLITS}

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in self.sides.values():
            side.remove()

    def commit(self, parts: Sequence[str], tally: Tally) -> Shard:
        """Rename the files, and write the record of the shard last. Raises OSError."""
        shard = Shard(
            number=self._number,
            parts=tuple(parts),
            records=tally.records,
            empty=tally.empty,
            malformed=tally.malformed,
            reasons=tuple(tally.reasons),
            sides={split: side.finish() for split, side in self.sides.items() if side.documents},
        )
        for split in shard.sides:
            self.sides[split].rename(shard.file(self._folder, split), shard.index(self._folder, split))
        replace(self._folder / SHARDS / f"{self._number:05}.json", encoded(shard))
        return shard


class SideWriter:
    """The documents of one side of a shard. Its methods raise OSError where the disk is full."""

    def __init__(self, folder: Path, dtype: np.dtype, end_of_text: int) -> None:
        self._folder = folder
        self._dtype = dtype.newbyteorder("<")
        self._end_of_text = np.array([end_of_text], self._dtype)
        self._file: Path | None = None
        self._index: Path | None = None
        self._writer: Any = None
        self._hashes, self._lengths = array("Q"), array("q")
        self._long: list[tuple[int, int]] = []
        self._pending: list[np.ndarray] = []
        self._held = self._length = self._records = 0
        self.tokens = self.text_bytes = 0

    @property
    def documents(self) -> int:
        """Documents so far."""
        return len(self._hashes)

    def add(self, ids: np.ndarray, document_hash: int, text_bytes: int) -> None:
        """Write a document."""
        self.extend(ids)
        self.end(document_hash, text_bytes)

    def extend(self, ids: np.ndarray) -> None:
        """Write more ids of the current document."""
        if not self._length:
            self._pending.append(self._end_of_text)
            self._held = self._length = 1
        self._pending.append(ids.astype(self._dtype))
        self._held += len(ids)
        self._length += len(ids)
        if self._held > BLOCK:
            joined = np.concatenate(self._pending)
            cut = (len(joined) - 1) // BLOCK * BLOCK  # what follows is at least a token
            for begin in range(0, cut, BLOCK):
                self._write(joined[begin : begin + BLOCK])
            self._pending, self._held = [joined[cut:]], len(joined) - cut

    def end(self, document_hash: int, text_bytes: int) -> None:
        """End the current document."""
        self._write(np.concatenate(self._pending))
        if self._records > 1:
            self._long.append((self.documents, self._records - 1))
        self._hashes.append(document_hash)
        self._lengths.append(self._length)
        self.tokens += self._length
        self.text_bytes += text_bytes
        self._pending, self._held, self._length, self._records = [], 0, 0, 0

    def _write(self, ids: np.ndarray) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        if self._writer is None:
            self._file = temporary(self._folder)
            self._writer = ArrayRecordWriter(str(self._file), _OPTIONS)
        with _disk_errors():
            self._writer.write(ids.tobytes())
        self._records += 1

    def finish(self) -> Side:
        """Write the index, and flush both files to the disk."""
        assert self._file is not None
        with _disk_errors():
            self._writer.close()
        self._writer = None
        self._index = temporary(self._folder)
        with self._index.open("wb") as file:
            for values in (self._hashes, self._lengths):
                file.write(np.array(values).astype("<u8").tobytes())
        for path in (self._file, self._index):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        return Side(
            documents=self.documents,
            tokens=self.tokens,
            text_bytes=self.text_bytes,
            long=tuple(self._long),
            size=self._file.stat().st_size,
            hash=hash_of(self._file, self._index),
        )

    def rename(self, file: Path, index: Path) -> None:
        """Give both files their names."""
        assert self._file is not None and self._index is not None
        os.replace(self._file, file)
        os.replace(self._index, index)
        self._file = self._index = None

    def remove(self) -> None:
        """Delete what was written, unless it was renamed."""
        if self._writer is not None:
            with contextlib.suppress(RuntimeError, ValueError):
                self._writer.close()
        for path in (self._file, self._index):
            if path is not None:
                path.unlink(missing_ok=True)


def hash_of(*paths: Path) -> str:
    """blake2b of the contents of files, one after another."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def temporary(folder: Path) -> Path:
    """A new file of its own, to be renamed."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=PART)
    os.close(handle)
    os.chmod(name, 0o644)
    return Path(name)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """ArrayRecord's errors as OSError, with the reason that the system gave."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        reason = text.partition("failed: ")[2].partition(";")[0] or text[:160]
        raise OSError(errno.EIO, reason) from None
