"""Tokens of a corpus as arrays that are read from the shards of a folder when they are indexed."""

import contextlib
import resource
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.sources.interface import Tally
from scaling.objectives.draws import TokenArray
from scaling.runtime.errors import BadInputError

SPLITS = ("train", "validation")
BLOCK = 1 << 14
"""Most tokens of a record. A longer document is several records, so that a row never decodes all of it."""
_RECORDS = 64  # read at once for long slices
_BUFFER = 1 << 14  # bytes read at once; the default of a megabyte would be read for every document


@dataclass(frozen=True)
class TokenSplit:
    """The documents of one side, each as `[end_of_text] + tokens`.

    `ids` (T,) is uint16 or uint32; document d is ids[offsets[d] : offsets[d + 1]], offsets (D + 1,) int64;
    `hashes` (D,) uint64 holds the content hash of each document; `text_bytes` is UTF-8 bytes of all texts.
    The order of the documents has no meaning.
    """

    ids: TokenArray
    offsets: np.ndarray
    hashes: np.ndarray
    text_bytes: int

    @property
    def documents(self) -> int:
        """D."""
        return len(self.hashes)

    @property
    def tokens(self) -> int:
        """T, the end-of-text before each document included."""
        return len(self.ids)


@dataclass(frozen=True)
class TokenStore:
    """Both sides of a tokenised corpus.

    `fingerprint` is a hash of the texts and the tokenizer, not of their paths: equal on every machine that
    holds the same corpus, in however many shards.
    """

    train: TokenSplit
    validation: TokenSplit
    end_of_text: int
    fingerprint: str
    path: Path
    records: Tally
    """What was read from the source."""


class ShardedIds:
    """The tokens (T,) of one side, in ArrayRecord files: `ids[a:b]`, `ids[positions]`, `np.asarray(ids)`.

    Nothing is kept in memory except the indexes of the files, 8 bytes per document. Threads may read at once.
    """

    def __init__(
        self,
        files: Sequence[Path],
        documents_S: Sequence[int],
        long_documents: Sequence[tuple[int, int]],
        offsets: np.ndarray,
        dtype: np.dtype,
    ) -> None:
        """`documents_S` counts the documents of each file, none of them empty; `long_documents` are pairs of
        a document of more than one record and the number of its records beyond the first."""
        self.dtype = dtype
        self._files, self._offsets = list(files), offsets
        self._long = np.array([document for document, _ in long_documents], np.int64)
        self._extra = np.cumsum([0, *(extra for _, extra in long_documents)])
        # The number of the first record of each file, and of all records.
        self._firsts = self._record(np.cumsum([0, *documents_S]))
        self._readers: list[Any] = [None] * len(self._files)
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @property
    def shape(self) -> tuple[int]:
        """(T,)."""
        return (len(self),)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __iter__(self) -> Iterator[int]:
        for begin in range(0, len(self), _RECORDS * BLOCK):
            yield from self[begin : begin + _RECORDS * BLOCK].tolist()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            begin, end, step = key.indices(len(self))
            if step == 1:
                return self._read(np.array([begin]), np.array([max(0, end - begin)]))
            key = np.arange(begin, end, step)
        index = np.asarray(key, np.int64)
        flat = index.ravel()
        if not len(flat):
            return np.empty(index.shape, self.dtype)
        if flat.min() < 0:
            flat = np.where(flat < 0, flat + len(self), flat)
        if flat.min() < 0 or flat.max() >= len(self):
            raise IndexError(f"position {flat.min()} or {flat.max()} of {len(self)} tokens")
        # Rows are made of runs of tokens that follow one another; padding repeats one token.
        new = np.concatenate([[True], np.diff(flat) != 0])
        distinct = flat[new]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(distinct) != 1) + 1])
        values = self._read(distinct[starts], np.diff(np.append(starts, len(distinct))))
        if len(distinct) < len(flat):
            values = values[np.cumsum(new) - 1]
        return values.reshape(index.shape)[()]

    def _record(self, documents: np.ndarray) -> np.ndarray:
        """The number of the first record of documents, counted over all files."""
        return documents + self._extra[np.searchsorted(self._long, documents)]

    def _read(self, begin_R: np.ndarray, length_R: np.ndarray) -> np.ndarray:
        """The tokens of runs, one after another."""
        out = np.empty(int(length_R.sum()), self.dtype)
        if not len(out):
            return out
        last_R = begin_R + length_R - 1
        from_R = np.searchsorted(self._offsets, begin_R, side="right") - 1
        to_R = np.searchsorted(self._offsets, last_R, side="right") - 1
        within_R = begin_R - self._offsets[from_R]
        first_R = self._record(from_R) + within_R // BLOCK
        stop_R = self._record(to_R) + (last_R - self._offsets[to_R]) // BLOCK + 1
        file_R = np.searchsorted(self._firsts, first_R, side="right") - 1
        at = 0
        for file, first, stop, skip, length in zip(
            file_R.tolist(),
            first_R.tolist(),
            stop_R.tolist(),
            (within_R % BLOCK).tolist(),
            length_R.tolist(),
            strict=True,
        ):
            end = at + length
            while first < stop:
                upto = min(stop, int(self._firsts[file + 1]), first + _RECORDS)
                tokens = self._records(file, first, upto)[skip:]
                taken = min(len(tokens), end - at)
                out[at : at + taken] = tokens[:taken]
                at, skip, first = at + taken, 0, upto
                file += first == self._firsts[file + 1]
        return out

    def _records(self, file: int, first: int, stop: int) -> np.ndarray:
        """The tokens of records, joined."""
        reader = self._readers[file] or self._open(file)
        begin = int(self._firsts[file])
        try:
            records = reader.read(first - begin, stop - begin)
        except (RuntimeError, ValueError, IndexError) as error:
            raise damaged(self._files[file], error) from None
        return np.frombuffer(records[0] if len(records) == 1 else b"".join(records), self.dtype)

    def _open(self, file: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        with self._opening:
            if self._readers[file] is None:
                _allow_files(len(self._files))
                # Without these options each read starts threads and reads ahead, a thousand times slower.
                options = "readahead_buffer_size:0,max_parallelism:0"
                try:
                    self._readers[file] = ArrayRecordReader(
                        str(self._files[file]), options, file_reader_buffer_size=_BUFFER
                    )
                except (RuntimeError, ValueError, OSError) as error:
                    raise damaged(self._files[file], error) from None
            return self._readers[file]


def damaged(path: Path, error: Exception) -> BadInputError:
    """The error of a shard that cannot be read."""
    reason = " ".join(str(error).split())[:160]
    return BadInputError(
        f"{path}: the shard is damaged ({reason}); delete it and run the same scaling data prepare again"
    )


def _allow_files(count: int) -> None:
    """Raise the soft limit of open files: both sides of some corpora with hundreds of shards each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8 * count + 1024
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
