"""Documents to shards: encoded in batches, hashed, and sent to their side of the split."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from scaling.data.sources import OneText
from scaling.data.sources.interface import Part, Tally
from scaling.data.store.contents import content_hash, is_validation
from scaling.data.store.manifest import Shard
from scaling.data.store.shards import ShardWriter, SideWriter
from scaling.data.tokenizers import Tokenizer

_BATCH_DOCUMENTS = 1024
_BATCH_CHARACTERS = 1 << 20
LONG = 1 << 24
"""Characters from which a document is tokenised in pieces, to bound memory."""
_PIECE = 1 << 20
# Between a line break and what is not white space, tokenizers that split text into words split it too.
_CUT = re.compile(r"\n(?=\S)")

Progress = Callable[[int], None]
"""Called with the bytes of text tokenised so far."""


class Added(Protocol):
    """Endless documents that are added to the training side of a source, and never held out."""

    @property
    def identity(self) -> str:
        """Names the texts for the cache."""
        ...

    @property
    def share(self) -> float:
        """Of the training tokens, between 0 and 1."""
        ...

    def __getitem__(self, index: int) -> str:
        """The text of a document, not empty."""
        ...


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards of one folder. Picklable, for worker processes."""

    folder: Path
    tokenizer: Tokenizer
    validation_fraction: float

    @property
    def dtype(self) -> np.dtype:
        """The type in which ids are stored."""
        return np.dtype(np.uint16 if self.tokenizer.vocab_size <= 1 << 16 else np.uint32)

    def writer(self, number: int) -> ShardWriter:
        """A new shard."""
        return ShardWriter(self.folder, number, self.dtype, self.tokenizer.end_of_text)

    def make(
        self, number: int, parts: Sequence[Part], progress: Progress | None = None, most: int | None = None
    ) -> Shard:
        """The shard of some parts, or of their first `most` records.

        Raises:
          BadInputError: a part cannot be read.
          OSError: the shard cannot be written.
        """
        tally = Tally()
        with self.writer(number) as writer:
            documents = itertools.chain.from_iterable(part.documents() for part in parts)
            done = 0
            for batch in _batches(tally.kept(documents, most)):
                done += self._add(writer, batch)
                if progress:
                    progress(done)
            return writer.commit([part.name for part in parts], tally)

    def _add(self, writer: ShardWriter, batch: Sequence[str | np.ndarray]) -> int:
        """Add documents of one type; returns their bytes of text."""
        texts = [document for document in batch if isinstance(document, str)]
        if not texts:
            return sum(self._add_ids(writer, ids) for ids in batch if not isinstance(ids, str))
        encodings: list[Iterator[np.ndarray]]
        if len(texts[0]) >= LONG:
            encodings = [map(self.tokenizer.encode, pieces_of(text)) for text in texts]
        else:
            encodings = [iter([ids]) for ids in self.tokenizer.encode_many(texts)]
        total = 0
        for text, pieces in zip(texts, encodings, strict=True):
            encoded = text.encode("utf-8")
            document_hash = content_hash(encoded)
            side = writer.sides[self._side(document_hash)]
            for ids in pieces:
                side.extend(ids)
            side.end(document_hash, len(encoded))
            total += len(encoded)
        return total

    def _add_ids(self, writer: ShardWriter, ids: np.ndarray) -> int:
        document_hash = content_hash(ids.astype("<u4").tobytes())
        text_bytes = int(self._byte_lengths[ids].sum(dtype=np.int64))
        writer.sides[self._side(document_hash)].add(ids, document_hash, text_bytes)
        return text_bytes

    def _side(self, document_hash: int) -> str:
        return "validation" if is_validation(document_hash, self.validation_fraction) else "train"

    @cached_property
    def _byte_lengths(self) -> np.ndarray:
        return self.tokenizer.byte_lengths()

    def make_sides(self, number: int, text: OneText, progress: Progress | None = None) -> Shard:
        """The shard of one text file: a document on either side, in pieces. Raises as `make`."""
        tally, done = Tally(), 0
        with self.writer(number) as writer:
            for split, pieces in zip(writer.sides, text.sides(self.validation_fraction), strict=True):
                digest, text_bytes, side = hashlib.blake2b(digest_size=8), 0, writer.sides[split]
                for piece in pieces:
                    encoded = piece.encode("utf-8")
                    digest.update(encoded)
                    text_bytes += len(encoded)
                    side.extend(self.tokenizer.encode(piece))
                    if progress:
                        progress(done + text_bytes)
                if text_bytes:
                    side.end(int.from_bytes(digest.digest(), "big"), text_bytes)
                    tally.documents += 1
                done += text_bytes
            return writer.commit([part.name for part in text.parts()], tally)

    def make_added(self, number: int, added: Added, train_tokens: int) -> Shard:
        """The shard of documents that are only trained on, until they are their share of all tokens.

        Its record counts none of them: they are not of the source.
        """
        wanted = train_tokens / (1 - added.share)
        with self.writer(number) as writer:
            side: SideWriter = writer.sides["train"]
            for index in itertools.count():
                if train_tokens + side.tokens >= wanted:
                    return writer.commit([added.identity], Tally())
                text = added[index]
                encoded = text.encode("utf-8")
                side.add(self.tokenizer.encode(text), content_hash(encoded), len(encoded))
        raise AssertionError("added documents are endless")


def _batches(documents: Iterator[str | np.ndarray]) -> Iterator[list[str | np.ndarray]]:
    """Documents in batches of one type; a long text is a batch of its own."""
    batch: list[str | np.ndarray] = []
    size = 0
    for document in documents:
        is_text = isinstance(document, str)
        full = size >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS or len(document) >= LONG
        if batch and (full or isinstance(batch[0], str) != is_text):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document)
    if batch:
        yield batch


def pieces_of(text: str) -> Iterator[str]:
    """A long text in pieces of about a million characters, cut after a line break where there is one."""
    begin = 0
    while begin < len(text):
        end = begin + _PIECE
        if end < len(text):
            found = _CUT.search(text, end, min(len(text), end + _PIECE))
            end = found.end() if found else end
        yield text[begin:end]
        begin = end
