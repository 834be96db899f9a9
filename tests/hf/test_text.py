"""Imported checkpoints read and write text with their own tokenizers, as transformers does."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

import scaling
from scaling.config.data import DataConfig
from scaling.data.tokenizers import load_tokenizer
from scaling.hf.convert import export_run, import_run
from scaling.hf.tokenizer import framing, write_tokenizer
from scaling.models.generate import until
from scaling.train.trained import load_trained
from tests.hf.checkpoints import CHECKPOINTS, DECODERS, ENCODERS, TEXTS, made, peers, settings, words
from tests.hf.peers import edit, torch, transformers

SCORED = (TEXTS[0], TEXTS[4])  # each length compiles once more
ALIKE = ("llama3", "mistral", "qwen2")  # as llama and qwen3


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each checkpoint, and next to it, as NAME.run, the imported run."""
    folder, said = tmp_path_factory.mktemp("text"), list[str]()
    sources = {name: made(name, folder) for name in CHECKPOINTS}
    for name, source in sources.items():
        import_run(source, folder / f"{name}.run", say=said.append)
    assert not said
    return sources


def run_of(source: Path) -> Path:
    return source.with_name(f"{source.name}.run")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_texts_are_framed_as_the_tokenizer_frames_them(name: str, sources: dict[str, Path]) -> None:
    trained, (_, theirs) = load_trained(run_of(sources[name]), print), peers(sources[name], name)
    for text in TEXTS:
        ours = [*trained.opening, *trained.tokenizer.encode(text).tolist(), *trained.closing]
        assert ours == theirs(text)["input_ids"], text


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ALIKE)) for n in DECODERS])
def test_a_decoder_scores_text_as_the_peer(name: str, sources: dict[str, Path]) -> None:
    """The first token is scored after <s>, or after <|endoftext|> where there is no <s>."""
    model, theirs = peers(sources[name], name)
    for text in SCORED:
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        first = theirs.bos_token_id if theirs.bos_token_id is not None else theirs.eos_token_id
        with torch.no_grad():
            log_p = torch.log_softmax(model(torch.tensor([[first, *ids]])).logits[0], -1)
        expected = log_p[torch.arange(len(ids)), ids].numpy()
        scores = scaling.score(run_of(sources[name]), text)
        assert scores.tokens == [ids]
        np.testing.assert_allclose(scores.log_probs[0], expected, atol=1e-4)
        assert scores.bits_per_byte == pytest.approx(-expected.sum() / np.log(2) / len(text.encode()), 1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_scores_text_between_its_marks(name: str, sources: dict[str, Path]) -> None:
    model, theirs = peers(sources[name], name)
    for text in SCORED:
        ids = theirs(text)["input_ids"]
        with torch.no_grad():
            log_p = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
        expected = log_p[torch.arange(len(ids)), ids].numpy()[1:-1]
        scores = scaling.score(run_of(sources[name]), text)
        assert scores.tokens == [ids[1:-1]]
        np.testing.assert_allclose(scores.log_probs[0], expected, atol=1e-4)


def test_a_long_text_is_read_in_rows_that_are_all_framed(sources: dict[str, Path]) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 12
    trained = load_trained(run_of(sources["bert"]), print)
    scores = scaling.score(run_of(sources["bert"]), text)
    assert len(scores.tokens) > 2 and max(map(len, scores.tokens)) == trained.run.model.max_length - 2
    assert [token for row in scores.tokens for token in row] == trained.tokenizer.encode(text).tolist()


def test_t5_writes_a_text_from_nothing(sources: dict[str, Path]) -> None:
    """The source is </s> alone; the text's own </s> is scored too, as in lm-evaluation-harness."""
    model, theirs = peers(sources["t5"], "t5")
    for text in SCORED:
        ids = theirs(text)["input_ids"]
        with torch.no_grad():
            given = {"input_ids": torch.tensor([[theirs.eos_token_id]]), "labels": torch.tensor([ids])}
            log_p = torch.log_softmax(model(**given).logits[0], -1)
        scores = scaling.score(run_of(sources["t5"]), text)
        assert scores.tokens == [ids]
        np.testing.assert_allclose(scores.log_probs[0], log_p[torch.arange(len(ids)), ids].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ALIKE)) for n in (*DECODERS, "t5")]
)
def test_greedy_text_is_the_peers(name: str, sources: dict[str, Path]) -> None:
    model, theirs = peers(sources[name], name)
    size = len(theirs)  # ids beyond the tokenizer have no text
    for text in (TEXTS[0], TEXTS[3]):
        given = theirs(text, return_tensors="pt")
        given = {key: given[key] for key in ("input_ids", "attention_mask")}
        bad = [[i] for i in range(size, model.config.vocab_size)] or None
        out = model.generate(**given, max_new_tokens=12, do_sample=False, bad_words_ids=bad, num_beams=1)
        new = out[0].tolist()[1 if name == "t5" else given["input_ids"].shape[1] :]
        ours = scaling.generate(run_of(sources[name]), text, tokens=12, temperature=0)
        assert list(ours.tokens) == [i for i in new if i != theirs.eos_token_id]
        if name in ("gpt2", "llama3"):
            assert ours.text == theirs.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("ends", [[400, -1, 900], 900])
def test_text_ends_where_the_files_say(ends: Any, sources: dict[str, Path], tmp_path: Path) -> None:
    """generation_config.json goes before config.json, as in transformers; chat models end at several ids."""
    model, theirs = peers(sources["qwen2"], "qwen2")
    shutil.copytree(sources["qwen2"], tmp_path / "chat")
    (tmp_path / "chat" / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    import_run(tmp_path / "chat", tmp_path / "run")
    given = theirs(TEXTS[3], return_tensors="pt")["input_ids"]
    bad = [[i] for i in range(len(theirs), model.config.vocab_size)]
    new = model.generate(given, max_new_tokens=12, do_sample=False, bad_words_ids=bad, eos_token_id=-1)
    free = new[0, given.shape[1] :].tolist()
    held = [i for i in (ends if isinstance(ends, list) else [ends]) if i >= 0]
    ours = scaling.generate(tmp_path / "run", TEXTS[3], tokens=12, temperature=0)
    assert list(ours.tokens) == until(free, tuple(held))
    export_run(tmp_path / "run", tmp_path / "out")
    again = import_run(tmp_path / "out", tmp_path / "again")
    assert again.status == "imported" and load_trained(tmp_path / "again", print).ends == tuple(held)


def test_bert_generates_nothing(sources: dict[str, Path]) -> None:
    with pytest.raises(scaling.BadInputError, match="encoder") as error:
        scaling.generate(run_of(sources["bert"]), "a")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_export_loads_in_transformers_with_its_tokenizer(
    name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    export_run(run_of(sources[name]), tmp_path / "out")
    for cls in (transformers.AutoTokenizer, transformers.AutoModel):
        cls.from_pretrained(tmp_path / "out")
    before, after = (transformers.AutoTokenizer.from_pretrained(p) for p in (sources[name], tmp_path / "out"))
    for text in TEXTS:
        assert after(text)["input_ids"] == before(text)["input_ids"]
    assert after.special_tokens_map == before.special_tokens_map
    again = import_run(tmp_path / "out", tmp_path / "again")
    held = [
        load_trained(path, print).tokenizer.identity for path in (run_of(sources[name]), tmp_path / "again")
    ]
    assert held[0] == held[1] and again.tokenizer.startswith("hf:")


def old_files(source: Path, out: Path) -> Path:
    """The same tokenizer as vocab.json and merges.txt, or vocab.txt, as older checkpoints have it."""
    shutil.copytree(source, out)
    tree = json.loads((out / "tokenizer.json").read_text())
    (out / "tokenizer.json").unlink()
    vocab = tree["model"]["vocab"] | {one["content"]: one["id"] for one in tree["added_tokens"]}
    if tree["model"]["type"] == "WordPiece":
        (out / "vocab.txt").write_text("".join(f"{word}\n" for word in sorted(vocab, key=vocab.__getitem__)))
    else:
        (out / "vocab.json").write_text(json.dumps(vocab))
        merges = "".join(f"{' '.join(pair)}\n" for pair in tree["model"]["merges"])
        (out / "merges.txt").write_text("#version: 0.2\n" + merges)
    return out


@pytest.mark.parametrize("name", ["gpt2", "roberta", "bert"])
def test_tokenizer_files_of_older_checkpoints(name: str, sources: dict[str, Path], tmp_path: Path) -> None:
    """Their class, by model_type, says what frames a text."""
    source = old_files(sources[name], tmp_path / name)
    settings(source, tokenizer_class=None)
    theirs = transformers.AutoTokenizer.from_pretrained(source)
    import_run(source, tmp_path / "run")
    trained = load_trained(tmp_path / "run", print)
    for text in TEXTS:
        ours = [*trained.opening, *trained.tokenizer.encode(text).tolist(), *trained.closing]
        assert ours == theirs(text)["input_ids"], text
    export_run(tmp_path / "run", tmp_path / "out")
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert [back(text)["input_ids"] for text in TEXTS] == [theirs(text)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"add_bos_token": False}),
        ("llama3", {"add_eos_token": True}),
        ("gpt2", {"add_bos_token": True}),
        ("gpt2", {"tokenizer_class": "GPT2Tokenizer"}),
        ("t5", {"tokenizer_class": "T5Tokenizer"}),
        ("roberta", {"tokenizer_class": None}),
    ],
)
@pytest.mark.parametrize("post_processor", [True, False])
def test_files_and_class_say_what_frames_a_text(
    name: str, changes: dict[str, Any], post_processor: bool, sources: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(sources[name], tmp_path / "source")
    settings(tmp_path / "source", **changes)
    if not post_processor:
        path = tmp_path / "source/tokenizer.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "source")("a fox")["input_ids"]
    held = f"hf:{tmp_path / 'source'}"
    frame = framing(held, json.loads((sources[name] / "config.json").read_text())["model_type"])
    ids = load_tokenizer(held).encode("a fox").tolist()
    assert [*frame["opening"], *ids, *frame["closing"]] == theirs


@pytest.mark.parametrize("flag", [True, False, None])
def test_a_flag_of_older_files_says_what_frames_a_text(
    flag: bool | None, sources: dict[str, Path], tmp_path: Path
) -> None:
    source = old_files(sources["gpt2"], tmp_path / "source")
    settings(source, tokenizer_class=None, add_bos_token=flag)
    theirs = transformers.AutoTokenizer.from_pretrained(source)("a fox")["input_ids"]
    frame = framing(f"hf:{source}", "gpt2")
    assert [*frame["opening"], *load_tokenizer(f"hf:{source}").encode("a fox").tolist()] == theirs


def test_a_tokenizer_that_is_named_is_taken(sources: dict[str, Path], tmp_path: Path) -> None:
    record = import_run(sources["gpt2"], tmp_path / "ids", tokenizer="ids")
    assert record.tokenizer == "ids" and not (tmp_path / "ids/tokenizer").exists()
    record = import_run(sources["gpt2"], tmp_path / "bytes", tokenizer="bytes")
    assert load_trained(tmp_path / "bytes", print).tokenizer.vocab_size == 257
    record = import_run(sources["gpt2"], tmp_path / "own", tokenizer=f"hf:{sources['gpt2']}")
    assert load_trained(tmp_path / "own", print).opening == ()


def test_a_checkpoint_without_a_tokenizer_says_so(sources: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(sources["gpt2"], tmp_path / "source")
    (tmp_path / "source/tokenizer.json").unlink()
    said: list[str] = []
    record = import_run(tmp_path / "source", tmp_path / "run", say=said.append)
    assert record.tokenizer == "ids"
    assert len(said) == 1 and "has no tokenizer" in said[0]


BAD = {
    "damaged": (lambda s: (s / "tokenizer.json").write_text("{"), "not JSON"),
    "a list": (lambda s: (s / "tokenizer.json").write_text("[]"), "expected a mapping"),
    "no model": (lambda s: (s / "tokenizer.json").write_text("{}"), "no model"),
    "binary": (lambda s: (s / "tokenizer.json").write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
    "too large": (lambda s: _more_pieces(s), "pieces, but the vocabulary of the model has"),
    "settings damaged": (lambda s: (s / "tokenizer_config.json").write_text("{"), "not JSON"),
    "vocab without merges": (
        lambda s: (s / "tokenizer.json").rename(s / "vocab.json") and None,
        "no merges.txt",
    ),
    "an unknown kind": (
        lambda s: (s / "tokenizer.json").write_text('{"model": {"type": "Words", "vocab": {}}}'),
        "is not known",
    ),
}  # fmt: skip


def _more_pieces(source: Path) -> None:
    path = source / "tokenizer.json"
    tree = json.loads(path.read_text())
    first = 1 + max(*tree["model"]["vocab"].values(), *(one["id"] for one in tree["added_tokens"]))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    tree["added_tokens"] += [{"id": first + i, "content": f"<more{i}>", **plain} for i in range(99)]
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_tokenizer_is_one_line(case: str, sources: dict[str, Path], tmp_path: Path) -> None:
    damage, said = BAD[case]
    shutil.copytree(sources["gpt2"], tmp_path / "source")
    damage(tmp_path / "source")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(scaling.BadInputError) as error:
        import_run(tmp_path / "source", tmp_path / "deep/run")
    line = str(error.value)
    assert "\n" not in line and said in line and len(line) < 600
    assert sorted(tmp_path.rglob("*")) == before
    import_run(tmp_path / "source", tmp_path / "run", tokenizer="ids")  # the weights alone


def test_a_frame_that_is_no_ids_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(run_of(sources["gpt2"]), tmp_path / "run")
    origin = tmp_path / "run/source.json"
    for held in (["a"], [10**9], 3):
        origin.write_text(json.dumps(json.loads(origin.read_text()) | {"opening": held}))
        with pytest.raises(scaling.BadInputError, match="opening"):
            scaling.score(tmp_path / "run", "a")


def test_ids_of_config_json_do_not_replace_those_of_the_tokenizer(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(sources["gpt2"], tmp_path / "source")
    edit(tmp_path / "source", bos_token_id=5)
    import_run(tmp_path / "source", tmp_path / "run")
    trained = load_trained(tmp_path / "run", print)
    assert trained.start == trained.tokenizer.special.bos != 5


def _written_back(source: Path, tmp_path: Path, tokenizer: str) -> None:
    """An export of a run with `tokenizer` gives transformers the same ids."""
    import_run(source, tmp_path / "run", tokenizer=tokenizer)
    export_run(tmp_path / "run", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", split_special_tokens=True)
    ours = load_trained(tmp_path / "run", print).tokenizer
    for text in TEXTS:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text).tolist(), text
    assert theirs.eos_token_id == theirs.bos_token_id == ours.end_of_text


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_bytes_are_written_as_a_tokenizer_of_transformers(
    name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    _written_back(sources[name], tmp_path, "bytes")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_one_tokenizer_json_is_written_with_its_end_of_text(
    name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    """As `scaling data tokenizer` makes it: one file, without settings."""
    shutil.copyfile(sources["gpt2"] / "tokenizer.json", tmp_path / "own.json")
    _written_back(sources[name], tmp_path, f"hf:{tmp_path / 'own.json'}")


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_sentencepiece_model_is_written_for_transformers(kind: str, tmp_path: Path) -> None:
    """With the settings of `scaling data tokenizer`, which make it lossless."""
    (tmp_path / "text.txt").write_text("\n".join(words())[:100_000])
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "own"), model_type=kind, vocab_size=800,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, byte_fallback=True, unk_id=0, eos_id=1, bos_id=-1, pad_id=-1,
        eos_piece="<|endoftext|>", minloglevel=2,
    )  # fmt: skip
    data, out = DataConfig(tokenizer=f"sentencepiece:{tmp_path / 'own.model'}"), tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    write_tokenizer(tmp_path, data, out)
    theirs = transformers.AutoTokenizer.from_pretrained(out)
    ours = load_tokenizer(data.tokenizer)
    for text in TEXTS:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text).tolist(), text
    assert theirs.eos_token_id == ours.end_of_text
