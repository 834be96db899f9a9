"""Pairs of segments: the layout, that labels tell the truth, and half of each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.objectives.draws import row_keys
from scaling.objectives.masked import SentencePairs
from scaling.objectives.specials import Specials
from scaling.runtime.errors import BadInputError

SPECIALS = Specials(vocab_size=100_010, tokenizer_size=100_000, end_of_text=99_999)


def pairs_of(lengths, L, kind="next", short=0.0):
    """Documents in which token t of document d is 100 d + t, so that a token says where it is from."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    ids = np.concatenate([100 * d + np.arange(n) for d, n in enumerate(lengths)])
    return SentencePairs(ids, starts, np.array(lengths), L, SPECIALS, kind=kind, short=short)


def segments(batch, b):
    """A and B of row b, its layout checked."""
    row = batch["inputs"][b].tolist()
    first = row.index(SPECIALS.sep)
    last = row.index(SPECIALS.sep, first + 1)
    assert row[0] == SPECIALS.cls
    assert all(token == SPECIALS.end_of_text for token in row[last + 1 :])
    padding = len(row) - last - 1
    assert batch["token_types"][b].tolist() == [0] * (first + 1) + [1] * (last - first) + [0] * padding
    assert batch["segment_ids"][b].tolist() == [1] * (last + 1) + [0] * padding
    a, b_ = row[1:first], row[first + 1 : last]
    for part in (a, b_):
        assert part and part == list(range(part[0], part[0] + len(part))) and part[-1] < 99_999
        assert part[0] // 100 == part[-1] // 100  # inside one document
    return a, b_


@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=8).filter(lambda n: sum(x > 1 for x in n) > 1),
    st.integers(5, 30),
    st.sampled_from(["next", "order"]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 2**40),
)
def test_labels_tell_the_truth(lengths, L, kind, short, seed):
    pairs = pairs_of(lengths, L, kind, short)
    indices = np.arange(len(pairs))
    batch = pairs.take(indices, row_keys(seed, indices))
    assert {value.dtype.name for value in batch.values()} == {"int32"}
    seen = set()
    for b in indices:
        a, then = segments(batch, b)
        label = batch["sentence_targets"][b]
        if kind == "next":
            assert (then[0] // 100 != a[0] // 100) if label else (then[0] == a[-1] + 1)
        else:
            assert (a[0] == then[-1] + 1) if label else (then[0] == a[-1] + 1)
        seen |= set(a) | set(then)
    if short == 0 and kind == "order":  # every token of a document is read, but a last one alone in its chunk
        left = {100 * d + t for d, n in enumerate(lengths) for t in range(n)} - seen
        assert all(
            (token % 100) % (L - 3) == 0 and token % 100 == lengths[token // 100] - 1 for token in left
        )


@pytest.mark.parametrize("kind", ["next", "order"])
def test_half_of_each_label(kind):
    pairs = pairs_of([90] * 20, 33, kind)
    n = 4000
    indices = np.arange(n) % len(pairs)
    batch = pairs.take(indices, row_keys(3, np.arange(n)))
    assert abs(batch["sentence_targets"].mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
    if kind == "next":  # where all documents are long enough, the length of B gives nothing away
        length = batch["token_types"].sum(axis=1)
        by_label = [length[batch["sentence_targets"] == label].mean() for label in (0, 1)]
        assert abs(by_label[0] - by_label[1]) < 4 * length.std() * np.sqrt(4 / n)


def test_short_pairs_are_as_many_as_asked_for():
    pairs = pairs_of([90] * 20, 33, "order", short=0.25)
    n = 4000
    batch = pairs.take(np.arange(n) % len(pairs), row_keys(3, np.arange(n)))
    whole = (batch["segment_ids"].sum(axis=1) == 33).mean()
    expected = 0.75 + 0.25 / 29  # a random length may be the whole
    assert abs(whole - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_refusals():
    with pytest.raises(BadInputError, match="1 documents of at least two tokens, too few"):
        pairs_of([50, 1], 16)
    with pytest.raises(BadInputError, match="sentences=order takes segments from 0 documents"):
        pairs_of([1, 1], 16, "order")
    with pytest.raises(IndexError):
        pairs_of([8, 8], 16).take(np.array([2]), row_keys(0, np.array([2])))
