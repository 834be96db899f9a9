import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data.sources import stdlib_source
from scaling.data.tokenizer_training import train_sentencepiece
from scaling.data.tokenizers import ByteTokenizer, SentencePieceTokenizer, load_tokenizer
from scaling.runtime.errors import BadInputError

# Everything a normaliser, a space mark, a separator or a byte piece could swallow.
AWKWARD = st.text(
    st.one_of(
        st.sampled_from(" \t\n\r\0\u2581\u2585\u2047\u00a0\u2028\ufeff\ufffdéﬁ日\U0001f600"),
        st.characters(exclude_categories=["Cs"]),
    )
) | st.lists(
    st.sampled_from(["<unk>", "<|endoftext|>", "<0x41>", "    ", "\n\n", "def ", "self", "\u2581"])
).map("".join)


class Sample:
    """Forty files of the library: enough to learn from, quick to train on."""

    identity = "sample"

    def parts(self, target_bytes=0):
        return stdlib_source().parts(1)[:40]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def trained(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("tokenizer") / "new" / "tok.model"
    train_sentencepiece(Sample(), out, vocab_size=600, model_type=request.param, max_bytes=100_000)
    return load_tokenizer(f"sentencepiece:{out}")


@given(AWKWARD)
def test_bytes_are_lossless(text):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert ids.tolist() == list(text.encode())
    assert ids.dtype == np.int32
    assert tokenizer.decode([tokenizer.end_of_text, *ids, tokenizer.end_of_text]) == text
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (257, 256)


@settings(deadline=None, max_examples=300)
@given(text=AWKWARD)
def test_sentencepiece_is_lossless(trained, text):
    ids = trained.encode(text)
    assert ids.dtype == np.int32
    assert trained.decode(ids) == text
    assert trained.decode([trained.end_of_text, *ids]) == text
    assert trained.byte_lengths()[ids].sum() == len(text.encode())
    assert trained.end_of_text not in ids
    assert 0 not in ids  # unknown


def test_sentencepiece_compresses_and_is_lossless_on_real_text(trained):
    for index in (45, 50, 55):  # files it was not trained on
        (text,) = stdlib_source().parts(1)[index].documents()
        ids = trained.encode(text)
        assert trained.decode(ids) == text
        assert len(ids) < 0.6 * len(text.encode())
    assert trained.vocab_size == 600
    lengths = trained.byte_lengths()
    assert lengths[:258].tolist() == [0, 0] + [1] * 256


def test_training_is_deterministic_and_seeded(tmp_path):
    def model(seed):
        train_sentencepiece(Sample(), tmp_path / "m", vocab_size=400, seed=seed, max_bytes=50_000)
        return (tmp_path / "m").read_bytes()

    assert model(0) == model(0)
    assert model(0) != model(1)


def test_long_lines_are_learned_from(tmp_path, texts):
    # SentencePiece alone leaves out any line over 4192 bytes.
    text = "abcdefgh" * 20_000
    tokenizer = train_sentencepiece(texts([text]), tmp_path / "m", vocab_size=275)
    assert len(tokenizer.encode(text)) <= len(text) / 8


def test_a_model_from_elsewhere_with_its_dummy_prefix():
    model = io.BytesIO()
    lines = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs"] * 50
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=36, minloglevel=2
    )
    tokenizer = SentencePieceTokenizer(model.getvalue())
    assert tokenizer.decode(tokenizer.encode("the lazy fox")) == "the lazy fox"
    assert tokenizer.decode(tokenizer.encode("日 fox")) == " fox"  # no byte fallback: unknown has no text


@pytest.mark.parametrize("content", [b"", b"junk", b"\0" * 1000, None])
def test_bad_models(tmp_path, content):
    path = tmp_path / "tok.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"tok\.model"):
        load_tokenizer(f"sentencepiece:{path}")


def test_a_truncated_model_and_one_without_end_of_text(tmp_path):
    whole = tmp_path / "whole.model"
    train_sentencepiece(Sample(), whole, vocab_size=400, max_bytes=50_000)
    with pytest.raises(BadInputError, match="damaged"):
        SentencePieceTokenizer(whole.read_bytes()[:-100])
    with pytest.raises(BadInputError, match="cannot read"):
        load_tokenizer(f"sentencepiece:{tmp_path}")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words here", "and others there"] * 9),
        model_writer=model,
        vocab_size=15,
        eos_id=-1,
        minloglevel=2,
    )
    with pytest.raises(BadInputError, match="no end-of-sentence piece"):
        SentencePieceTokenizer(model.getvalue())


@pytest.mark.parametrize(
    ("contents", "vocab_size", "says"),
    [
        (["hello world"], 100, "at least 259"),
        (["hello world"], 4096, "Vocabulary size too high"),
        (["".join(map(chr, range(20_000, 24_000)))], 270, "smaller than required_chars"),
        ([""], 300, "no text"),
        ([], 300, "no text"),
    ],
)
def test_training_refusals_leave_the_old_model_alone(tmp_path, texts, contents, vocab_size, says):
    out = tmp_path / "tok.model"
    out.write_bytes(b"old")
    with pytest.raises(BadInputError, match=says):
        train_sentencepiece(texts(contents), out, vocab_size=vocab_size)
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == ["tok.model"]


def test_an_unwritable_place_for_the_model(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot write the model"):
        train_sentencepiece(Sample(), tmp_path / "file" / "m", vocab_size=400, max_bytes=50_000)
    with pytest.raises(BadInputError, match="is a folder"):
        train_sentencepiece(Sample(), tmp_path, vocab_size=400, max_bytes=50_000)


def spelled(tokenizer, text):
    """The words of a text, as the flags have them."""
    flags, ids = tokenizer.word_flags(), tokenizer.encode(text)
    words = []
    for at, token in enumerate(ids):
        if at and flags.continues[token] and flags.open[ids[at - 1]]:
            words[-1].append(token)
        else:
            words.append([token])
    return [tokenizer.decode(word) for word in words]


def test_words_of_bytes():
    words = spelled(ByteTokenizer(), "snake_case + naïve2\n\tend.")
    assert words == ["snake_case", " ", "+", " ", "naïve2", "\n", "\t", "end", "."]
    flags = ByteTokenizer().word_flags()
    assert len(flags.open) == len(flags.continues) == 257
    assert not flags.open[256] and not flags.continues[256]


def test_words_of_pieces(trained):
    assert spelled(trained, "the qzjxv\nof") == ["the", " qzjxv", "\n", "of"]
    flags = trained.word_flags()
    assert not flags.open[trained.end_of_text] and not flags.continues[trained.end_of_text]
