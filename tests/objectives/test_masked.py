"""Masking: exact counts, BERT's 80/10/10, nothing special, and no word cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.config.data import masked_limit
from scaling.config.objective import MaskedObjective
from scaling.data.tokenizers import ByteTokenizer
from scaling.objectives.draws import row_keys
from scaling.objectives.masked import Masking
from scaling.objectives.specials import Specials

BYTES = Specials(vocab_size=300, tokenizer_size=257, end_of_text=256)
IS_TEXT = np.arange(257) < 256
TOKENS = st.lists(st.integers(0, 259), min_size=1, max_size=60)


def masking(**options):
    return Masking(MaskedObjective(**options), BYTES, IS_TEXT, ByteTokenizer().word_flags())


@given(TOKENS, st.floats(0.01, 0.9), st.integers(0, 2**40))
def test_counts_are_exact_and_specials_never_chosen(tokens, rate, number):
    row = np.array([tokens], np.int32)
    batch = masking(rate=rate)({"inputs": row}, row_keys(5, np.array([number])))
    chosen = batch["weights"][0] > 0
    text = int((row < 256).sum())
    assert chosen.sum() == (max(1, round(rate * text)) if text else 0)
    assert chosen.sum() <= masked_limit(rate, len(tokens))
    assert (row[0][chosen] < 256).all()
    assert np.array_equal(batch["targets"], row)
    assert np.array_equal(batch["inputs"][0][~chosen], row[0][~chosen])
    inputs = batch["inputs"][0][chosen]
    assert ((inputs < 256) | (inputs == BYTES.mask)).all()
    assert {name: value.dtype.name for name, value in batch.items()} == {
        "inputs": "int32",
        "targets": "int32",
        "weights": "float32",
    }


def test_eighty_ten_ten(keys):
    row = np.full((4000, 40), 7, np.int32)
    batch = masking()({"inputs": row}, keys(4000))
    inputs = batch["inputs"][batch["weights"] > 0]
    n = len(inputs)
    assert n == 4000 * 6
    # A random token is the token itself once in 256.
    for share, expected in (
        ((inputs == BYTES.mask).mean(), 0.8),
        (((inputs != 7) & (inputs < 256)).mean(), 0.1 * 255 / 256),
        ((inputs == 7).mean(), 0.1 + 0.1 / 256),
    ):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    at = (batch["weights"] > 0).sum(axis=0)
    assert np.abs(at - 600).max() < 5 * np.sqrt(600)  # every place alike
    other = inputs[(inputs != 7) & (inputs < 256)]
    assert len(np.unique(other)) > 250


def test_shares_are_configured(keys):
    row = np.full((50, 40), 7, np.int32)
    chosen = masking(mask=0.0, random=0.0)({"inputs": row}, keys(50))
    assert np.array_equal(chosen["inputs"], row) and chosen["weights"].sum() == 300
    masks = masking(mask=1.0, random=0.0)({"inputs": row}, keys(50))
    assert np.array_equal(masks["inputs"] == BYTES.mask, masks["weights"] > 0)


def words_of(tokens):
    """Words of a row of bytes as lists of positions, told apart one token at a time."""
    words, before = [], None
    for at, token in enumerate(tokens):
        if token > 255:
            before = None
            continue
        letter = token > 127 or chr(token).isalnum() or token == ord("_")
        if letter and before:
            words[-1].append(at)
        else:
            words.append([at])
        before = letter
    return words


TEXT = st.text("ab_9é .\n", min_size=1, max_size=40).map(lambda text: list(text.encode()))


@given(st.lists(TEXT, min_size=1, max_size=4), st.floats(0.05, 0.9), st.integers(0, 2**40))
def test_whole_words_are_never_cut_and_the_rest_would_not_fit(documents, rate, number):
    tokens = [token for document in documents for token in [256, *document]]
    chosen = masking(rate=rate, whole_words=True).chosen(
        np.array([tokens], np.int32), row_keys(5, np.array([number]))
    )[0]
    words = words_of(tokens)
    limit = max(1, round(rate * sum(map(len, words))))
    taken = [word for word in words if chosen[word].all()]
    assert sum(map(len, taken)) == chosen.sum() <= limit
    room = limit - chosen.sum()
    assert all(len(word) > room for word in words if word not in taken)


def test_a_batch_of_whole_words_is_its_rows(keys):
    rng = np.random.default_rng(0)
    tokens = rng.choice([97, 98, 32, 46, 256], (64, 50)).astype(np.int32)
    mask = masking(whole_words=True, rate=0.3)
    together = mask.chosen(tokens, keys(64))
    for b in range(64):
        assert np.array_equal(mask.chosen(tokens[b : b + 1], keys(64)[b : b + 1])[0], together[b])


def test_refusals():
    with pytest.raises(ValueError, match="where words begin"):
        Masking(MaskedObjective(whole_words=True), BYTES, IS_TEXT)
