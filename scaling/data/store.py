"""A corpus tokenised once: memory-mapped tokens of both splits in a cache, written completely or not at all.

Where a document goes, which side of the split and which place in the order, is a function of its content
alone. File names and positions do not matter, so copying, reordering or resharding a corpus moves no document
across the split and changes no training order, and duplicates stay on one side.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scaling.data.sources import OneText, Source, Tally
from scaling.data.tokenizers import Tokenizer
from scaling.objectives.draws import mix64, mix_seed
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root

_FORMAT = 1
_SPLITS = ("train", "validation")
_STALE_SECONDS = 86_400.0

Progress = Callable[[int, int], None]


def content_hash(text: bytes) -> int:
    """64 bits of blake2b: below 2^64, uniform, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def is_validation(document_hash: int, fraction: float) -> bool:
    """Whether a document is held out. Raising the fraction only ever adds documents to the held-out side."""
    return document_hash < fraction * 2.0**64


def content_order(hashes_D: np.ndarray) -> np.ndarray:
    """Document indices (D,) in the order of their hashes: a fixed random order that no seed changes."""
    return np.argsort(hashes_D, kind="stable")


def shuffled_order(hashes_D: np.ndarray, seed: int) -> np.ndarray:
    """Document indices (D,) in an order set by content and seed alone."""
    return np.argsort(mix64(hashes_D ^ np.uint64(mix_seed(seed, stream=0))), kind="stable")


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
class TokenSplit:
    """The documents of one side, in the order of the source, each as `[end_of_text] + tokens`.

    `ids` (T,) is uint16 or uint32; document d is ids[offsets[d] : offsets[d + 1]], offsets (D + 1,) int64;
    `hashes` (D,) uint64 holds the content hash of each text; `text_bytes` is UTF-8 bytes of all texts.
    """

    ids: np.ndarray
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
    holds the same corpus.
    """

    train: TokenSplit
    validation: TokenSplit
    end_of_text: int
    fingerprint: str
    path: Path
    records: Tally
    """What was read from the source."""


def open_store(
    source: Source,
    tokenizer: Tokenizer,
    *,
    validation_fraction: float,
    max_documents: int | None = None,
    added: Added | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """The token store of a corpus, made on first use and whenever the cached one is missing or damaged.

    Several processes may make the same store at once: each writes aside and renames; the contents are equal.

    Args:
      source: the documents.
      tokenizer: applied to each complete document.
      validation_fraction: share of documents held out, by content hash.
      max_documents: read only the first so many.
      added: documents to add until they are their share of the training tokens.
      progress: called with bytes of the source done and in all while the store is being made.

    Raises:
      BadInputError: a text that cannot be read, a side of the split left empty, or a cache that cannot be
        written.
    """
    request: tuple[object, ...] = (
        _FORMAT,
        source.identity,
        tokenizer.identity,
        validation_fraction,
        max_documents,
    )
    if added is not None:
        request = (*request, added.identity, added.share)
    key = hashlib.blake2b(repr(request).encode(), digest_size=16).hexdigest()
    path = cache_root() / "tokens" / key
    # More than once only if another process repairs the same damaged store at the same moment.
    for _ in range(3):
        store = _read(path)
        if store is not None:
            return store
        try:
            _make(path, source, tokenizer, validation_fraction, max_documents, added, progress)
        except OSError as error:
            raise BadInputError(
                f"cannot write the token cache {path.parent}: {error.strerror or error}; "
                "set SCALING_CACHE to a folder with room"
            ) from None
    store = _read(path)
    if store is None:
        raise BadInputError(
            f"the token cache {path} does not read back; check the disk, or set SCALING_CACHE"
        )
    return store


def _make(
    path: Path,
    source: Source,
    tokenizer: Tokenizer,
    fraction: float,
    max_documents: int | None,
    added: Added | None,
    progress: Progress | None,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        _tokenise(temporary, source, tokenizer, fraction, max_documents, added, progress)
        if _read(path) is None:  # otherwise another process was faster
            # A damaged one is moved aside first: a folder with files cannot be renamed over.
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, temporary / "damaged")
            try:
                os.rename(temporary, path)
            except OSError:
                if _read(path) is None:
                    raise
        shutil.rmtree(path / "damaged", ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _tokenise(
    folder: Path,
    source: Source,
    tokenizer: Tokenizer,
    fraction: float,
    max_documents: int | None,
    added: Added | None,
    progress: Progress | None,
) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
    if isinstance(source, OneText) and max_documents is not None:
        raise BadInputError(
            f"data.max_documents={max_documents}: data.source is one text file, and so one document: "
            "leave it out"
        )
    tally = Tally()
    writers = {split: _SplitWriter(folder, split, tokenizer.end_of_text, dtype) for split in _SPLITS}
    try:
        if isinstance(source, OneText):
            _add_sides(writers, source, tokenizer, fraction, progress)
            tally.documents = sum(writer.documents for writer in writers.values())
        else:
            _add_parts(writers, source, tokenizer, fraction, max_documents, tally, progress)
        hashes = np.concatenate([np.frombuffer(writer.hashes, np.uint64) for writer in writers.values()])
        tally.duplicates = len(hashes) - len(np.unique(hashes))
        if added is not None and writers["train"].tokens:
            _add(writers["train"], added, tokenizer)
    finally:
        for writer in writers.values():
            writer.close()
    kept = sum(writer.documents for writer in writers.values())
    if kept == 0:
        malformed = f" or malformed ({tally.reasons[0]})" if tally.reasons else ""
        raise BadInputError(f"data.source: all of its {tally.records} documents are empty{malformed}")
    for split, remedy in (("train", "lower"), ("validation", "raise")):
        if writers[split].documents == 0:
            raise BadInputError(
                f"data.validation_fraction={fraction} leaves no {split} document of {kept}; {remedy} it, or "
                "give data.source more documents (text: has one per file, jsonl: one per line; a single text "
                "file is split by position)"
            )
    meta = {
        "format": _FORMAT,
        "dtype": dtype.name,
        "end_of_text": tokenizer.end_of_text,
        "fingerprint": _fingerprint(writers, tokenizer),
        "records": asdict(tally),
        "splits": {split: writer.finish() for split, writer in writers.items()},
    }
    _write_synced(folder / "meta.json", json.dumps(meta, indent=1).encode())


def _add_parts(
    writers: dict[str, "_SplitWriter"],
    source: Source,
    tokenizer: Tokenizer,
    fraction: float,
    max_documents: int | None,
    tally: Tally,
    progress: Progress | None,
) -> None:
    """The documents of a source, part by part, each on its side."""
    parts = source.parts()
    total, before = sum(part.size for part in parts), 0
    for part in parts:
        done = 0  # bytes of text, of a compressed part more than its size
        for document in tally.kept(part.documents(), max_documents):
            if isinstance(document, str):
                encoded = document.encode("utf-8")
                ids, text_bytes = tokenizer.encode(document), len(encoded)
            else:
                encoded = document.astype("<u4").tobytes()
                ids, text_bytes = document, int(tokenizer.byte_lengths()[document].sum())
            document_hash = content_hash(encoded)
            split = "validation" if is_validation(document_hash, fraction) else "train"
            writers[split].add(ids, document_hash, text_bytes)
            done += len(encoded)
            if progress:
                progress(before + min(done, part.size), total)
        before += part.size
    if progress:
        progress(total, total)


def _add_sides(
    writers: dict[str, "_SplitWriter"],
    source: OneText,
    tokenizer: Tokenizer,
    fraction: float,
    progress: Progress | None,
) -> None:
    """One text as a document of either side, tokenised piece by piece."""
    done = 0
    for split, pieces in zip(_SPLITS, source.sides(fraction), strict=True):
        digest, parts, text_bytes = hashlib.blake2b(digest_size=8), [], 0
        for piece in pieces:
            encoded = piece.encode("utf-8")
            digest.update(encoded)
            text_bytes += len(encoded)
            parts.append(writers[split].narrowed(tokenizer.encode(piece)))
            done += len(encoded)
            if progress:
                progress(min(done, source.size), source.size)
        if text_bytes:
            writers[split].add(np.concatenate(parts), int.from_bytes(digest.digest(), "big"), text_bytes)


def _add(writer: "_SplitWriter", added: Added, tokenizer: Tokenizer) -> None:
    """Documents that are only trained on, after those of the source."""
    wanted = writer.tokens / (1 - added.share)
    for index in itertools.count():
        if writer.tokens >= wanted:
            return
        text = added[index]
        encoded = text.encode("utf-8")
        writer.add(tokenizer.encode(text), content_hash(encoded), len(encoded))


class _SplitWriter:
    """Streams one side's tokens to disk; offsets and hashes, 16 bytes per document, are kept in memory until
    the end."""

    def __init__(self, folder: Path, split: str, end_of_text: int, dtype: np.dtype) -> None:
        self._folder, self._split, self._dtype = folder, split, dtype
        self._end_of_text = np.array([end_of_text], dtype).tobytes()
        self._tokens = (folder / f"{split}.ids").open("wb")
        self._offsets = array("q", [0])
        self.hashes = array("Q")
        self._text_bytes = 0

    @property
    def documents(self) -> int:
        return len(self.hashes)

    @property
    def tokens(self) -> int:
        return self._offsets[-1]

    def narrowed(self, ids: np.ndarray) -> np.ndarray:
        """Ids in the type that they are stored in."""
        return ids.astype(self._dtype)

    def add(self, ids: np.ndarray, document_hash: int, text_bytes: int) -> None:
        self._tokens.write(self._end_of_text)
        self._tokens.write(ids.astype(self._dtype).tobytes())
        self._offsets.append(self._offsets[-1] + 1 + len(ids))
        self.hashes.append(document_hash)
        self._text_bytes += text_bytes

    def close(self) -> None:
        if not self._tokens.closed:
            self._tokens.flush()
            os.fsync(self._tokens.fileno())
            self._tokens.close()

    def finish(self) -> dict[str, int]:
        _write_synced(self._folder / f"{self._split}.offsets", self._offsets.tobytes())
        _write_synced(self._folder / f"{self._split}.hashes", self.hashes.tobytes())
        return {"documents": self.documents, "tokens": self._offsets[-1], "text_bytes": self._text_bytes}


def _fingerprint(writers: dict[str, _SplitWriter], tokenizer: Tokenizer) -> str:
    digest = hashlib.blake2b(tokenizer.identity.encode(), digest_size=16)
    for split in _SPLITS:
        digest.update(split.encode())
        digest.update(np.sort(np.frombuffer(writers[split].hashes, np.uint64)).tobytes())
    return digest.hexdigest()


def _read(path: Path) -> TokenStore | None:
    """The store at `path`, or None if it is missing or incomplete."""
    try:
        meta = json.loads((path / "meta.json").read_bytes())
        if meta["format"] != _FORMAT:
            return None
        train, validation = (
            _read_split(path, split, meta["splits"][split], np.dtype(meta["dtype"]), meta["end_of_text"])
            for split in _SPLITS
        )
        return TokenStore(
            train, validation, meta["end_of_text"], meta["fingerprint"], path, Tally(**meta["records"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_split(
    path: Path, split: str, counts: dict[str, Any], dtype: np.dtype, end_of_text: int
) -> TokenSplit:
    D, T = counts["documents"], counts["tokens"]
    offsets = _map(path / f"{split}.offsets", np.dtype(np.int64), D + 1)
    hashes_D = _map(path / f"{split}.hashes", np.dtype(np.uint64), D)
    tokens_T = _map(path / f"{split}.ids", dtype, T)
    # Right sizes with blank contents are what a crash before the disk was written leaves behind.
    sampled = np.unique(np.linspace(0, D - 1, num=64).astype(np.int64))
    if offsets[0] != 0 or offsets[-1] != T or np.any(tokens_T[offsets[sampled]] != end_of_text):
        raise ValueError(f"{path}: offsets and tokens of {split} disagree")
    return TokenSplit(tokens_T, offsets, hashes_D, counts["text_bytes"])


def _map(file: Path, dtype: np.dtype, length: int) -> np.ndarray:
    if file.stat().st_size != length * dtype.itemsize:
        raise ValueError(f"{file}: {file.stat().st_size} bytes, {length * dtype.itemsize} expected")
    # A plain view: slicing np.memmap itself costs microseconds a slice in bookkeeping.
    return np.memmap(file, dtype, mode="r", shape=(length,)).view(np.ndarray)


def _write_synced(file: Path, content: bytes) -> None:
    with file.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def _remove_stale(folder: Path) -> None:
    """Clears what killed processes left: temporary folders not touched for a day."""
    for entry in folder.glob(".*.*"):
        try:
            if time.time() - max(f.stat().st_mtime for f in (entry, *entry.iterdir())) > _STALE_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)
        except OSError:
            continue
