"""What a tokenizer is trained on: spread over the source, the same for a seed, all of a small source."""

import json

import numpy as np
import pytest

from scaling.config.data import DataConfig
from scaling.data.sources import open_source, sampled_texts
from scaling.runtime.errors import BadInputError


@pytest.fixture
def source(tmp_path):
    """Twenty files of 2,000 numbered documents, about 1 MB."""
    for file in range(20):
        rows = (json.dumps({"text": f"{file} {row} {'x' * 20}"}) + "\n" for row in range(2000))
        (tmp_path / f"{file:02}.jsonl").write_text("".join(rows))
    return open_source(DataConfig(source=f"jsonl:{tmp_path}/*.jsonl"))


def test_a_small_source_is_taken_completely(source, read):
    assert sorted(sampled_texts(source, 0, 10**9)) == sorted(read(source))


def test_a_sample_is_spread_seeded_and_as_large_as_asked(source):
    texts = list(sampled_texts(source, 0, 200_000))
    assert texts == list(sampled_texts(source, 0, 200_000)) != list(sampled_texts(source, 1, 200_000))
    assert 0 <= sum(map(len, texts)) - 200_000 < 100
    files = np.bincount([int(text.split()[0]) for text in texts])
    rows = [int(text.split()[1]) for text in texts]
    assert np.count_nonzero(files) >= 15 and min(rows) < 300 and max(rows) > 1700


def test_one_file_that_cannot_be_divided(tmp_path, texts):
    documents = [f"{i} {'y' * 50}" for i in range(1000)]
    sample = list(sampled_texts(texts(documents), 0, 10_000))
    assert sample == documents[: len(sample)] and 0 <= sum(map(len, sample)) - 10_000 < 60


def test_ids_are_no_text(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"a\0b\0")
    with pytest.raises(BadInputError, match="it holds token ids; a tokenizer is trained on text"):
        list(sampled_texts(open_source(DataConfig(source=f"tokens:{tmp_path}/a.bin")), 0, 100))
