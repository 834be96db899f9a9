"""Fingerprints, tokens and order are those of November 2026, when sources were read by index."""

import gzip
import hashlib
import json

import pytest

from scaling.config.data import DataConfig
from scaling.data.batches import BatchSchedule
from scaling.data.corpus import open_corpus

TEXTS = [f"document {i}: " + " ".join(str(i * j % 97) for j in range(i % 50)) + " é" for i in range(300)]


@pytest.mark.parametrize(
    ("options", "fingerprint", "tokens", "inputs"),
    [VALUES],
)
def test_fingerprint_tokens_and_first_batch(tmp_path, monkeypatch, options, fingerprint, tokens, inputs):
    monkeypatch.chdir(tmp_path)
    lines = "".join(json.dumps({"text": text}) + "\n" * (1 + i % 2) for i, text in enumerate(TEXTS)).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines[: lines.index(b"document 99") - 10]))
    (tmp_path / "one.text").write_text("\n".join(TEXTS * 80))  # several pieces
    for i, text in enumerate(TEXTS[:40]):
        (tmp_path / f"{i}.txt").write_text(text)
    corpus = open_corpus(DataConfig(sequence_length=32, validation_fraction=0.1, **options))
    batch = next(iter(corpus.train_batches(BatchSchedule(((0, 8),)))))
    found = hashlib.sha256(batch["inputs"].tobytes()).hexdigest()[:16]
    assert (corpus.fingerprint, corpus.store.train.tokens, found) == (fingerprint, tokens, inputs)
