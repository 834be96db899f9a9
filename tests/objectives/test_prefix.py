"""Prefixes: one a document, a token on either side, the loss on what comes after."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaling.objectives.draws import row_keys
from scaling.objectives.spans import with_prefixes


def packed(lengths):
    """A row of documents of these lengths."""
    segments = np.repeat(np.arange(len(lengths)) + 1, lengths)[None].astype(np.int32)
    positions = np.concatenate([np.arange(n) for n in lengths])[None].astype(np.int32)
    return {"inputs": segments * 0, "targets": segments * 0, "segment_ids": segments, "positions": positions}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**40))
def test_each_document_has_one_prefix_and_its_loss_begins_at_the_last_of_it(lengths, number):
    batch = with_prefixes(packed(lengths), row_keys(1, np.array([number])))
    end = 0
    for n in lengths:
        prefix, weights = batch["prefix"][0, end : end + n], batch["weights"][0, end : end + n]
        end += n
        p = int(prefix.sum())
        assert prefix.tolist() == [1] * p + [0] * (n - p)
        assert (1 <= p <= n - 1) if n > 1 else p == 0
        # The state at the last position of the prefix predicts the first token after it.
        first = max(p - 1, 0)
        assert weights.tolist() == [0] * first + [1] * (n - first)
    assert batch["prefix"].dtype == np.int32 and batch["weights"].dtype == np.float32


def test_without_documents_the_row_splits_once_at_any_place_alike(keys):
    rows = {"inputs": np.zeros((12_000, 7), np.int32)}
    lengths = with_prefixes(rows, keys(12_000))["prefix"].sum(axis=1)
    counts = np.bincount(lengths, minlength=7)
    assert counts[0] == 0 and len(counts) == 7
    assert np.abs(counts[1:] - 2000).max() < 200  # five standard deviations
