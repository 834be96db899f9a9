"""Whatever happens to the bytes of a file, reading it gives documents or one line that names it."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.data import DataConfig
from scaling.data.sources import open_source
from scaling.runtime.errors import BadInputError
from tests.data.sources.test_token_files import write_header, write_megatron

TEXTS = [f"document {i} says {i * i} é" for i in range(40)]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
IDS = [list(text.encode()) for text in TEXTS]


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The bytes of an undamaged file by kind of source and name."""
    import zstandard

    folder = tmp_path_factory.mktemp("whole")
    pq.write_table(pa.table({"n": range(40), "text": TEXTS}), folder / "a.parquet", row_group_size=15)
    write_header(folder / "a.bin", IDS)
    found = {
        ("jsonl", "a.jsonl"): LINES,
        ("jsonl", "a.jsonl.gz"): gzip.compress(LINES),
        ("jsonl", "a.jsonl.zst"): zstandard.ZstdCompressor().compress(LINES),
        ("text", "a.text"): "\n".join(TEXTS).encode(),
        ("parquet", "a.parquet"): (folder / "a.parquet").read_bytes(),
        ("tokens", "a.bin"): (folder / "a.bin").read_bytes(),
    }
    write_megatron(folder / "b", IDS)
    return found | {("tokens", "b.idx"): (folder / "b.idx").read_bytes()}


@pytest.mark.parametrize(
    "kind", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.text", "a.parquet", "a.bin", "b.idx"]
)
@settings(max_examples=40)
@given(data=st.data())
def test_bytes_that_are_changed_or_cut(contents, tmp_path_factory, read, kind, data):
    (source, name), content = next(item for item in contents.items() if item[0][1] == kind)
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    write_megatron(folder / "b", IDS)
    changed = np.frombuffer(content, np.uint8).copy()
    size = len(content)
    places = [(0, min(60, size)), (max(0, size - 200), size), (0, size)]
    if kind == "a.parquet":  # Arrow ends the process where some statistics of its footer are damaged
        places = [(0, size - 8 - int.from_bytes(content[-8:-4], "little")), (size - 8, size)]
    for _ in range(data.draw(st.integers(0, 4), "changes")):
        # Headers and footers are where a reader is most easily misled.
        low, high = data.draw(st.sampled_from(places), "place")
        changed[data.draw(st.integers(low, high - 1), "at")] = data.draw(st.integers(0, 255), "byte")
    cut = data.draw(st.one_of(st.just(size), st.integers(0, size)), "length")
    (folder / name).write_bytes(changed.tobytes()[:cut])
    try:
        documents = read(open_source(DataConfig(source=f"{source}:{folder}/{name}")))
    except BadInputError as error:
        assert str(folder) in str(error) and len(str(error)) < 700
    else:
        assert all(isinstance(document, str | np.ndarray) for document in documents)
