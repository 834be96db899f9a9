import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from scaling.data.store import TokenSplit, content_hash


class Texts(Sequence):
    """Documents held in a list, named by their contents: a source of one part, which is the list."""

    name = "texts"

    def __init__(self, texts):
        self._texts = list(texts)
        self.identity = "texts:" + json.dumps(self._texts)

    def __len__(self):
        return len(self._texts)

    def __getitem__(self, index):
        return self._texts[index]

    @property
    def size(self):
        return sum(len(text.encode()) for text in self._texts)

    def parts(self, target_bytes=0):
        return [self]

    def documents(self):
        return iter(self)


def _read(source, target_bytes: int = 64 << 20) -> list:
    """All documents of a source."""
    return [document for part in source.parts(target_bytes) for document in part.documents()]


@pytest.fixture(scope="session")
def read():
    return _read


def _split_of(documents: list[list[int]], end_of_text: int = 256) -> TokenSplit:
    """A TokenSplit in memory, of documents given as token ids."""
    offsets = np.concatenate([[0], np.cumsum([len(d) + 1 for d in documents])]).astype(np.int64)
    ids = np.array([t for d in documents for t in [end_of_text, *d]], np.uint16)
    hashes = np.array([content_hash(repr(d).encode()) for d in documents], np.uint64)
    return TokenSplit(ids, offsets, hashes, sum(map(len, documents)))


@pytest.fixture(scope="session")
def split_of():
    return _split_of


@pytest.fixture(scope="session")
def texts():
    return Texts


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """No test reads or leaves a cache outside its own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SCALING_CACHE", str(folder))
    return folder


@pytest.fixture
def jsonl(tmp_path) -> str:
    """A source of 200 documents of 1 to 120 characters."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(200):
        words = " ".join(str(n) for n in rng.integers(0, 99, rng.integers(1, 40)))
        lines.append(json.dumps({"text": f"document {number}: {words}"}))
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return f"jsonl:{path}"
