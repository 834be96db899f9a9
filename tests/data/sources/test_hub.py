"""Folders of the hub's layout, without a network; datasets in the library's cache."""

import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling.config.data import DataConfig
from scaling.data.ahead import data_ahead
from scaling.data.corpus import describe
from scaling.data.sources import Malformed, open_source
from scaling.data.sources.hub import parse
from scaling.runtime.errors import BadInputError

datasets = pytest.importorskip("datasets")

README = """---
configs:
- config_name: en
  default: true
  data_files:
  - {split: train, path: data/train-*}
  - {split: validation, path: data/validation-*}
- config_name: de
  data_files: de/*.parquet
---
# Two languages
"""
TEXTS = [f"document {i} says {i * i}" for i in range(100)]


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def write_parquet(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())}), path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "languages"
    write_parquet(root / "data" / "train-00000-of-00002.parquet", TEXTS[:60])
    write_parquet(root / "data" / "train-00001-of-00002.parquet", TEXTS[60:])
    write_parquet(root / "data" / "validation-00000-of-00001.parquet", ["valid"])
    write_parquet(root / "de" / "a.parquet", ["eins", None, "zwei"])
    (root / "README.md").write_text(README)
    return root


@pytest.fixture
def lines(tmp_path):
    """JSON lines in two files, without a README."""
    root = tmp_path / "lines"
    root.mkdir()
    for name, texts in (("train-0", TEXTS[:60]), ("train-1", TEXTS[60:]), ("test", ["", "tested"])):
        rows = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts))
        (root / f"{name}.jsonl").write_text(rows)
    return root


@pytest.fixture
def tables(tmp_path):
    """The same as CSV, which the library reads."""
    root = tmp_path / "tables"
    root.mkdir()
    for name, texts in (("train-0", TEXTS[:60]), ("train-1", TEXTS[60:]), ("test", ["", "tested"])):
        rows = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
        (root / f"{name}.csv").write_text("id,text\n" + rows)
    return root


def test_configurations_and_splits(folder, read, monkeypatch):
    def texts(spec):
        return read(open_source(DataConfig(source=f"hf:{spec}")))

    assert texts(folder) == texts(f"{folder}/en") == texts(f"{folder}/en:train") == TEXTS
    assert texts(f"{folder}:validation") == texts(f"{folder}/en:validation") == ["valid"]
    assert texts(f"{folder}/de") == ["eins", "", "zwei"]
    monkeypatch.chdir(folder.parent)
    assert texts("languages/de:train") == texts("./languages/de") == ["eins", "", "zwei"]


@pytest.mark.parametrize("kind", ["lines", "tables"])
def test_other_formats(kind, request, read):
    root = request.getfixturevalue(kind)
    source = open_source(DataConfig(source=f"hf:{root}"))
    assert read(source) == TEXTS
    assert read(open_source(DataConfig(source=f"hf:{root}:test"))) == ["", "tested"]
    file = next(root.glob("train-1*"))
    file.write_text(file.read_text() * 2)
    assert open_source(DataConfig(source=f"hf:{root}")).identity != source.identity


def test_what_the_library_streams_has_a_part_for_each_file(tables):
    parts = open_source(DataConfig(source=f"hf:{tables}")).parts()
    assert [len(list(pickle.loads(pickle.dumps(part)).documents())) for part in parts] == [60, 40]


@pytest.mark.parametrize("kind", ["folder", "lines", "tables"])
def test_a_corpus_and_its_estimate(kind, request, tmp_path):
    config = DataConfig(
        source=f"hf:{request.getfixturevalue(kind)}", sequence_length=16, validation_fraction=0.2
    )
    summary, ahead = describe(config), data_ahead(config)
    assert (summary.documents, summary.bytes) == (100, sum(map(len, TEXTS)))
    assert ahead.documents == pytest.approx(100, rel=0.2) and ahead.bytes == pytest.approx(
        summary.bytes, rel=0.2
    )
    assert not any(tmp_path.glob("datasets/**/*.arrow"))  # nothing is copied


def test_the_library_cache(folder, read, monkeypatch):
    """A dataset that was loaded once is read without the network, by the name it has there."""
    datasets.load_dataset_builder(str(folder), "en").download_and_prepare()
    monkeypatch.chdir(folder.parent.parent)
    assert read(open_source(DataConfig(source="hf:languages"))) == TEXTS
    assert data_ahead(DataConfig(source="hf:languages")).documents is None  # the hub is not asked


def test_names():
    assert parse("owner/name/config:test") == parse("owner/name/config:test")
    parsed = parse("owner/name/config:test")
    assert (parsed.path, parsed.config, parsed.split) == ("owner/name", "config", "test")
    assert (parse("owner/name").config, parse("owner/name").split) == (None, "train")
    with pytest.raises(BadInputError, match="give hf:OWNER/DATASET"):
        parse("a/b/c/d")


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ("{folder}:nope", "text", "no split 'nope'; the splits are: train, validation"),
        ("{folder}:train[:10%]", "text", "no split 'train[:10%]'; the splits are: train, validation"),
        ("{folder}/nope", "text", "BuilderConfig 'nope' not found. Available: ['en', 'de']"),
        ("{folder}", "body", "has no such column; its columns are: id, text"),
        ("{folder}", "id", "holds int64, not text; columns of text: text"),
        ("{lines}:nope", "text", "no split 'nope'; the splits are: train, test"),
        ("{lines}", "body", "train-0.jsonl:1: no field 'body' (data.field); its fields are: id, text"),
        ("{tables}:nope", "text", "no split 'nope'; the splits are: train, test"),
        ("{tables}", "body", "has no such column; its columns are: id, text"),
        ("{tables}", "id", "row 0: column 'id' holds int, expected a string"),
        ("./nowhere/at/all", "text", "no folder ./nowhere/at/all"),
        ("owner/dataset", "text", "Couldn't reach 'owner/dataset' on the Hub"),
    ],
)
def test_bad_input_is_one_line(folder, lines, tables, read, capfd, spec, field, says):
    spec = spec.format(folder=folder, lines=lines, tables=tables)
    with pytest.raises(BadInputError) as error:
        read(open_source(DataConfig(source=f"hf:{spec}", field=field)))
    assert says in str(error.value) and len(str(error.value)) < 600
    assert capfd.readouterr() == ("", "")


def test_values_of_other_types_can_be_skipped(tables, read):
    found = read(open_source(DataConfig(source=f"hf:{tables}", field="id", on_error="skip")))
    assert len(found) == 100 and all(isinstance(document, Malformed) for document in found)


def test_mixed_types_in_json(lines, read):
    with (lines / "train-1.jsonl").open("a") as file:
        file.write('{"id": 1, "text": ["a list"]}\n')
    with pytest.raises(BadInputError, match=r"train-1\.jsonl:41: field 'text' holds list"):
        read(open_source(DataConfig(source=f"hf:{lines}")))


def test_the_extra_is_named(folder, monkeypatch):
    import sys

    from scaling.data.sources import hub

    hub._builder.cache_clear()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInputError, match=r'pip install "scaling-lab\[hf\]"'):
        open_source(DataConfig(source=f"hf:{folder}"))
