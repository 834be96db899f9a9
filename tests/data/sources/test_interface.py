"""Parts can be pickled, a tally counts documents, and a huge document takes the memory of a few copies."""

import gzip
import json
import os
import pickle
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling.config.data import DataConfig
from scaling.data.sources import Malformed, Tally, open_source


def test_a_tally_counts_and_stops():
    bad = [Malformed(f"row {i}") for i in range(5)]
    tally = Tally()
    assert list(tally.kept(["a", "", *bad, "b"])) == ["a", "b"]
    assert (tally.documents, tally.empty, tally.malformed, tally.records) == (2, 1, 5, 8)
    assert tally.reasons == ["row 0", "row 1", "row 2"]
    assert list(tally.kept(["c", "d"], 9)) == ["c"] and list(tally.kept(["d"], 9)) == []
    tally.add(Tally(documents=1, malformed=1, duplicates=2, reasons=["other"]))
    assert (tally.records, tally.duplicates, len(tally.reasons)) == (11, 2, 3)


@pytest.mark.parametrize("kind", ["python-stdlib", "text", "jsonl", "parquet", "tokens", "hf"])
def test_parts_can_be_pickled(tmp_path, kind):
    for i in range(3):
        (tmp_path / f"{i}.text").write_text(f"text {i}")
        (tmp_path / f"{i}.jsonl").write_text('{"text": "line"}\n')
        (tmp_path / f"{i}.tokens").mkdir()
        (tmp_path / f"{i}.bin").write_bytes(b"a\0b\0")
    pq.write_table(pa.table({"text": ["row"]}), tmp_path / "0.parquet")
    patterns = {"tokens": "*.bin", "hf": "*.parquet"}
    where = (
        "python-stdlib" if kind == "python-stdlib" else f"{kind}:{tmp_path}/{patterns.get(kind, '*.' + kind)}"
    )
    if kind == "hf":
        (tmp_path / "hub").mkdir()
        (tmp_path / "0.parquet").rename(tmp_path / "hub" / "train.parquet")
        where = f"hf:{tmp_path}/hub"
    for part in open_source(DataConfig(source=where)).parts():
        copy = pickle.loads(pickle.dumps(part))
        assert (copy.name, copy.size) == (part.name, part.size) and part.size > 0
        first = next(iter(part.documents()))
        assert str(next(iter(copy.documents()))) == str(first)


MEMORY = """
import resource, sys
from scaling.config.data import DataConfig
from scaling.data.sources import open_source

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

source = open_source(DataConfig(source=sys.argv[1]))
parts = source.parts()
list(open_source(DataConfig(source=sys.argv[2])).parts()[0].documents())  # imports what reading imports
before = peak()
print(sum(len(text) for part in parts for text in part.documents()), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "text"])
def test_a_document_of_200_mb(tmp_path, kind):
    size = 200_000_000
    huge, suffix = "word " * (size // 5), kind.split(".")[0]
    for name, text in (("huge", huge), ("tiny", "tiny")):
        path = tmp_path / f"{name}.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table({"text": ["first", text, "last"]}), path)
        elif kind == "text":
            path.write_text(text)
            (tmp_path / f"{name}2.text").write_text("other")
        else:
            content = "".join(json.dumps({"text": text}) + "\n" for text in ("first", text, "last")).encode()
            path.write_bytes(gzip.compress(content, 1) if kind.endswith("gz") else content)
    ended = subprocess.run(
        [sys.executable, "-c", MEMORY, *(f"{suffix}:{tmp_path}/{name}*.{kind}" for name in ("huge", "tiny"))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    characters, memory = map(int, ended.stdout.split())
    assert size <= characters < size + 50
    assert memory < 4.5 * size
