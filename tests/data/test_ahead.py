"""What a dry run says of the data is what reading them finds, within the error of an estimate by size."""

import gzip
import json
from pathlib import Path

import pytest

from scaling.config.data import DataConfig
from scaling.data.ahead import data_ahead
from scaling.data.corpus import describe
from scaling.runtime.errors import BadInputError

TEXTS = [" ".join(f"word{i * j % 97}" for j in range(40 + i % 30)) for i in range(400)]


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS))
    Path("a.jsonl").write_text(lines)
    Path("a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    Path("one.txt").write_text("\n".join(TEXTS))
    for i, text in enumerate(TEXTS[:50]):
        Path(f"{i}.doc").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "source", ["jsonl:a.jsonl", "jsonl:a.jsonl.gz", "text:one.txt", "text:*.doc", "python-stdlib"]
)
@pytest.mark.usefixtures("corpora")
def test_the_estimate_is_near_what_is_read(source: str) -> None:
    config = DataConfig(source=source, sequence_length=16, validation_fraction=0.1)
    ahead, read = data_ahead(config), describe(config)
    assert ahead.documents == pytest.approx(read.documents, rel=0.05)
    assert ahead.bytes == pytest.approx(read.bytes, rel=0.05)
    assert ahead.tokens_per_epoch == pytest.approx(read.tokens_per_epoch, rel=0.1)
    assert ahead.split == read.split
    assert ahead.epochs(2 * (ahead.tokens_per_epoch or 0)) == 2.0


@pytest.mark.usefixtures("corpora")
def test_the_first_documents_alone() -> None:
    config = DataConfig(source="jsonl:a.jsonl", sequence_length=16, max_documents=100)
    ahead, read = data_ahead(config), describe(config)
    assert ahead.documents == read.documents == 100
    assert ahead.bytes == pytest.approx(read.bytes, rel=0.1)


def test_a_sample_stands_for_a_large_file(tmp_path: Path) -> None:
    """Beyond the first megabyte only sizes are looked at, also of compressed files."""
    text = ("Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich. " * 7 + "\n") * 8_000
    for name, content in (("a.txt", text.encode()), ("a.txt.gz", gzip.compress(text.encode(), 1))):
        (tmp_path / name).write_bytes(content)
        ahead = data_ahead(DataConfig(source=f"text:{tmp_path / name}"))
        assert ahead.bytes == pytest.approx(len(text.encode()), rel=0.05)


@pytest.mark.parametrize(
    ("name", "content", "source", "says"),
    [
        ("a", b"", "text:none*", "no file matches"),
        ("a.jsonl", b'{"body": "a"}\n', "jsonl:a.jsonl", "a.jsonl:1: no field 'text'"),
        ("a.jsonl", b'{"text": \n', "jsonl:a.jsonl", "a.jsonl:1: not JSON"),
        ("a.txt", b"\xff\xfe\xfd", "text:a.txt", "a.txt is not UTF-8 text"),
        ("a.txt", b"", "text:a.txt", "the files are empty"),
        (
            "a.gz",
            gzip.compress(b"text " * 999, mtime=0)[:-9],
            "text:a.gz",
            "a damaged or incomplete compressed file",
        ),
    ],
)
def test_what_cannot_be_read(
    name: str, content: bytes, source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(BadInputError, match=says):
        data_ahead(DataConfig(source=source))


def test_a_tokenizer_or_a_vocabulary_that_does_not_do() -> None:
    with pytest.raises(BadInputError, match=r"none\.model"):
        data_ahead(DataConfig(tokenizer="sentencepiece:none.model"))
    with pytest.raises(BadInputError, match="smaller than the vocabulary"):
        data_ahead(DataConfig(), vocab_size=100)
