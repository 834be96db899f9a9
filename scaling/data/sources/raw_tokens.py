"""Raw .bin files: a sequence of ids, as nanoGPT writes it, or with the header of llm.c."""

from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from scaling.data.sources.files import File, Span
from scaling.data.sources.interface import Document
from scaling.data.sources.vocabulary import Vocabulary
from scaling.runtime.errors import BadInputError

_BLOCK = 1 << 20  # ids that are read at once
_LONGEST = 1 << 29  # ids of a document; as uint16 it fills 1 GiB
# By magic number: version of the format and type of the ids, after a header of 256 int32 whose third is their
# number (llm.c, dev/data/data_common.py; modded-nanogpt writes the first).
_HEADERS: dict[int, tuple[int, np.dtype]] = {20240520: (1, np.dtype("<u2")), 20240801: (7, np.dtype("<u4"))}
_HEADER_BYTES = 1024


class Layout(NamedTuple):
    """Where the ids of a file are."""

    first_byte: int
    dtype: np.dtype
    ids: int


def layout(file: File, stream: IO[bytes], vocabulary: Vocabulary) -> Layout:
    """The header of an open file. Raises BadInputError where its size contradicts it."""
    head = np.frombuffer(stream.read(_HEADER_BYTES)[:12].ljust(12, b"\0"), "<i4")
    if (magic := int(head[0])) in _HEADERS:
        version, dtype = _HEADERS[magic]
        count = int(head[2])
        if head[1] != version:
            raise BadInputError(
                f"data.source: {file.name}: version {head[1]} of a header with magic number {magic}; "
                f"version {version} is supported"
            )
        if file.size != _HEADER_BYTES + count * dtype.itemsize:
            raise BadInputError(
                f"data.source: {file.name}: its header names {count} ids of {dtype.itemsize} bytes, but the "
                f"file has {file.size} bytes: it is incomplete"
            )
        return Layout(_HEADER_BYTES, dtype, count)
    dtype = np.dtype("<u2" if vocabulary.size <= 1 << 16 else "<u4")
    if file.size % dtype.itemsize:
        raise BadInputError(
            f"data.source: {file.name}: {file.size} bytes are no whole number of {dtype.name} ids "
            f"(data.tokenizer={vocabulary.tokenizer} has {vocabulary.size}): the file is incomplete, or "
            "another format"
        )
    return Layout(0, dtype, file.size // dtype.itemsize)


def read_raw(span: Span, vocabulary: Vocabulary) -> Iterator[Document]:
    """The documents that start in a span.

    End-of-text may come before or after each document. What lies between two of them is a document, maybe
    empty; nothing before the first one or after the last is no document.
    """
    file = span.file
    with file.open() as stream:
        first_byte, dtype, count = layout(file, stream, vocabulary)

        def position(byte: int) -> int:
            return min(count, max(0, -(-(byte - first_byte) // dtype.itemsize)))

        begin, end = position(span.begin), count if span.end is None else position(span.end)
        # A document that starts at `begin` follows an end-of-text.
        start = 0 if begin == 0 else None
        at = max(0, begin - 1)
        stream.seek(first_byte + at * dtype.itemsize)
        pieces: list[np.ndarray] = []  # of the document that the last block has not ended
        while at < count and (start is None or start < end):
            ids = _read(file, stream, dtype, min(_BLOCK, count - at))
            vocabulary.check(ids, file.name, at)
            taken = 0
            for stop in vocabulary.ends(ids):
                if start is not None and (start > 0 or at + stop > 0):
                    yield np.concatenate([*pieces, ids[taken:stop]]) if pieces else ids[taken:stop]
                pieces = []
                start, taken = at + stop + 1, stop + 1
                if start >= end:
                    return
            at += len(ids)
            if start is None and at >= end:
                return
            if start is not None and taken < len(ids):
                pieces.append(ids[taken:])
                if at - start > _LONGEST:
                    raise BadInputError(
                        f"data.source: {file.name}: no end-of-text id {vocabulary.end_of_text} in "
                        f"{at - start} tokens; is data.tokenizer={vocabulary.tokenizer} the one that made it?"
                    )
        if pieces:
            yield np.concatenate(pieces)


def _read(file: File, stream: IO[bytes], dtype: np.dtype, count: int) -> np.ndarray:
    content = stream.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise BadInputError(f"data.source: {file.name}: it has become shorter while it was read")
    return np.frombuffer(content, dtype)
