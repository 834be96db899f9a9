"""vocab.json with merges.txt, vocab.txt, and SentencePiece models: the ids of transformers' classes."""

import json

import pytest
import sentencepiece

from scaling.data.tokenizers import load_tokenizer
from scaling.data.tokenizers.sentencepiece import SentencePieceTokenizer

transformers = pytest.importorskip("transformers")


def ids_of(tokenizer, lines):
    return [ids.tolist() for ids in tokenizer.encode_many(lines)]


def written(folders, kind, folder, **settings):
    """The vocabulary and merges of a trained tokenizer, as older checkpoints have them."""
    model = json.loads((folders[kind] / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"])
    )
    for name, tree in settings.items():
        (folder / f"{name}.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("kind", "theirs", "settings"),
    [
        ("gpt2", "GPT2Tokenizer", {"config": {"model_type": "gpt2"}}),
        ("gpt2", "GPT2Tokenizer", {"tokenizer_config": {"add_prefix_space": True}}),
        ("roberta", "RobertaTokenizer", {"config": {"model_type": "roberta"}}),
        (
            "qwen2",
            "Qwen2Tokenizer",
            {
                "tokenizer_config": {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>"},
                "added_tokens": {"<|endoftext|>": 900, "<|im_start|>": 901, "<|im_end|>": 902},
            },
        ),
    ],
)
def test_byte_level(folders, lines, tmp_path, kind, theirs, settings):
    written(folders, kind, tmp_path, **settings)
    ours = load_tokenizer(f"hf:{tmp_path}")
    options = settings.get("tokenizer_config", {})
    other = getattr(transformers, theirs)(
        vocab=str(tmp_path / "vocab.json"),
        merges=str(tmp_path / "merges.txt"),
        add_prefix_space=options.get("add_prefix_space", False),
        split_special_tokens=True,
    )
    sample = lines[::4]
    assert ids_of(ours, sample) == other(sample, add_special_tokens=False)["input_ids"]
    if not options.get("add_prefix_space"):
        assert ids_of(ours, sample) == ids_of(load_tokenizer(f"hf:{folders[kind]}"), sample)


def test_gpt1(lines, tmp_path):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(lines[:1500], trainer)
    tokenizer.model.save(str(tmp_path))
    size = tokenizer.get_vocab_size()
    (tmp_path / "config.json").write_text('{"model_type": "openai-gpt"}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "unk_token": "<unk>"}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"</s>": size}))
    ours = load_tokenizer(f"hf:{tmp_path}")
    theirs = transformers.OpenAIGPTTokenizer(
        vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"), split_special_tokens=True
    )
    sample = lines[::4]
    assert ids_of(ours, sample) == theirs(sample, add_special_tokens=False)["input_ids"]
    assert ours.end_of_text == size and ours.decode(ours.encode("the cat sat")) == "the cat sat"
    flags = ours.word_flags()
    (the,) = ours.encode("the")[-1:]
    assert flags.continues[the] and not flags.open[the]


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_wordpiece(folders, lines, tmp_path, settings):
    vocab = json.loads((folders["bert-cased"] / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "vocab.txt").write_text(
        "".join(f"{piece}\n" for piece in sorted(vocab, key=vocab.__getitem__))
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = load_tokenizer(f"hf:{tmp_path}")
    theirs = transformers.BertTokenizer(
        vocab=str(tmp_path / "vocab.txt"), split_special_tokens=True, **settings
    )
    sample = lines[::4]
    assert ids_of(ours, sample) == theirs(sample, add_special_tokens=False)["input_ids"]
    assert ours.special.mask == theirs.mask_token_id and ours.end_of_text == theirs.sep_token_id


def test_wordpiece_of_a_published_vocabulary(published, lines, tmp_path):
    (tmp_path / "vocab.txt").write_bytes((published / "vocab.txt").read_bytes())
    ours, complete = load_tokenizer(f"hf:{tmp_path}"), load_tokenizer(f"hf:{published}")
    assert ids_of(ours, lines[::4]) == ids_of(complete, lines[::4])
    assert ours.special == complete.special


@pytest.fixture(scope="module")
def model(tmp_path_factory, training_text):
    """A SentencePiece model with the ids of T5: padding, end, unknown."""
    path = tmp_path_factory.mktemp("spiece") / "spiece.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([line for text in training_text for line in text.splitlines()[:20]]),
            model_writer=file, vocab_size=500, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
            normalization_rule_name="nmt_nfkc", hard_vocab_limit=False,
        )  # fmt: skip
    return path


def test_t5_has_its_sentinels_after_the_pieces(model, tmp_path, lines):
    (tmp_path / "spiece.model").write_bytes(model.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": 7}')
    ours, plain = load_tokenizer(f"hf:{tmp_path}"), SentencePieceTokenizer.load(model)
    size = plain.vocab_size
    assert ours.vocab_size == size + 7
    assert ours.special.sentinels == tuple(range(size + 6, size - 1, -1))
    assert (ours.special.pad, ours.end_of_text, ours.special.unk) == (0, 1, 2)
    assert len(ours.byte_lengths()) == len(ours.word_flags().open) == size + 7
    assert ours.decode([size, *ours.encode("a text")]) == "a text"
    assert ids_of(ours, lines[:500]) == ids_of(plain, lines[:500])
    assert ours.identity != plain.identity
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert load_tokenizer(f"hf:{tmp_path}").vocab_size == size + 100


def test_a_folder_with_a_model_alone(model, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(model.read_bytes())
    assert load_tokenizer(f"hf:{tmp_path}").identity == SentencePieceTokenizer.load(model).identity
    assert (
        load_tokenizer(f"hf:{tmp_path}/tokenizer.model").vocab_size
        == load_tokenizer(f"hf:{tmp_path}").vocab_size
    )


def test_a_precompiled_normaliser_as_transformers_saves_it(model, tmp_path, lines):
    """T5 with SentencePiece's own NFKC table: converted and saved by transformers, and its model alone."""
    folder = tmp_path / "spiece"
    folder.mkdir()
    (folder / "spiece.model").write_bytes(model.read_bytes())
    (folder / "config.json").write_text('{"model_type": "t5"}')
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    assert "precompiled_charsmap" in saved["normalizer"]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved", split_special_tokens=True)
    ours, alone = load_tokenizer(f"hf:{tmp_path}/saved"), load_tokenizer(f"hf:{folder}")
    sample = lines[::4]
    expected = theirs(sample, add_special_tokens=False)["input_ids"]
    assert ids_of(ours, sample) == expected
    assert (ours.special, ours.vocab_size, ours.end_of_text) == (
        alone.special,
        alone.vocab_size,
        alone.end_of_text,
    )
    # transformers reads some control and combining characters otherwise than SentencePiece itself.
    plain = [line.isascii() and line.strip("\n").isprintable() for line in sample]
    assert sum(plain) > 500
    for one, other, same in zip(ids_of(alone, sample), expected, plain, strict=True):
        assert one == other or not same
