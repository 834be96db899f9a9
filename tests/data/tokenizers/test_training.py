"""Trained tokenizers: the same files each time, the same ids in transformers, refusals in one line."""

import json

import pytest
from hypothesis import given, settings
from typer.testing import CliRunner

from scaling.cli import app
from scaling.data.sources import stdlib_source
from scaling.data.tokenizer_training import KINDS, train_tokenizer
from scaling.data.tokenizers import load_tokenizer
from scaling.runtime.errors import BadInputError
from tests.data.tokenizers.strategies import AWKWARD

SIZE = 600


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folders of trained tokenizers, by kind."""
    root = tmp_path_factory.mktemp("trained")
    for kind in KINDS:
        train_tokenizer(stdlib_source(), root / kind, kind=kind, vocab_size=SIZE, max_bytes=60_000)
    return {kind: root / kind for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_text_gives_the_same_files(trained, tmp_path, kind):
    train_tokenizer(stdlib_source(), tmp_path, kind=kind, vocab_size=SIZE, max_bytes=60_000)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (trained[kind] / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_them_with_the_same_ids(trained, lines, kind):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(trained[kind], split_special_tokens=True)
    ours = load_tokenizer(f"hf:{trained[kind]}")
    sample = lines[::5]
    expected = theirs(sample, add_special_tokens=False)["input_ids"]
    assert [ids.tolist() for ids in ours.encode_many(sample)] == expected
    assert ours.vocab_size == len(theirs) == SIZE
    for role in ("bos", "eos", "unk", "pad", "cls", "sep", "mask"):
        assert getattr(ours.special, role) == getattr(theirs, f"{role}_token_id")
    assert ours.end_of_text == (theirs.sep_token_id if kind == "wordpiece" else theirs.eos_token_id)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(max_examples=150)
@given(text=AWKWARD)
def test_texts_come_back(trained, kind, text):
    tokenizer = load_tokenizer(f"hf:{trained[kind]}")
    if kind == "unigram":
        text = text.replace("▁", "")  # this character stands for a space
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())
    assert tokenizer.end_of_text not in ids


def test_unigram_has_the_pieces_of_sentencepiece(tmp_path, texts, lines):
    from scaling.data.tokenizer_training import train_sentencepiece

    documents = texts(lines[:600])
    options = {"vocab_size": 400, "max_bytes": 30_000}
    ours = train_tokenizer(documents, tmp_path / "hf", kind="unigram", **options)
    theirs = train_sentencepiece(documents, tmp_path / "a.model", model_type="unigram", **options)
    plain = [line for line in lines[:3000] if line.isascii() and "<0x" not in line]
    pairs = [(ours.encode(line).tolist(), theirs.encode(line).tolist()) for line in plain]
    # Equally likely ones, such as orders of runs of spaces, are chosen differently.
    assert len(plain) > 2000 and all(sorted(a) == sorted(b) for a, b in pairs)
    assert sum(a == b for a, b in pairs) > 0.99 * len(pairs)


def run(*arguments):
    return CliRunner().invoke(app, ["data", "tokenizer", *arguments])


def test_the_command(tmp_path):
    (tmp_path / "one.txt").write_text("a tokenizer learns from a text, a text of words\n" * 50)
    source = ("--source", f"text:{tmp_path}/one.txt")
    result = run(*source, "--kind", "bpe", "--vocab-size", "280", "--out", str(tmp_path / "out"), "--json")
    document = json.loads(result.stdout)
    assert document["tokenizer"] == f"hf:{tmp_path}/out"
    assert (document["vocab_size"], document["kind"]) == (280, "bpe")
    assert document["identity"] == load_tokenizer(document["tokenizer"]).identity
    model = tmp_path / "out.model"
    result = run(*source, "--type", "bpe", "--vocab-size", "280", "--out", str(model))
    assert f"data.tokenizer=sentencepiece:{model}" in result.stdout.replace("\n", "")
    assert load_tokenizer(f"sentencepiece:{model}").vocab_size == 280


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("words", {"vocab_size": 200}, "at least 258"),
        ("words", {"vocab_size": 200, "kind": "unigram"}, "at least 259"),
        ("words", {"vocab_size": 10, "kind": "wordpiece"}, "at least 64"),
        ("words", {"vocab_size": 4096}, "the text gives 261 tokens of kind bpe"),
        ("words", {"vocab_size": 4096, "kind": "unigram"}, "Vocabulary size too high"),
        ("words", {"vocab_size": 4096, "kind": "wordpiece"}, "the text gives"),
        ("", {"vocab_size": 300}, "no text"),
    ],
)
def test_refusals_leave_nothing_behind(tmp_path, texts, content, options, says):
    with pytest.raises(BadInputError, match=says) as error:
        train_tokenizer(texts([content]), tmp_path / "out", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_progress_reaches_its_end(tmp_path, texts, kind):
    seen = []
    documents = texts(["some words to learn from, and others"] * 9)
    with pytest.raises(BadInputError, match="vocab_size=5000"):
        train_tokenizer(
            documents, tmp_path, kind=kind, vocab_size=5000, progress=lambda *done: seen.append(done)
        )
    assert seen == sorted(seen) and seen[0][0] < seen[-1][0] == seen[-1][1]


def test_a_place_that_cannot_be_written(tmp_path, texts):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(BadInputError, match="is a file"):
        train_tokenizer(texts(["words"]), tmp_path / "file", vocab_size=258)
    with pytest.raises(BadInputError, match="cannot write"):
        train_tokenizer(texts(["words words"]), tmp_path / "file" / "in", vocab_size=258)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--kind", "words"), "give bpe, unigram or wordpiece"),
        (("--kind", "wordpiece", "--out", "a.model"), "give bpe or unigram for a .model file"),
    ],
)
def test_bad_arguments(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = () if "--out" in arguments else ("--out", "out")
    result = run(*arguments, *out)
    assert result.exit_code != 0 and says in str(result.exception)
    assert not [*tmp_path.glob("*out*")]
