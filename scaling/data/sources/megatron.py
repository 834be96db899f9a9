"""Megatron's indexed pairs: ids in a .bin file, and where sequences and documents are in an .idx file.

The index (megatron/core/datasets/indexed_dataset.py): 9 bytes `MMIDIDX`, a version, a code of the type of the
ids, the numbers of sequences and of document bounds; then the length (int32) and the byte (int64) of each
sequence, and the sequence (int64) at which each document starts. The last bound is the number of sequences.
"""

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from scaling.data.sources.files import File, Span, find_files
from scaling.data.sources.interface import Document
from scaling.data.sources.vocabulary import Vocabulary
from scaling.runtime.errors import BadInputError

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # 6 and 7 are of floating point


class Index(NamedTuple):
    """What the header of an .idx file says."""

    dtype: np.dtype
    sequences: int
    documents: int


def index_of(data: str) -> str:
    """The name of the .idx file of a .bin file."""
    return data.removesuffix(".bin") + ".idx"


def read_index(file: File, stream: IO[bytes]) -> Index:
    """The header of an open .idx file. Raises BadInputError where it is none or incomplete."""
    head = stream.read(_HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise BadInputError(f"data.source: {file.name} is not an index of Megatron (it starts with MMIDIDX)")
    _, version, code, sequences, bounds = _HEADER.unpack(head)
    if version != 1:
        raise BadInputError(f"data.source: {file.name}: version {version}; version 1 is supported")
    if code not in _TYPES:
        raise BadInputError(f"data.source: {file.name}: type code {code} is not that of an integer type")
    expected = _HEADER.size + 12 * sequences + 8 * bounds
    # A multimodal index has a further byte per sequence.
    if bounds < 1 or file.size not in (expected, expected + sequences):
        raise BadInputError(
            f"data.source: {file.name}: it names {sequences} sequences and {bounds} document bounds, which "
            f"are {expected} bytes, but has {file.size}: it is incomplete"
        )
    return Index(np.dtype(_TYPES[code]), sequences, bounds - 1)


def read_pair(span: Span, vocabulary: Vocabulary) -> Iterator[Document]:
    """The documents of a part of a .bin file, numbered in proportion to its bytes.

    End-of-text at either end of a document is left out, and inside it separates documents.
    """
    data = span.file
    (file,) = find_files(index_of(data.name))
    with file.open() as index_stream, data.open() as stream:
        index = read_index(file, index_stream)

        def number(byte: int) -> int:
            return -(-byte * index.documents // max(1, data.size))

        begin, end = number(span.begin), index.documents if span.end is None else number(span.end)
        if begin == end:
            return
        pointers_at = _HEADER.size + 4 * index.sequences
        bounds = _slice(index_stream, pointers_at + 8 * index.sequences, "<i8", begin, end + 1)
        if bounds[0] < 0 or bounds[-1] > index.sequences or (np.diff(bounds) < 0).any():
            raise BadInputError(f"data.source: {file.name}: its bounds of documents are damaged")
        first, last = int(bounds[0]), int(bounds[-1])
        lengths = _slice(index_stream, _HEADER.size, "<i4", first, last)
        pointers = _slice(index_stream, pointers_at, "<i8", first, last)
        size = index.dtype.itemsize
        if len(lengths) and (
            lengths.min() < 0
            or pointers.min() < 0
            or (pointers + lengths.astype(np.int64) * size).max() > data.size
        ):
            raise BadInputError(
                f"data.source: {data.name}: its index names bytes beyond its {data.size}: it is incomplete"
            )
        for low, high in zip(bounds - first, bounds[1:] - first, strict=False):
            ids = _ids(stream, index.dtype, pointers[low:high], lengths[low:high])
            if len(ids):
                vocabulary.check(ids, data.name, int(pointers[low]) // size)
            yield from _documents(ids, vocabulary)


def _documents(ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    """What lies between end-of-text ids; an empty document where there is nothing."""
    begin, found = 0, False
    for stop in (*vocabulary.ends(ids), len(ids)):
        if stop > begin:
            found = True
            yield ids[begin:stop]
        begin = stop + 1
    if not found:
        yield ids[:0]


def _ids(stream: IO[bytes], dtype: np.dtype, pointers: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The sequences of a document, one after the other."""
    if not len(lengths):
        return np.zeros(0, dtype)
    ends = pointers + lengths.astype(np.int64) * dtype.itemsize
    if (ends[:-1] == pointers[1:]).all():
        pointers, ends = pointers[:1], ends[-1:]
    parts = []
    for begin, end in zip(pointers.tolist(), ends.tolist(), strict=True):
        if stream.tell() != begin:
            stream.seek(begin)
        parts.append(np.frombuffer(stream.read(end - begin), dtype))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _slice(stream: IO[bytes], offset: int, dtype: str, begin: int, end: int) -> np.ndarray:
    """Elements `begin` to `end` of an array that starts at a byte."""
    size = np.dtype(dtype).itemsize
    stream.seek(offset + begin * size)
    return np.frombuffer(stream.read((end - begin) * size), dtype)
