"""Texts in pieces that are remembered have the ids of complete texts."""

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings

from scaling.data.tokenizers import load_tokenizer, memo
from tests.data.tokenizers.strategies import AWKWARD

CUT = ("gpt2", "roberta", "llama3", "qwen2")


def complete(tokenizer, text):
    return tokenizer._backend.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", CUT)
def test_which_tokenizers_encode_pieces(folders, kind):
    assert load_tokenizer(f"hf:{folders[kind]}")._memo is not None


@pytest.mark.parametrize("kind", ["bert", "t5", "llama2"])
def test_others_do_not(folders, kind):
    if kind in folders:
        assert load_tokenizer(f"hf:{folders[kind]}")._memo is None


@pytest.mark.parametrize("kind", CUT)
@settings(deadline=None, max_examples=300)
@given(text=AWKWARD)
def test_ids_of_pieces(folders, kind, text):
    tokenizer = _loaded(folders[kind])
    for one in (text, f"a{text} {text}\n{text}!", f" {text} x"):
        assert tokenizer.encode_many([one])[0].tolist() == complete(tokenizer, one)


@pytest.mark.parametrize("kind", CUT)
def test_every_character_next_to_a_cut(folders, kind):
    """White space of Unicode, marks, symbols: no class of characters is on the wrong side of a cut."""
    tokenizer = _loaded(folders[kind])
    characters = [chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n < 0xE000]
    kept: dict[str, list[str]] = {}
    for one in characters:
        kept.setdefault(unicodedata.category(one), []).append(one)
    chosen = [
        one for group in kept.values() for one in (group if len(group) < 100 else group[:: len(group) // 100])
    ]
    texts = [f"a{c} {c}{c}  b\n{c}\n{c} 1{c}(a{c}) {c}\n\n {c}'s{c}/" for c in chosen]
    for text, ids in zip(texts, tokenizer.encode_many(texts), strict=True):
        assert ids.tolist() == complete(tokenizer, text), repr(text)


def test_a_full_memo(folders, monkeypatch):
    monkeypatch.setattr(memo, "_MOST", 3)
    tokenizer = load_tokenizer(f"hf:{folders['gpt2']}")
    texts = ["", "one two three four five", "four five six " + "x" * 100, "one"]
    for _ in range(2):
        for text, ids in zip(texts, tokenizer.encode_many(texts), strict=True):
            assert ids.dtype == np.int32 and ids.tolist() == complete(tokenizer, text)
    assert len(tokenizer._memo._ids) == 3


_TOKENIZERS = {}


def _loaded(folder):
    if folder not in _TOKENIZERS:
        _TOKENIZERS[folder] = load_tokenizer(f"hf:{folder}")
    return _TOKENIZERS[folder]
