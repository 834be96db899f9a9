import json
import os

import pytest

from scaling.config.data import DataConfig
from scaling.data.sources import TextFiles, open_source, stdlib_source
from scaling.runtime.errors import BadInputError


def write_jsonl(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n")
    return DataConfig(source=f"jsonl:{path}")


def test_the_embedded_corpus_is_the_library_without_packages_and_tests():
    documents = stdlib_source()
    texts = [documents[i] for i in range(len(documents))]
    assert 5e6 < sum(len(text.encode()) for text in texts) < 40e6
    with open(json.__file__, encoding="utf-8") as file:
        assert file.read() in texts
    assert not any(part in str(path) for path in documents._paths for part in ("site-packages", "/test/"))


def test_text_files_keep_every_byte_and_come_sorted(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_bytes(b"second\r\n\tfile\n\n")
    (tmp_path / "a.txt").write_bytes("first é".encode())
    (tmp_path / "sub" / "c.txt").write_bytes(b"third")
    documents = open_source(DataConfig(source=f"text:{tmp_path}/**/*.txt"))
    assert [documents[i] for i in range(len(documents))] == ["first é", "second\r\n\tfile\n\n", "third"]


def test_undecodable_files_can_be_left_out(tmp_path):
    path = tmp_path / "latin.py"
    path.write_bytes(b"caf\xe9")
    assert TextFiles([path], root=tmp_path, skip_undecodable=True)[0] == ""


def test_identity_changes_with_the_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    config = DataConfig(source=f"text:{tmp_path}/*.txt")
    before = open_source(config).identity
    assert open_source(config).identity == before
    os.utime(path, ns=(1, 1))
    touched = open_source(config).identity
    (tmp_path / "b.txt").write_text("two")
    assert len({before, touched, open_source(config).identity}) == 3


def test_jsonl_lines_across_files(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two\\n"}')
    (tmp_path / "b.jsonl").write_text('{"text": "three", "more": 1}\r\n')
    documents = open_source(DataConfig(source=f"jsonl:{tmp_path}/*.jsonl"))
    assert [documents[i] for i in range(len(documents))] == ["one", "", "two\n", "three"]


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
def test_bad_lines_are_named_by_file_and_line(tmp_path, line, says):
    # Two files, so that lines are counted within their own.
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' * 3)
    write_jsonl(tmp_path / "b.jsonl", '{"text": "fine"}', line)
    documents = open_source(DataConfig(source=f"jsonl:{tmp_path}/*.jsonl"))
    with pytest.raises(BadInputError) as error:
        documents[4]
    assert f"{tmp_path}/b.jsonl:2: " in str(error.value)
    assert says in str(error.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(BadInputError, match=r"no file matches .*\.txt"):
        open_source(DataConfig(source=f"text:{tmp_path}/*.txt"))
    with pytest.raises(BadInputError, match="no file matches"):
        open_source(DataConfig(source=f"jsonl:{tmp_path}"))  # a folder is not a file
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(BadInputError, match=r"latin.txt is not UTF-8 text \(byte 3\)"):
        open_source(DataConfig(source=f"text:{path}"))[0]
    documents = open_source(DataConfig(source=f"text:{path}"))
    path.unlink()
    with pytest.raises(BadInputError, match="cannot read"):
        documents[0]
