"""Files that cannot be used: one line that names the file and what is wrong."""

import json
import re

import pytest
from pydantic import ValidationError

from scaling.config.data import DataConfig
from scaling.data.tokenizers import load_tokenizer
from scaling.runtime.errors import BadInputError
from tests.data.tokenizers.small import END, bpe_tree, write_bpe


def refused(name):
    with pytest.raises(BadInputError) as error:
        load_tokenizer(name)
    message = str(error.value)
    assert "\n" not in message and message.startswith("data.tokenizer") and len(message) < 500
    return message


def changed(**parts):
    """A tokenizer.json with parts of its model replaced."""
    tree = bpe_tree()
    return tree | {"model": tree["model"] | parts}


def shifted(by):
    tree = bpe_tree()
    tree["added_tokens"][0]["id"] += by
    return tree


ADDED = json.dumps({END: 260})
VOCAB = bpe_tree()["model"]["vocab"]


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ([], "expected a mapping, found a list"),
        ({}, "it has no model"),
        ({"model": None}, "it has no model"),
        (changed(type="Morpheme"), "model.type='Morpheme' is not known; it must be BPE, WordPiece"),
        ({"model": {}}, "model.type=None is not known"),
        (changed(vocab={}), "its vocabulary is empty|out of vocabulary"),
        (changed(vocab=None), "is damaged"),
        (changed(vocab={"a": "b"}), "'a' with the id 'b'"),
        (changed(vocab={"a": -1}), "'a' has the id -1"),
        (changed(vocab={"a": 10**12}), "has the id 1000000000000"),
        (changed(merges=[["a", "zz"]]), "cannot be used: Token `zz` out of vocabulary"),
        (changed(merges=["a b c"]), "is damaged|cannot be used"),
        (changed(merges=[["a"]]), "is damaged|cannot be used"),
        (changed(merges=7), "is damaged|cannot be used"),
        (bpe_tree() | {"pre_tokenizer": {"type": "Tea"}}, "cannot be used"),
        (bpe_tree() | {"normalizer": {"type": "Precompiled"}}, "cannot be used"),
        (bpe_tree() | {"added_tokens": [{"content": "x"}]}, "is damaged: 'id'"),
        (bpe_tree() | {"added_tokens": 7}, "damaged"),
        (shifted(3), "has the id 263, but added tokens follow the vocabulary without gaps"),
        (
            {"model": {"type": "WordPiece", "vocab": {"a": 0, "[SEP]": 1}, "unk_token": "[UNK]",
                       "max_input_chars_per_word": 9, "continuing_subword_prefix": "##"}},
            r"cannot be used: .*\[UNK\]",
        ),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0], [END, 0.0]]}}, "cannot be used: .*unk_id"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 4}}, "cannot be used|no end-of"),
        ({"model": {"type": "Unigram", "vocab": [["a"], 7]}}, "is damaged"),
        (bpe_tree(special=("<a>",)), "no end-of-sequence token .* name one .*eos_token"),
    ],
)  # fmt: skip
def test_a_tokenizer_json_that_is_none(tmp_path, tree, says):
    folder = write_bpe(tmp_path / "folder", tokenizer=tree, tokenizer_config={})
    message = refused(f"hf:{folder}")
    assert re.search(says, message), message
    assert str(folder) in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"model": \xff}', "is not UTF-8 (byte 10)"),
        (b"[" * 100_000, "is not JSON"),
        (json.dumps(bpe_tree()).encode()[:2000], "is not JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "is not JSON"),
    ],
)
def test_a_tokenizer_json_that_is_damaged(tmp_path, content, says):
    path = write_bpe(tmp_path / "folder") / "tokenizer.json"
    path.write_bytes(content)
    message = refused(f"hf:{path.parent}")
    assert says in message and str(path) in message


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {},
            "no tokenizer in .*; looked for tokenizer.json, vocab.json with merges.txt, vocab.txt, spiece",
        ),
        ({"model.safetensors": "", "config.json": "{}"}, "no tokenizer in .*; looked for"),
        ({"vocab.json": json.dumps(VOCAB)}, "has vocab.json but no merges.txt"),
        (
            {"vocab.json": json.dumps(VOCAB), "merges.txt": "a b c\n"},
            "merges.txt .*line 1: expected two tokens",
        ),
        ({"vocab.json": json.dumps(VOCAB), "merges.txt": "a b\n"}, "no end-of-sequence token"),
        (
            {
                "vocab.json": json.dumps(VOCAB),
                "merges.txt": "#version: 0.2\na qq\n",
                "added_tokens.json": ADDED,
            },
            "out of vocabulary",
        ),
        ({"vocab.json": "[]", "merges.txt": ""}, "expected a mapping"),
        (
            {"vocab.json": json.dumps(VOCAB), "merges.txt": "", "config.json": '{"model_type": "clip"}'},
            "is of clip, which needs its tokenizer.json; save one with transformers",
        ),
        ({"vocab.txt": "the\nof\n"}, r"has no \[UNK\] for unknown words"),
        ({"vocab.txt": "[UNK]\nof\n"}, "no end-of-sequence token"),
        ({"spiece.model": "junk"}, "is not a SentencePiece model"),
        ({"spiece.model": "junk", "config.json": '{"model_type": "albert"}'}, "is of albert, which needs"),
        (
            {"tokenizer.json": json.dumps(bpe_tree()), "tokenizer_config.json": "{"},
            "tokenizer_config.json is not JSON",
        ),
        (
            {"tokenizer.json": json.dumps(bpe_tree()), "added_tokens.json": '{"xx": "y"}'},
            "'xx' with the id 'y'",
        ),
        (
            {
                "tokenizer.json": json.dumps(bpe_tree()),
                "tokenizer_config.json": '{"added_tokens_decoder": [7]}',
            },
            "the added tokens next to .* are damaged",
        ),
    ],
)
def test_folders(tmp_path, files, says):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    message = refused(f"hf:{tmp_path}")
    assert re.search(says, message), message
    assert str(tmp_path) in message


def test_a_name_of_the_hub_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no such folder or file; give a folder with tokenizer.json" in refused("hf:openai-community/gpt2")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cl100k_base.tiktoken", b"", "is empty"),
        ("cl100k_base.tiktoken", b"YQ== 0\nYg=\n", "line 2: expected base64 and a rank"),
        ("cl100k_base.tiktoken", b"Y*== 0\n", "line 1: expected base64 and a rank"),
        ("cl100k_base.tiktoken", b"YQ== one\n", "line 1: expected base64 and a rank"),
        ("cl100k_base.tiktoken", b"YQ== 0\nYg== 0\n", "line 2: .*repeated"),
        ("cl100k_base.tiktoken", b"YQ== 0\nYQ== 1\n", "line 2: .*repeated"),
        ("cl100k_base.tiktoken", b"YQ== 99999999999\n", "line 1: .*out of range"),
        ("cl100k_base.tiktoken", b"YQ== 1\n", "has no token of rank 0"),
        ("cl100k_base.tiktoken", b"YQ== 0\n", "has no token for byte 0"),
        ("cl100k_base.tiktoken", None, "no tiktoken file at"),
        (
            "words.tiktoken",
            b"YQ== 0\n",
            "does not begin with the name of an encoding; give tiktoken:ENCODING:PATH",
        ),
    ],
)
def test_files_of_ranks(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert re.search(says, refused(f"tiktoken:{tmp_path / name}"))


@pytest.mark.parametrize(
    "name", ["hf", "hf:", "hf: ", "tiktoken:", "huggingface:x", "sentencepiece:", "tok.json"]
)
def test_names_that_are_no_tokenizer(name):
    with pytest.raises(ValidationError, match="unknown tokenizer"):
        DataConfig(tokenizer=name)
    assert "unknown tokenizer" in refused(name) or name.strip().endswith(":")


@pytest.mark.parametrize("kind", ["hf", "tiktoken", "sentencepiece"])
def test_a_kind_without_a_path_as_yaml_reads_it(kind):
    with pytest.raises(ValidationError, match=f"unknown tokenizer '{kind}:'; give bytes, hf:PATH"):
        DataConfig.model_validate({"tokenizer": {kind: None}})
