import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from scaling.config.data import DataConfig
from scaling.data.corpus import describe, open_corpus
from scaling.runtime.errors import BadInputError


def test_the_embedded_default():
    calls = []
    summary = describe(DataConfig(), progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls) and calls[-1][0] == calls[-1][1] >= summary.bytes
    assert summary.vocab_size == 257
    assert summary.tokens == summary.bytes + summary.documents
    assert summary.tokens_per_epoch % 256 == 0
    assert 0 <= summary.tokens - summary.validation_tokens - summary.tokens_per_epoch < 256
    assert summary.bytes_per_token == 1
    assert 0.02 < summary.validation_documents / summary.documents < 0.09
    assert describe(DataConfig()) == summary  # from the cache


def test_the_fingerprint_is_of_the_texts_and_not_of_the_place(tmp_path):
    prints = set()
    for name in ("here", "there"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": f"document {n}"}) + "\n" for n in range(50)))
        prints.add(describe(DataConfig(source=f"jsonl:{path}", sequence_length=8, validation_fraction=0.3)))
    assert len(prints) == 1


def test_a_corpus_shorter_than_a_row(jsonl):
    with pytest.raises(BadInputError, match=r"data.sequence_length=100000: .* less than one row"):
        open_corpus(DataConfig(source=jsonl, sequence_length=100_000))


def test_a_bad_line_leaves_no_cache(tmp_path, cache):
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "fine"}\n' * 9 + "nonsense\n")
    with pytest.raises(BadInputError, match=r"d\.jsonl:10: not JSON"):
        open_corpus(DataConfig(source=f"jsonl:{path}"))
    assert list((cache / "tokens").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "wikipedia"}, "unknown data source 'wikipedia'; give python-stdlib, text:GLOB"),
        ({"source": "csv:a.csv"}, "unknown data source"),
        ({"source": "text:"}, "unknown data source"),
        ({"source": "tfds: "}, "unknown data source"),
        ({"source": ""}, "unknown data source"),
        ({"tokenizer": "bpe"}, "unknown tokenizer 'bpe'; give bytes, hf:PATH, sentencepiece:PATH, tiktoken"),
        ({"tokenizer": "sentencepiece:"}, "unknown tokenizer"),
        ({"field": ""}, "at least 1 character"),
        ({"sequence_length": 1}, "greater than or equal to 2"),
        ({"sequence_length": 2.5}, "integer"),
        ({"validation_fraction": 0.0}, "greater than 0"),
        ({"validation_fraction": 1.0}, "less than 1"),
        ({"validation_fraction": float("nan")}, "finite"),
        ({"max_documents": 1}, "greater than or equal to 2"),
        ({"max_epochs": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**32}, "less than"),
        ({"prefetch": -1}, "greater than or equal to 0"),
        ({"mask_documents": "perhaps"}, "boolean"),
        ({"batch": 3}, "not permitted"),
    ],
)
def test_configs_that_are_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        DataConfig(**options)


def test_importing_the_package_stays_light():
    heavy = "{'jax', 'grain', 'tensorflow_datasets', 'sentencepiece', 'pyarrow', 'datasets', 'fsspec'}"
    code = (
        f"import sys, scaling.data.corpus; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
