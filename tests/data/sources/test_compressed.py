"""Compressed corpora are read as what they hold; a damaged file is refused in one line."""

import gzip
import json

import pytest

from scaling.config.data import DataConfig
from scaling.data.sources import open_source
from scaling.data.sources.compressed import is_compressed, read_plain
from scaling.runtime.errors import BadInputError

TEXT = '{"text": "first"}\n' + "".join(f"line {i}\u2028 é\r\n" for i in range(20_000))


def packed(kind: str, content: bytes) -> bytes:
    """Two members or frames, as `cat` of two files makes them."""
    half = len(content) // 2
    if kind == "gz":
        return gzip.compress(content[:half]) + gzip.compress(content[half:])
    zstandard = pytest.importorskip("zstandard")
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    return skippable + compressor.compress(content[:half]) + compressor.compress(content[half:])


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_what_was_compressed_is_read(kind, tmp_path, read):
    for name in "ab":
        (tmp_path / f"{name}.txt.{kind}").write_bytes(packed(kind, (name + TEXT).encode()))
    texts = open_source(DataConfig(source=f"text:{tmp_path}/*.txt.{kind}"))
    assert read(texts) == ["a" + TEXT, "b" + TEXT]
    lines = "\n".join(json.dumps({"text": f"{i}\u2028"}, ensure_ascii=False) for i in range(5000))
    (tmp_path / f"x.jsonl.{kind}").write_bytes(packed(kind, lines.encode()))
    documents = read(open_source(DataConfig(source=f"jsonl:{tmp_path}/*.jsonl.{kind}")))
    assert documents == [f"{i}\u2028" for i in range(5000)]


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_file_that_is_cut_or_damaged_is_one_line(kind, tmp_path, read):
    whole = packed(kind, TEXT.encode())
    for number, content in enumerate(
        (whole[:-3], whole[: len(whole) // 2], whole[:30] + b"\0" * 50 + whole[80:])
    ):
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(content)
        with pytest.raises(BadInputError, match="damaged or incomplete") as error:
            read_plain(path)
        assert len(str(error.value).splitlines()) == 1
        for source in ("text", "jsonl"):
            config = DataConfig(source=f"{source}:{path}", on_error="skip")  # skips records, not files
            with pytest.raises(BadInputError, match=r"damaged or incomplete") as error:
                read(open_source(config))
            assert str(path) in str(error.value)


def test_content_and_not_the_name_decides(tmp_path):
    (tmp_path / "plain.gz").write_text("plain")
    assert not is_compressed(b"plain") and read_plain(tmp_path / "plain.gz") == b"plain"
    (tmp_path / "packed.txt").write_bytes(gzip.compress(b"packed"))
    assert read_plain(tmp_path / "packed.txt") == b"packed"


def test_nothing_is_unpacked_to_disk(tmp_path, cache, read):
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n'))
    assert read(open_source(DataConfig(source=f"jsonl:{tmp_path}/x.jsonl.gz"))) == ["x"]
    assert not cache.exists()
