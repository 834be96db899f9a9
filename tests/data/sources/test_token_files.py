"""Token files: documents between end-of-text ids, in each format, however the files are divided."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.data import DataConfig
from scaling.data.ahead import data_ahead
from scaling.data.corpus import describe, open_corpus
from scaling.data.sources import open_source, raw_tokens
from scaling.runtime.errors import BadInputError

EOT = 256  # of data.tokenizer=bytes
MEGATRON = {"u1": 1, "<i2": 3, "<i4": 4, "<i8": 5, "<u2": 8}
DOCUMENTS = [[1, 2, 3], [], [4], [255] * 9, [5, 6]]
texts_of = st.lists(st.lists(st.integers(0, 255), max_size=6), max_size=8)


def write_megatron(path, documents, dtype="<u2", sequences=1, end=True):
    """Documents of `sequences` sequences each, as Megatron's preprocess_data.py --append-eod writes them."""
    lengths, bounds, content = [], [0], b""
    for ids in documents:
        ids = [*ids, EOT] if end else ids
        pieces = np.array_split(np.array(ids, dtype), sequences)
        content += b"".join(piece.tobytes() for piece in pieces)
        lengths += map(len, pieces)
        bounds.append(len(lengths))
    pointers = np.concatenate([[0], np.cumsum(lengths)[:-1]]) * np.dtype(dtype).itemsize if lengths else []
    path.with_suffix(".bin").write_bytes(content)
    path.with_suffix(".idx").write_bytes(
        struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, MEGATRON[dtype], len(lengths), len(bounds))
        + np.array(lengths, "<i4").tobytes()
        + np.array(pointers, "<i8").tobytes()
        + np.array(bounds, "<i8").tobytes()
    )


def write_nano(path, documents, first=False, dtype="<u2"):
    """End-of-text after each document, as nanoGPT writes it, or before it."""
    ids = [i for ids in documents for i in ([EOT, *ids] if first else [*ids, EOT])]
    path.write_bytes(np.array(ids, dtype).tobytes())


def write_header(path, documents, magic=20240520, version=1, dtype="<u2"):
    ids = np.array([i for ids in documents for i in (EOT, *ids)], dtype)
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(ids)
    path.write_bytes(header.tobytes() + ids.tobytes())


def source_of(pattern, **options):
    return open_source(DataConfig(source=f"tokens:{pattern}", **options))


def ids_of(documents):
    return [document.tolist() for document in documents]


@pytest.mark.parametrize(
    "write",
    [
        write_nano,
        lambda path, documents: write_nano(path, documents, first=True),
        write_header,
        lambda path, documents: write_header(path, documents, 20240801, 7, "<u4"),
    ],
)
def test_raw_files(tmp_path, read, write):
    write(tmp_path / "a.bin", DOCUMENTS)
    write(tmp_path / "b.bin", [[7, 8]])
    assert ids_of(read(source_of(f"{tmp_path}/*.bin"))) == [*DOCUMENTS, [7, 8]]


@settings(max_examples=60)
@given(texts_of, st.integers(1, 60), st.integers(1, 5), st.booleans())
def test_every_division_of_raw_files(tmp_path_factory, read, documents, target_bytes, block, first):
    path = tmp_path_factory.getbasetemp() / "divided.bin"
    write_nano(path, documents, first)
    # An empty document before the first end-of-text, or after the last, cannot be told from none.
    expected = documents
    if documents and first and not documents[-1]:
        expected = documents[:-1]
    if documents and not first and not documents[0]:
        expected = documents[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_tokens, "_BLOCK", block)
        source = source_of(str(path))
        assert ids_of(read(source, target_bytes)) == ids_of(read(source)) == expected


@pytest.mark.parametrize(
    ("dtype", "sequences", "end"),
    [
        ("<u2", 1, True),
        ("<i4", 3, True),
        ("<i8", 1, True),
        ("<i2", 2, True),
        ("u1", 1, False),
        ("<u2", 2, False),
    ],
)
def test_megatron_pairs(tmp_path, read, dtype, sequences, end):
    write_megatron(tmp_path / "a", DOCUMENTS, dtype, sequences, end)
    for pattern in ("*.bin", "*.idx", "*", "a.bin"):
        assert ids_of(read(source_of(f"{tmp_path}/{pattern}"))) == DOCUMENTS


@settings(max_examples=40)
@given(texts_of, st.integers(1, 60), st.integers(1, 3), st.booleans())
def test_every_division_of_megatron_pairs(tmp_path_factory, read, documents, target_bytes, sequences, end):
    path = tmp_path_factory.getbasetemp() / "pair"
    write_megatron(path, documents, "<i4", sequences, end)
    assert ids_of(read(source_of(f"{path}.bin"), target_bytes)) == documents


def test_end_of_text_inside_a_document_of_megatron_separates_documents(tmp_path, read):
    write_megatron(tmp_path / "a", [[1, EOT, 2, 3], [EOT]])
    assert ids_of(read(source_of(f"{tmp_path}/*.bin"))) == [[1], [2, 3], []]


def test_formats_are_told_apart_file_by_file(tmp_path, read):
    write_megatron(tmp_path / "a", [[1]])
    write_nano(tmp_path / "b.bin", [[2]])
    write_header(tmp_path / "c.bin", [[3]])
    assert ids_of(read(source_of(f"{tmp_path}/*"))) == [[2], [3], [1]]


def test_a_corpus_counts_bytes_by_the_tokenizer(tmp_path):
    texts = [f"document {i}: " + "é" * (i % 50) for i in range(300)]
    write_nano(tmp_path / "a.bin", [list(text.encode()) for text in texts] + [list(texts[0].encode()), []])
    config = DataConfig(source=f"tokens:{tmp_path}/a.bin", sequence_length=32, validation_fraction=0.2)
    corpus, summary = open_corpus(config), describe(config)
    assert summary.bytes == sum(len(text.encode()) for text in [*texts, texts[0]])
    assert summary.tokens == summary.bytes + 301
    records = corpus.store.records
    assert (records.documents, records.empty, records.duplicates) == (301, 1, 1)
    found = corpus.store.train.ids[: corpus.store.train.offsets[1]]
    assert corpus.tokenizer.decode(found) in texts
    # The same ids in another format are the same corpus.
    write_megatron(tmp_path / "b", [list(text.encode()) for text in texts] + [list(texts[0].encode())], "<i4")
    other = open_corpus(config.model_copy(update={"source": f"tokens:{tmp_path}/b.idx"}))
    assert other.fingerprint == corpus.fingerprint
    ahead = data_ahead(config)
    assert ahead.bytes == pytest.approx(summary.bytes, rel=0.1)
    assert ahead.documents == pytest.approx(summary.documents, rel=0.1)
    assert ahead.tokens_per_epoch == pytest.approx(summary.tokens_per_epoch, rel=0.2)


def test_32_bits_for_a_large_vocabulary(tmp_path, read, monkeypatch):
    from scaling.data.sources import token_files
    from scaling.data.tokenizers import ByteTokenizer

    class Large(ByteTokenizer):
        vocab_size = 100_000

    monkeypatch.setattr(token_files, "load_tokenizer", lambda name: Large())
    write_nano(tmp_path / "a.bin", [[1, 99_999]], dtype="<u4")
    assert ids_of(read(source_of(f"{tmp_path}/a.bin"))) == [[1, 99_999]]


def broken(path, change):
    content = bytearray(path.read_bytes())
    path.write_bytes(change(content))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("nano.bin", lambda c: c[:-1], "are no whole number of uint16 ids (data.tokenizer=bytes has 257)"),
        ("nano.bin", lambda c: c[:6] + b"\xff\xff" + c[8:], "nano.bin: token 3: id 65535 is beyond"),
        ("head.bin", lambda c: c[:-2], "its header names 20 ids of 2 bytes, but the file has 1062 bytes"),
        ("head.bin", lambda c: c[:4] + b"\x09" + c[5:], "version 9 of a header"),
        ("pair.bin", lambda c: c[:-2], "its index names bytes beyond its 38: it is incomplete"),
        ("pair.bin", lambda c: c[:4] + b"\xff\xff" + c[6:], "pair.bin: token 2: id 65535 is beyond"),
        ("pair.idx", lambda c: c[:-1], "it is incomplete"),
        ("pair.idx", lambda c: c[:20], "is not an index of Megatron"),
        ("pair.idx", lambda c: b"X" + c[1:], "is not an index of Megatron"),
        ("pair.idx", lambda c: c[:9] + b"\x02" + c[10:], "version 2; version 1 is supported"),
        ("pair.idx", lambda c: c[:17] + b"\x07" + c[18:], "type code 7 is not that of an integer type"),
        ("pair.idx", lambda c: c[:-8] + b"\xff" * 8, "bounds of documents are damaged"),
    ],
)
def test_what_is_damaged(tmp_path, read, name, change, says):
    write_nano(tmp_path / "nano.bin", DOCUMENTS)
    write_header(tmp_path / "head.bin", DOCUMENTS)
    write_megatron(tmp_path / "pair", DOCUMENTS)
    broken(tmp_path / name, change)
    with pytest.raises(BadInputError) as error:
        read(source_of(tmp_path / name.replace("idx", "bin")))
    assert says in str(error.value) and str(tmp_path / name.split(".")[0]) in str(error.value)


def test_a_pair_without_its_half_and_other_names(tmp_path):
    write_megatron(tmp_path / "a", DOCUMENTS)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(BadInputError, match=r"a\.idx is an index, but there is no .*a\.bin with its ids"):
        source_of(f"{tmp_path}/a.idx")
    (tmp_path / "a.bin.gz").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"a\.bin\.gz ends in neither"):
        source_of(f"{tmp_path}/*.gz")


def test_no_end_of_text_names_the_tokenizer(tmp_path, read, monkeypatch):
    monkeypatch.setattr(raw_tokens, "_LONGEST", 100)
    monkeypatch.setattr(raw_tokens, "_BLOCK", 10)
    (tmp_path / "a.bin").write_bytes(np.ones(500, "<u2").tobytes())
    with pytest.raises(BadInputError, match=r"no end-of-text id 256 in \d+ tokens; is data.tokenizer=bytes"):
        read(source_of(f"{tmp_path}/a.bin"))
