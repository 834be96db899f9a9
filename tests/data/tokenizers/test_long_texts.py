"""Texts of any length and many at once: the same ids as one by one, in processes of their own too."""

import concurrent.futures
import multiprocessing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data.tokenizers import hugging_face, load_tokenizer
from tests.data.tokenizers.kinds import BYTE_LEVEL, KINDS, LOSSLESS
from tests.data.tokenizers.strategies import AWKWARD


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in ("xlnet", "albert"))) for kind in KINDS]
)
def test_pieces_have_the_ids_of_the_text(folders, lines, kind, monkeypatch):
    tokenizer = load_tokenizer(f"hf:{folders[kind]}")
    code, mixed = "".join(lines[:400]), "".join(lines[6000:6400])
    whole = [tokenizer.encode(text) for text in (code, mixed, "x" * 9000, "日本" * 4000)]
    monkeypatch.setattr(hugging_face, "_LONG", 2000)
    cuts = tokenizer._cut(code)
    if kind != "llama2":  # which puts a space before every text: no cut leaves the ids as they are
        assert len(cuts) > 5
    assert "".join(cuts) == code
    again = [tokenizer.encode(text) for text in (code, mixed, "x" * 9000, "日本" * 4000)]
    for one, other in zip(whole, again, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(max_examples=200)
@given(text=AWKWARD)
def test_byte_level_is_lossless(folders, kind, text):
    tokenizer = load_once(folders[kind])
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([tokenizer.end_of_text, *ids, tokenizer.vocab_size + 5, -1]) == text
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())
    assert tokenizer.end_of_text not in ids


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LOSSLESS])
@settings(max_examples=60)
@given(text=AWKWARD)
def test_the_rest_is_stable(folders, kind, text):
    """What was decoded once is decoded to itself, and no text has special ids."""
    tokenizer = load_once(folders[kind])
    ids = tokenizer.encode(text)
    special = {tokenizer.end_of_text, *tokenizer.special.to_dict().values()} - {tokenizer.special.unk}
    assert not special & set(ids.tolist())
    once = tokenizer.decode(ids)
    if kind in BYTE_LEVEL:
        assert tokenizer.decode(tokenizer.encode(once)) == once


@settings(max_examples=30)
@given(texts=st.lists(AWKWARD, max_size=8))
def test_many_are_encoded_as_one_by_one(folders, texts):
    tokenizer = load_once(folders["gpt2"])
    many = tokenizer.encode_many(texts)
    assert [ids.tolist() for ids in many] == [tokenizer.encode(text).tolist() for text in texts]
    assert all(ids.dtype == np.int32 for ids in many)


def load_once(folder, loaded={}):  # noqa: B006
    if folder not in loaded:
        loaded[folder] = load_tokenizer(f"hf:{folder}")
    return loaded[folder]


def encoded(name, texts):
    return [ids.tolist() for ids in load_tokenizer(name).encode_many(texts)]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_other_processes_encode_the_same(folders, lines, method):
    """Also after this process has used the threads of the library, which a fork does not have."""
    name, texts = f"hf:{folders['gpt2']}", lines[:300]
    here = encoded(name, texts)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(encoded, name, texts) for _ in range(2)]
        assert [future.result(timeout=120) for future in futures] == [here, here]
