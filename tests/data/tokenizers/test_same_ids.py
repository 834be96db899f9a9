"""Ids equal those of transformers, on 10,000 lines for each kind."""

import pickle

import numpy as np
import pytest

from scaling.data.tokenizers import load_tokenizer
from tests.data.tokenizers.kinds import BYTE_LEVEL, INJECTIONS, KINDS, LOSSLESS

transformers = pytest.importorskip("transformers")


IDS = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}


def reference(folder):
    """The tokenizer of transformers, for which special tokens in a text are text."""
    return transformers.AutoTokenizer.from_pretrained(folder, split_special_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_ten_thousand_lines(folders, lines, kind):
    tokenizer = load_tokenizer(f"hf:{folders[kind]}")
    theirs = reference(folders[kind])(lines, **IDS)["input_ids"]
    ours = tokenizer.encode_many(lines)
    assert len(lines) == 10_000
    assert [ids.tolist() for ids in ours] == theirs
    assert all(ids.dtype == np.int32 for ids in ours)
    for line, ids in zip(lines[::97], ours[::97], strict=True):
        assert tokenizer.encode(line).tolist() == ids.tolist()
        text = tokenizer.decode(ids)
        if kind in LOSSLESS:
            assert text == line
            assert tokenizer.byte_lengths()[ids].sum() == len(line.encode())
        elif kind in BYTE_LEVEL:
            assert text == reference(folders[kind]).decode(ids)
    assert tokenizer.lossless == (kind in LOSSLESS)


def test_ids_of_a_published_wordpiece(published, lines):
    tokenizer = load_tokenizer(f"hf:{published}")
    theirs = reference(published)(lines, add_special_tokens=False, truncation=False, padding=False)[
        "input_ids"
    ]
    assert [ids.tolist() for ids in tokenizer.encode_many(lines)] == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_text_are_text(folders, kind):
    tokenizer = load_tokenizer(f"hf:{folders[kind]}")
    theirs = reference(folders[kind])
    special = {tokenizer.end_of_text, *tokenizer.special.to_dict().values(), *tokenizer.special.sentinels}
    special -= {tokenizer.special.unk}
    for text in INJECTIONS:
        for line in (text, f"a {text} b", f"{text}{text}", f"\n{text}\n"):
            ids = tokenizer.encode(line)
            assert not special & set(ids.tolist())
            other = theirs(line, add_special_tokens=False)["input_ids"]
            if not special & set(other):
                assert ids.tolist() == other
            if kind in LOSSLESS:
                assert tokenizer.decode(ids) == line


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_a_pickled_tokenizer_is_the_same(folders, kind):
    tokenizer = load_tokenizer(f"hf:{folders[kind]}")
    copy = pickle.loads(pickle.dumps(tokenizer))
    text = "def f(): return '<|endoftext|></s>'"
    assert copy.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert (copy.identity, copy.special) == (tokenizer.identity, tokenizer.special)
