"""Text files, the embedded corpus, and the files that a pattern names."""

import json
import os

import pytest

from scaling.config.data import DataConfig
from scaling.data.sources import Malformed, open_source, stdlib_source
from scaling.runtime.errors import BadInputError


def test_the_embedded_corpus_is_the_library_without_packages_and_tests(read):
    source = stdlib_source()
    texts = read(source)
    assert 5e6 < sum(len(text.encode()) for text in texts) < 40e6
    with open(json.__file__, encoding="utf-8") as file:
        assert file.read() in texts
    names = [span.file.name for part in source.parts() for span in part.spans]
    assert not any(part in name for name in names for part in ("site-packages", "/test/"))


def test_text_files_keep_every_byte_and_come_sorted(tmp_path, read):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_bytes(b"second\r\n\tfile\n\n")
    (tmp_path / "a.txt").write_bytes("first é".encode())
    (tmp_path / "sub" / "c.txt").write_bytes(b"third")
    source = open_source(DataConfig(source=f"text:{tmp_path}/**/*.txt"))
    assert read(source, 1) == read(source) == ["first é", "second\r\n\tfile\n\n", "third"]


def test_undecodable_files_can_be_left_out(tmp_path, read):
    for name, content in (("a", b"first"), ("b", b"caf\xe9"), ("c", b"third")):
        (tmp_path / name).write_bytes(content)
    config = DataConfig(source=f"text:{tmp_path}/*", on_error="skip")
    first, malformed, third = read(open_source(config))
    assert (first, third) == ("first", "third")
    assert isinstance(malformed, Malformed) and f"{tmp_path}/b is not UTF-8" in malformed.reason


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


def test_missing_and_unreadable_files(tmp_path, read):
    with pytest.raises(BadInputError, match=r"no file matches .*\.txt"):
        open_source(DataConfig(source=f"text:{tmp_path}/*.txt"))
    with pytest.raises(BadInputError, match=r"no file matches .*: it is a directory; give a glob"):
        open_source(DataConfig(source=f"jsonl:{tmp_path}"))
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9")
    source = open_source(DataConfig(source=f"text:{path}"))
    with pytest.raises(BadInputError, match=r"latin.txt is not UTF-8 text \(byte 3\)"):
        read(source)
    path.unlink()
    with pytest.raises(BadInputError, match="cannot read"):
        read(source)


def test_a_name_that_exists_is_no_pattern(tmp_path, read):
    (tmp_path / "part[1].txt").write_text("this")
    (tmp_path / "part1.txt").write_text("not this")
    assert read(open_source(DataConfig(source=f"text:{tmp_path}/part[1].txt"))) == ["this"]
