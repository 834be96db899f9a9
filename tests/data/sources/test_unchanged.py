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
    [
        ({"source": "jsonl:a.jsonl"}, "2eb6aac9f33ed09d", 19644, "5104f77b478cde42"),
        ({"source": "jsonl:*.jsonl*"}, "ba7de79df3aaa66d", 26115, "6c662aa410f981dd"),
        ({"source": "jsonl:a.jsonl", "max_documents": 50}, "c03c3ea38100adaa", 1745, "2bb8c2bebef513f0"),
        ({"source": "text:one.text"}, "18e5bda5d2d01168", 1455329, "6be8ab46f6453891"),
        ({"source": "text:*.txt"}, "0038fae45cf65a51", 9632, "7df12deb55ebebab"),
    ],
)
def test_fingerprint_tokens_and_first_batch(tmp_path, monkeypatch, options, fingerprint, tokens, inputs):
    monkeypatch.chdir(tmp_path)
    lines = "".join(json.dumps({"text": text}) + "\n" * (1 + i % 2) for i, text in enumerate(TEXTS)).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines[: lines.index(b"document 99") - 10]))
    (tmp_path / "one.text").write_text("\n".join(TEXTS * 80))  # several pieces
    for i, text in enumerate(TEXTS[:150]):
        (tmp_path / f"{i}.txt").write_text(text)
    corpus = open_corpus(DataConfig(sequence_length=32, validation_fraction=0.3, **options))
    batch = next(iter(corpus.train_batches(BatchSchedule(((0, 8),)))))
    found = hashlib.sha256(batch["inputs"].tobytes()).hexdigest()[:16]
    assert (corpus.fingerprint, corpus.store.train.tokens, found) == (fingerprint, tokens, inputs)
