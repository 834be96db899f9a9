import json

import pytest

import scaling.data.store.plan as planning
from scaling.config.data import DataConfig


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """A corpus of some kilobytes makes several shards."""
    monkeypatch.setattr(planning, "TARGET", 2500)


@pytest.fixture
def corpus(tmp_path):
    """A source of some shards: 240 documents in three files, long, empty and repeated ones among them."""
    folder = tmp_path / "texts"
    folder.mkdir()
    texts = [f"document {n}: " + " ".join(str(n * k % 89) for k in range(n % 60)) + " é" for n in range(237)]
    texts += ["", texts[3], "long " * 9000]
    for number in range(3):
        lines = [json.dumps({"text": text}) for text in texts[number::3]]
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    return f"jsonl:{folder}/*.jsonl"


@pytest.fixture
def config(corpus):
    def make(source=corpus, **options):
        return DataConfig(source=source, **{"validation_fraction": 0.2, "sequence_length": 32, **options})

    return make
