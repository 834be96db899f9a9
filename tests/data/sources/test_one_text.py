"""One text file is split by position: training is its beginning and validation its end, nothing is lost."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.data import DataConfig
from scaling.data.corpus import describe, open_corpus
from scaling.data.sources import OneText, split_rule
from scaling.data.sources import text as text_module
from scaling.data.sources.files import local_file
from scaling.runtime.errors import BadInputError

LINES = "".join(f"{i} the quick brown fox é\n" for i in range(4000))


def config_of(path, **fields):
    return DataConfig(source=f"text:{path}", sequence_length=32, **fields)


@pytest.mark.parametrize("packed", [False, True])
def test_the_end_is_validation(packed, tmp_path):
    path = tmp_path / "input.txt"
    content = LINES.encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    corpus = open_corpus(config_of(path, validation_fraction=0.1))
    train, validation = (
        corpus.tokenizer.decode(side.ids) for side in (corpus.store.train, corpus.store.validation)
    )
    assert train + validation == LINES
    assert train.endswith("\n") and len(validation.encode()) == pytest.approx(0.1 * len(content), rel=0.01)
    assert corpus.store.train.documents == corpus.store.validation.documents == 1
    assert corpus.store.train.ids[0] == corpus.tokenizer.end_of_text
    assert (
        "by position: the last 10% of input.txt" in describe(config_of(path, validation_fraction=0.1)).split
    )


@settings(deadline=None, max_examples=60)
@given(
    st.text(st.sampled_from("ab\n\ré\u2028😀"), min_size=1, max_size=200),
    st.floats(0.01, 0.99),
    st.integers(1, 40),
)
def test_pieces_are_the_text(tmp_path_factory, read, text, fraction, piece):
    path = tmp_path_factory.getbasetemp() / "one.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "_PIECE", piece)
        one = OneText(local_file(path))
        train, validation = ("".join(side) for side in one.sides(fraction))
        assert train + validation == text
        assert "".join(read(one)) == "".join(read(one, piece)) == text


def test_several_files_are_split_by_document(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"{i} {LINES[:2000]}")
    assert split_rule(config_of(f"{tmp_path}/*.txt")).startswith("by document: 5%")
    assert open_corpus(config_of(f"{tmp_path}/*.txt", validation_fraction=0.2)).store.train.documents > 20


def test_what_one_text_cannot_be(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text(LINES)
    with pytest.raises(BadInputError, match=r"data.max_documents=9: .* one text file"):
        open_corpus(config_of(path, max_documents=9))
    path.write_text("no line end")
    with pytest.raises(BadInputError, match="leaves no validation document"):
        open_corpus(config_of(path))
    path.write_bytes(b"abc\n\xff\xfe\n")
    with pytest.raises(BadInputError, match=r"not UTF-8 text \(byte 4\)"):
        open_corpus(config_of(path))
    path.write_bytes(b"")
    with pytest.raises(BadInputError, match="empty"):
        open_corpus(config_of(path))
