"""JSON lines: a document per line, in any division of the files into parts."""

import gzip
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.data import DataConfig
from scaling.data.sources import Malformed, Tally, open_source
from scaling.data.sources.files import local_file
from scaling.data.sources.json_lines import JsonLines
from scaling.runtime.errors import BadInputError


def write_jsonl(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n")
    return DataConfig(source=f"jsonl:{path}")


def test_jsonl_lines_across_files(tmp_path, read):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two\\n"}')
    (tmp_path / "b.jsonl").write_text('{"text": "three", "more": 1}\r\n')
    source = open_source(DataConfig(source=f"jsonl:{tmp_path}/*.jsonl"))
    assert read(source, 1) == read(source) == ["one", "", "two\n", "three"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"text": "cut', "not JSON"),
        ('{"body": "x", "id": 1}', "no field 'text' (data.field); its fields are: body, id"),
        ('{"text": null}', "holds NoneType, expected a string"),
        ('{"text": ["x"]}', "holds list, expected a string"),
        ('["text"]', "expected a JSON object on each line, found list"),
        ('{"text": "\\ud800"}', "surrogate"),
        (b'{"text": "caf\xe9"}', "not UTF-8"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_lines_are_named_by_file_and_line(tmp_path, read, line, says):
    # Two files, so that lines are counted within their own.
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' * 3)
    write_jsonl(tmp_path / "b.jsonl", '{"text": "fine"}', line)
    source = open_source(DataConfig(source=f"jsonl:{tmp_path}/*.jsonl"))
    for target_bytes in (10, 1 << 20):
        with pytest.raises(BadInputError) as error:
            read(source, target_bytes)
        assert f"{tmp_path}/b.jsonl:2: " in str(error.value)
        assert says in str(error.value) and "\n" not in str(error.value)
    skipping = open_source(DataConfig(source=f"jsonl:{tmp_path}/*.jsonl", on_error="skip"))
    tally = Tally()
    assert list(tally.kept(read(skipping, 10))) == ["fine"] * 4
    assert (tally.documents, tally.malformed) == (4, 1) and says in tally.reasons[0]
    assert skipping.identity != source.identity


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(st.sampled_from("ab\r\u2028😀"), max_size=30), max_size=20),
    ends=st.booleans(),
    target_bytes=st.integers(1, 200),
)
def test_every_division_gives_the_same_documents(tmp_path_factory, read, texts, ends, target_bytes):
    path = tmp_path_factory.getbasetemp() / "divided.jsonl"
    lines = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    path.write_bytes((lines + "\n" * ends).encode())
    source = JsonLines([local_file(path)], "text")
    assert read(source, target_bytes) == read(source) == (texts or [""] * ends)
    parts = source.parts(target_bytes)
    assert sum(part.size for part in parts) == path.stat().st_size
    assert [list(pickle.loads(pickle.dumps(p)).documents()) for p in parts] == [
        list(p.documents()) for p in parts
    ]


def test_small_files_share_a_part_and_compressed_ones_are_not_divided(tmp_path, read):
    line = '{"text": "0123456789"}\n'
    for i in range(6):
        (tmp_path / f"{i}.jsonl").write_text(line)
    (tmp_path / "6.jsonl").write_text(40 * line)
    (tmp_path / "7.jsonl.gz").write_bytes(
        gzip.compress(b"".join(b'{"text": "%d"}\n' % i for i in range(999)))
    )
    source = open_source(DataConfig(source=f"jsonl:{tmp_path}/*"))
    parts = source.parts(3 * len(line))
    sizes = [len(list(part.documents())) for part in parts]
    assert sizes[:2] == [3, 3] and set(sizes[2:-1]) <= {2, 3, 4} and sizes[-1] == 999
    assert parts[0].name == f"{tmp_path}/0.jsonl and the next 2"
    assert parts[2].name.startswith(f"{tmp_path}/6.jsonl[bytes 0-")
    assert parts[-1].name == f"{tmp_path}/7.jsonl.gz"
    assert not any(isinstance(document, Malformed) for document in read(source))
