"""Sources that cannot be read: one line that names the file, exit code 2, nothing half-written."""

import gzip
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling import cli
from scaling.config.data import DataConfig
from scaling.data.corpus import open_corpus
from scaling.runtime.errors import BadInputError

GOOD = [f"document {i}" for i in range(50)]


def jsonl(*texts) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in (*GOOD, *texts)).encode()


def parquet(**columns) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def zst(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


WHOLE = parquet(text=GOOD)
# Names and contents of files; the source; what the message says.
CASES = {
    "missing column": (
        {"a.parquet": parquet(body=GOOD, id=range(50))},
        "parquet:*.parquet",
        "data.field=text: {folder}/a.parquet has no such column; its columns are: body, id",
    ),
    "column of numbers": (
        {"a.parquet": parquet(text=range(50), title=GOOD)},
        "parquet:*.parquet",
        "data.field=text: this column of {folder}/a.parquet holds int64, not text; columns of text: title",
    ),
    "column of lists": (
        {"a.parquet": parquet(text=[[text] for text in GOOD])},
        "parquet:*.parquet",
        "holds list<element: string>, not text; columns of text: none",
    ),
    "types that differ between files": (
        {"a.parquet": WHOLE, "b.parquet": parquet(text=range(50))},
        "parquet:*.parquet",
        "this column of {folder}/b.parquet holds int64, not text",
    ),
    "types that differ between lines": (
        {"a.jsonl": jsonl(7)},
        "jsonl:a.jsonl",
        "{folder}/a.jsonl:51: field 'text' holds int, expected a string",
    ),
    "Parquet cut short": (
        {"a.parquet": WHOLE[:-30]},
        "parquet:*.parquet",
        "{folder}/a.parquet is not a Parquet file, or is incomplete",
    ),
    "an empty file as Parquet": ({"a.parquet": b""}, "parquet:*.parquet", "a.parquet is not a Parquet file"),
    "JSON as Parquet": ({"a.parquet": jsonl()}, "parquet:*.parquet", "a.parquet is not a Parquet file"),
    "Parquet as JSON": ({"a.jsonl": WHOLE}, "jsonl:a.jsonl", "{folder}/a.jsonl:1: not"),
    "Parquet as text": ({"a.txt": WHOLE, "b.txt": b"b"}, "text:*.txt", "{folder}/a.txt is not UTF-8 text"),
    "no file": ({}, "parquet:*.parquet", "data.source=parquet:*.parquet: no file matches '*.parquet' from"),
    "a directory": ({"sub/a.parquet": WHOLE}, "parquet:sub", "it is a directory; give a glob"),
    "text that is not UTF-8": (
        {"a.txt": b"fine", "b.txt": b"caf\xe9"},
        "text:*.txt",
        "{folder}/b.txt is not UTF-8 text (byte 3); leave it out of the glob, or give data.on_error=skip",
    ),
    "a line that is a list": (
        {"a.jsonl": b'["text"]\n'},
        "jsonl:*.jsonl",
        "a.jsonl:1: expected a JSON object",
    ),
    "half a surrogate pair": (
        {"a.jsonl": b'{"text": "\\ud83d"}\n'},
        "jsonl:*.jsonl",
        "half of a surrogate pair",
    ),
    "gzip cut short": (
        {"a.jsonl.gz": gzip.compress(jsonl())[:-20]},
        "jsonl:*.gz",
        "{folder}/a.jsonl.gz: a damaged or incomplete compressed file",
    ),
    "zstandard cut short": (
        {"a.jsonl.zst": zst(jsonl())[:-5]},
        "jsonl:*.zst",
        "{folder}/a.jsonl.zst: a damaged or incomplete compressed file",
    ),
    "only empty documents": (
        {"a.parquet": parquet(text=pa.array([None, ""], pa.string()))},
        "parquet:*.parquet",
        "all of its 2 documents are empty",
    ),
    "an index without ids": ({"a.idx": b"MMIDIDX"}, "tokens:*.idx", "a.idx is an index, but there is no"),
    "half an id": ({"a.bin": b"abc"}, "tokens:*.bin", "a.bin: 3 bytes are no whole number of uint16 ids"),
    "ids of another tokenizer": (
        {"a.bin": b"\xff\xc4" * 9},
        "tokens:*.bin",
        "id 50431 is beyond the 257 ids",
    ),
    "an unknown scheme": ({}, "jsonl:ftpp://host/a", "no file system is known for ftpp://"),
    "no such folder": ({}, "hf:./nowhere", "data.source=hf:./nowhere: no folder ./nowhere"),
    "a dataset that is not here": ({}, "hf:owner/dataset", "data.source=hf:owner/dataset: Couldn't reach"),
    "a split that is not there": (
        {"data/train-0.parquet": WHOLE},
        "hf:data:test",
        "data.source=hf:data:test: no split 'test'; the splits are: train",
    ),
    "no ArrayRecord": ({"a": b"junk" * 99}, "arrayrecord:a", "{folder}/a is not an ArrayRecord file"),
}
BY_COMMAND = ("missing column", "Parquet cut short", "gzip cut short", "half an id", "an unknown scheme")


@pytest.fixture
def written(request, tmp_path, monkeypatch):
    """The files of a case in the working directory; its source, and what the message says."""
    files, source, says = CASES[request.param]
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    monkeypatch.chdir(folder)
    return source, says.format(folder=folder)


def assert_nothing_is_left(cache):
    assert not [path for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


@pytest.mark.parametrize("written", CASES, indirect=True)
def test_it_is_one_line(written, cache):
    source, says = written
    with pytest.raises(BadInputError) as error:
        open_corpus(DataConfig(source=source, sequence_length=8, validation_fraction=0.3))
    message = str(error.value)
    assert says in message and "\n" not in message and len(message) < 700
    assert_nothing_is_left(cache)


@pytest.mark.parametrize("written", BY_COMMAND, indirect=True)
def test_a_command_ends_with_2(written, cache, monkeypatch, capsys):
    source, says = written
    monkeypatch.setattr(sys, "argv", ["scaling", "data", "describe", source, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == ""
    assert says in err and err.count("\n") == 1
    assert_nothing_is_left(cache)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl())
    path.chmod(0)
    if os.access(path, os.R_OK):  # as root: the file system answers what it would answer others

        def refuse(name, *args, **kwargs):
            raise PermissionError(13, "Permission denied", name)

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(BadInputError, match=r"cannot read .*a\.jsonl: Permission denied"):
        open_corpus(DataConfig(source=f"jsonl:{path}"))


@pytest.mark.parametrize(
    ("files", "source", "counts"),
    [
        ({"a.jsonl": jsonl("", 7, None, ["x"]) + b"\nno JSON\n"}, "jsonl:*.jsonl", (50, 2, 4)),
        (
            {"a.txt": b"caf\xe9", **{f"{i}.txt": text.encode() for i, text in enumerate(GOOD)}},
            "text:*.txt",
            (50, 0, 1),
        ),
        (
            {"a.parquet": parquet(text=pa.array([b"caf\xe9", None, *map(str.encode, GOOD)], pa.binary()))},
            "parquet:*",
            (50, 1, 1),
        ),
    ],
)
def test_malformed_records_can_be_skipped_and_are_counted(tmp_path, monkeypatch, files, source, counts):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    config = DataConfig(source=source, on_error="skip", sequence_length=8, validation_fraction=0.3)
    records = open_corpus(config).store.records
    assert (records.documents, records.empty, records.malformed) == counts
    assert str(tmp_path) in records.reasons[0]


def test_a_source_of_malformed_records_alone_says_why(tmp_path):
    (tmp_path / "a.jsonl").write_text('["x"]\n' * 3)
    with pytest.raises(BadInputError, match=r"all of its 3 documents are empty or malformed .*a\.jsonl:1"):
        open_corpus(DataConfig(source=f"jsonl:{tmp_path}/a.jsonl", on_error="skip"))
