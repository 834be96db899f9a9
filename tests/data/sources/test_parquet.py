"""Parquet: what was written comes back, for every type of text and every division into parts."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.data import DataConfig
from scaling.data.corpus import open_corpus
from scaling.data.sources import Malformed, Tally, open_source, parquet
from scaling.data.sources.files import local_file
from scaling.data.sources.parquet import Parquet
from scaling.runtime.errors import BadInputError

TEXTS = ["one", None, "", "zwei é 😀", "three\n" * 5, "one"]
DOCUMENTS = [text or "" for text in TEXTS]


def column_of(kind):
    if kind == "binary":
        return pa.array([None if text is None else text.encode() for text in TEXTS], pa.large_binary())
    if kind == "dictionary":
        return pa.array(TEXTS, pa.string()).dictionary_encode()
    return pa.array(
        TEXTS, {"string": pa.string(), "large": pa.large_string(), "view": pa.string_view()}[kind]
    )


@pytest.mark.parametrize("kind", ["string", "large", "view", "binary", "dictionary"])
def test_every_type_of_text(tmp_path, read, kind):
    table = pa.table({"id": range(len(TEXTS)), "text": column_of(kind)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert read(open_source(DataConfig(source=f"parquet:{tmp_path}/*.parquet"))) == DOCUMENTS


def test_columns_by_name_dotted_and_nested(tmp_path, read):
    inner = pa.array([{"text": text, "n": 1} if i else None for i, text in enumerate(TEXTS)])
    table = pa.table(
        {"a": pa.array([{"b": row} for row in inner.to_pylist()]), "x.y": TEXTS, "nothing": pa.nulls(6)}
    )
    pq.write_table(table, tmp_path / "a.parquet")

    def column(name):
        return read(open_source(DataConfig(source=f"parquet:{tmp_path}/a.parquet", field=name)))

    assert column("a.b.text") == ["", *DOCUMENTS[1:]]
    assert column("x.y") == DOCUMENTS
    assert column("nothing") == [""] * 6


@settings(max_examples=12)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=6),
    group=st.integers(1, 20),
    target_bytes=st.integers(50, 4000),
    batch=st.integers(1, 9),
)
def test_every_division_gives_the_same_rows(tmp_path_factory, read, sizes, group, target_bytes, batch):
    folder = tmp_path_factory.mktemp("divided")
    expected, files = [], []
    for number, size in enumerate(sizes):
        rows = [f"{number} {i}" * (i % 7) for i in range(size)]
        pq.write_table(
            pa.table({"text": pa.array(rows, pa.string())}), folder / f"{number}", row_group_size=group
        )
        expected += rows
        files.append(local_file(folder / f"{number}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_BATCH_ROWS", batch)
        assert read(Parquet(files, "text"), target_bytes) == expected


def test_a_corpus_is_the_one_that_json_lines_are(tmp_path):
    texts = [f"document {i} says {i * i}" for i in range(200)]
    pq.write_table(pa.table({"body": texts}), tmp_path / "a.parquet", row_group_size=30)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    corpora = [
        open_corpus(DataConfig(source=f"{kind}:{tmp_path}/a.{kind}", field="body", sequence_length=16))
        for kind in ("parquet", "jsonl")
    ]
    assert corpora[0].fingerprint == corpora[1].fingerprint
    ids, others = (np.asarray(corpus.store.train.ids) for corpus in corpora)
    np.testing.assert_array_equal(ids, others)
    assert corpora[0].store.records == Tally(documents=200)


def test_a_row_group_is_not_held_in_memory(tmp_path):
    """Batches follow the size of rows, and a huge row is a batch of its own."""
    texts = ["a" * 2_000_000 if i % 10 == 0 else "b" for i in range(100)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", use_dictionary=False)
    source = open_source(DataConfig(source=f"parquet:{tmp_path}/a.parquet"))
    (part,) = source.parts()
    held, lengths = pa.total_allocated_bytes(), []
    for document in part.documents():
        lengths.append(len(document))
        assert (
            pa.total_allocated_bytes() - held < 30_000_000
        )  # of 20 MB in a batch of 20 rows: two, and pages
    assert lengths == [len(text) for text in texts]


def test_bytes_that_are_no_text_are_named_by_row(tmp_path, read):
    rows = [b"fine", b"caf\xe9", b"fine too"] * 2
    pq.write_table(pa.table({"text": pa.array(rows, pa.binary())}), tmp_path / "a.parquet", row_group_size=3)
    config = {"source": f"parquet:{tmp_path}/a.parquet"}
    with pytest.raises(BadInputError, match=r"a\.parquet: row 1: column 'text' is not UTF-8 text"):
        read(open_source(DataConfig(**config)))
    found = read(open_source(DataConfig(**config, on_error="skip")))
    assert [d for d in found if isinstance(d, str)] == ["fine", "fine too"] * 2
    assert [d.reason.split(": ")[2] for d in found if isinstance(d, Malformed)] == ["row 1", "row 4"]


def test_damage_inside_a_file_is_one_line(tmp_path, read):
    path = tmp_path / "a.parquet"
    texts = [f"{i} " * 50 for i in range(2000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=500, write_page_checksum=True)
    content, middle = path.read_bytes(), path.stat().st_size // 2
    path.write_bytes(content[:middle] + bytes(40) + content[middle + 40 :])
    for on_error in ("stop", "skip"):
        with pytest.raises(BadInputError, match=r"a\.parquet: row group \d cannot be read from row \d+ on"):
            read(open_source(DataConfig(source=f"parquet:{path}", on_error=on_error)))
