"""Files behind URLs are read as local ones are, in ranges; what a store answers is one line."""

import gzip
import io
import json

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from scaling.config.data import DataConfig
from scaling.data.ahead import data_ahead
from scaling.data.corpus import describe
from scaling.data.sources import open_source, raw_tokens
from scaling.runtime.errors import BadInputError

TEXTS = [f"document {i} says {i * i} é" for i in range(300)]


@pytest.fixture
def folder(tmp_path):
    """Files of every kind on a local disk, and copies of them under memory://bucket/."""
    from array_record.python.array_record_module import ArrayRecordWriter

    rows = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    root = tmp_path / "files"
    (root / "sub").mkdir(parents=True)
    (root / "a.jsonl").write_text("".join(rows[:150]))
    (root / "b.jsonl.gz").write_bytes(gzip.compress("".join(rows[150:]).encode()))
    (root / "one.text").write_text("\n".join(TEXTS))
    for i, text in enumerate(TEXTS[:60]):
        (root / "sub" / f"{i:02}.txt").write_text(text)
    pq.write_table(pa.table({"text": TEXTS}), root / "a.parquet", row_group_size=50)
    ids = [i for text in TEXTS for i in (256, *text.encode())]
    (root / "a.bin").write_bytes(np.array(ids, "<u2").tobytes())
    writer = ArrayRecordWriter(str(root / "a.array_record"), "group_size:1")
    for text in TEXTS:
        writer.write(text.encode())
    writer.close()
    memory = fsspec.filesystem("memory")
    for path in root.rglob("*.*"):
        memory.pipe(f"/bucket/{path.relative_to(root)}", path.read_bytes())
    yield root
    MemoryFileSystem.store.clear()


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("jsonl", "*.jsonl*"),
        ("jsonl", "b.jsonl.gz"),
        ("text", "**/*.txt"),
        ("text", "one.text"),
        ("parquet", "a.parquet"),
        ("tokens", "*.bin"),
        ("arrayrecord", "a.array_record"),
    ],
)
@pytest.mark.parametrize("store", ["memory", "file"])
def test_a_url_is_the_same_corpus(folder, kind, pattern, store):
    prefix = {"memory": "memory://bucket", "file": f"file://{folder}"}[store]
    options = {"sequence_length": 16, "validation_fraction": 0.2}
    local = describe(DataConfig(source=f"{kind}:{folder}/{pattern}", **options))
    config = DataConfig(source=f"{kind}:{prefix}/{pattern}", **options)
    assert describe(config) == local
    assert data_ahead(config).bytes == pytest.approx(local.bytes, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "name"), [("jsonl", "a.jsonl"), ("parquet", "a.parquet"), ("tokens", "a.bin")]
)
def test_parts_of_a_remote_file_read_their_range(folder, monkeypatch, kind, name):
    """Reading one part fetches about its own size, here a fifth of the file."""
    counted = []

    class Counting(io.BytesIO):
        def read(self, size=-1):
            counted.append(content := super().read(size))
            return content

        def readline(self, size=-1):
            counted.append(line := super().readline(size))
            return line

    if kind == "parquet":  # more than the footer that Arrow reads at once
        texts = np.random.default_rng(0).bytes(500_000).hex()
        rows = [texts[i : i + 1000] for i in range(0, len(texts), 1000)]
        pq.write_table(pa.table({"text": rows}), folder / name, row_group_size=50)
    monkeypatch.setattr(raw_tokens, "_BLOCK", 256)
    content = (folder / name).read_bytes()
    fsspec.filesystem("memory").pipe(f"/bucket/{name}", content)
    monkeypatch.setattr(MemoryFileSystem, "_open", lambda self, path, *args, **kwargs: Counting(content))
    source = open_source(DataConfig(source=f"{kind}:memory://bucket/{name}"))
    parts = source.parts(len(content) // 5 + 1)
    assert len(parts) == 5
    for part in parts:
        counted.clear()
        list(part.documents())
        assert sum(map(len, counted)) < 0.6 * len(content)  # a Parquet footer or the end of a block included


def test_identity_follows_what_the_store_says(folder):
    def identity():
        return open_source(DataConfig(source="jsonl:memory://bucket/*.jsonl")).identity

    before = identity()
    assert identity() == before
    fsspec.filesystem("memory").pipe("/bucket/a.jsonl", (folder / "a.jsonl").read_bytes())
    assert identity() != before


class Denied(MemoryFileSystem):
    """A store whose client fails in the ways of theirs."""

    protocol = "denied"
    cachable = False
    raises: Exception = PermissionError("Forbidden: x@y has no storage.objects.get")

    def glob(self, path, **kwargs):
        raise self.raises

    def info(self, path, **kwargs):
        raise self.raises


class NoCredentialsError(Exception):
    """As botocore's, which is no OSError."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError("Forbidden: no storage.objects.get"), "PermissionError: Forbidden: no storage"),
        (
            NoCredentialsError("Unable to locate\ncredentials"),
            "NoCredentialsError: Unable to locate credentials",
        ),
    ],
)
@pytest.mark.parametrize("pattern", ["denied://bucket/*.jsonl", "denied://bucket/a.jsonl"])
def test_what_a_store_refuses_is_one_line(monkeypatch, error, says, pattern):
    monkeypatch.setattr(Denied, "raises", error)
    fsspec.register_implementation("denied", Denied, clobber=True)
    with pytest.raises(BadInputError) as raised:
        open_source(DataConfig(source=f"jsonl:{pattern}"))
    assert says in str(raised.value) and pattern in str(raised.value)


def test_a_file_that_goes_away_while_it_is_read(folder, read):
    source = open_source(DataConfig(source="jsonl:memory://bucket/*.jsonl"))
    fsspec.filesystem("memory").rm("/bucket/a.jsonl")
    with pytest.raises(BadInputError, match=r"cannot read memory:///bucket/a\.jsonl: no such file"):
        read(source)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nope://bucket/x", "no file system is known for nope://"),
        ("gs://bucket/x", 'gs:// needs gcsfs: pip install "scaling-lab[cloud]"'),
        ("s3://bucket/x*", 's3:// needs s3fs: pip install "scaling-lab[cloud]"'),
        ("memory://bucket/*.nothing", "no file matches 'memory://bucket/*.nothing'"),
        ("memory://bucket/nothing", "no file matches 'memory://bucket/nothing'"),
    ],
)
def test_urls_that_lead_nowhere(folder, monkeypatch, url, says):
    def missing(url):
        raise ImportError("Please install the client")

    if url.startswith(("gs", "s3")):  # whether or not it is installed
        monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(BadInputError) as error:
        open_source(DataConfig(source=f"jsonl:{url}"))
    assert says in str(error.value)
