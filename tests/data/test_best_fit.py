"""Best-fit packing: the algorithm, rows of complete documents, every token once, shares of padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.data import DataConfig, batch_arrays
from scaling.config.objective import CausalObjective
from scaling.data.batches import BatchSchedule
from scaling.data.best_fit import BestFitRows, best_fit_decreasing
from scaling.data.corpus import open_corpus
from scaling.data.rows import PackedRows

EOT = 256
DOCUMENTS = st.lists(st.lists(st.integers(0, 255), max_size=30), min_size=1, max_size=25)


def obvious_bins(lengths, capacity):
    """Best-fit-decreasing, one item after another."""
    room, bins = [], [0] * len(lengths)
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [(left, number) for number, left in enumerate(room) if left >= lengths[item]]
        if not fitting:
            fitting = [(capacity, len(room))]
            room.append(capacity)
        _, bins[item] = min(fitting)
        room[bins[item]] -= lengths[item]
    return room, bins


@given(st.integers(1, 12), st.data())
@settings(max_examples=300, deadline=None)
def test_items_are_placed_as_one_after_another(capacity, data):
    """As many bins with as much room left; among bins of equal room, any may be chosen."""
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=40))
    room, _ = obvious_bins(lengths, capacity)
    found = best_fit_decreasing(np.array(lengths, np.int64), capacity)
    left = np.full(len(room), capacity)
    np.subtract.at(left, found, lengths)
    assert sorted(left.tolist()) == sorted(room)


def test_by_hand():
    """Of 6, 5, 4, 3, 2 into bins of 10: 6 and 4, 5 and 3 and 2."""
    assert best_fit_decreasing(np.array([6, 5, 4, 3, 2]), 10).tolist() == [0, 1, 0, 1, 1]
    assert best_fit_decreasing(np.array([], np.int64), 10).tolist() == []


def rows_of(rows):
    return rows.take(np.arange(len(rows)))


@given(DOCUMENTS, st.integers(2, 20), st.integers(0, 9), st.booleans(), st.sampled_from([3, 100]))
@settings(max_examples=200, deadline=None)
def test_every_document_is_in_one_piece_if_it_fits(split_of, documents, L, seed, mask, window):
    split = split_of(documents)
    order = np.random.default_rng(seed).permutation(len(documents))
    rows = BestFitRows(split, order, L, mask_documents=mask, window=window)
    batch = rows_of(rows)
    assert batch["weights"].sum() == split.tokens == rows.tokens_per_epoch
    pairs = []
    for inputs, targets, weights in zip(batch["inputs"], batch["targets"], batch["weights"], strict=True):
        used = int(weights.sum())
        assert weights.tolist() == [1] * used + [0] * (L - used), "padding is at the end"
        assert set(inputs[used:].tolist() + targets[used:].tolist()) <= {EOT}
        pairs += zip(inputs[:used].tolist(), targets[:used].tolist(), strict=True)
    whole = [pair for d in documents for pair in zip([EOT, *d], [*d, EOT], strict=True)]
    assert sorted(pairs) == sorted(whole), "every token is predicted once, from the one before it"
    texts = {
        tuple(row[: int(w.sum())]) for row, w in zip(batch["inputs"].tolist(), batch["weights"], strict=True)
    }
    for document in documents:
        if len(document) < L:
            piece = (EOT, *document)
            assert any(piece == row[i : i + len(piece)] for row in texts for i in range(len(row)))
    long = [d for d in documents if len(d) + 1 > L]
    assert rows.shares.split_documents == len(long) / len(documents)
    assert rows.shares.padding == pytest.approx(1 - split.tokens / (len(rows) * L))


def test_segments_and_positions(split_of):
    documents = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], []]
    rows = BestFitRows(split_of(documents), np.arange(4), 6, mask_documents=True)
    batch = rows_of(rows)
    assert batch["inputs"].tolist() == [
        [EOT, 5, 6, 7, 8, 9],
        [EOT, 1, 2, 3, EOT, 4],
        [10, 11, EOT, EOT, EOT, EOT],
    ]
    assert batch["targets"].tolist() == [
        [5, 6, 7, 8, 9, 10],
        [1, 2, 3, EOT, 4, EOT],
        [11, EOT, EOT, EOT, EOT, EOT],
    ]
    assert batch["segment_ids"].tolist() == [[1] * 6, [1, 1, 1, 1, 2, 2], [1, 1, 2, 0, 0, 0]]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 0, 1], [0, 1, 0, 0, 0, 0]]
    assert batch["weights"].tolist() == [[1] * 6, [1] * 6, [1, 1, 1, 0, 0, 0]]
    assert rows.shares == pytest.approx((3 / 18, 1 / 4))
    some = rows.take(np.array([2, 0]))
    assert some["inputs"].tolist() == [batch["inputs"][2].tolist(), batch["inputs"][0].tolist()]
    with pytest.raises(IndexError):
        rows.take(np.array([3]))


def test_documents_split_by_cutting(split_of):
    """Rows of 4 over 3 + 6 + 2 + 1 tokens: the second document is in three rows, no other in two."""
    documents = [[1, 2], [3, 4, 5, 6, 7], [8], []]
    rows = PackedRows(split_of(documents), np.arange(4), 4, mask_documents=True, pad=False)
    assert rows.shares == (0.0, 0.25)


@pytest.mark.parametrize("mask", [True, False])
def test_batches_of_a_corpus(jsonl, mask):
    config = DataConfig(
        source=jsonl, sequence_length=64, packing="best_fit", mask_documents=mask, validation_fraction=0.2
    )
    corpus, cut = open_corpus(config), open_corpus(config.model_copy(update={"packing": "cut"}))
    batches = corpus.train_batches(BatchSchedule.constant(8))
    batch = next(batches)
    expected = batch_arrays(CausalObjective(), config, 8)
    assert {name: (x.shape, x.dtype.name) for name, x in batch.items()} == expected
    assert corpus.fingerprint != cut.fingerprint
    assert 0 < corpus.train_rows.shares.padding < 0.2
    assert corpus.train_rows.shares.split_documents < cut.train_rows.shares.split_documents
    for one, other in zip(corpus.validation_batches(8), cut.validation_batches(8), strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one), "the same validation set"


def test_the_work_in_python_does_not_grow_with_the_documents():
    """A million documents of ordinary lengths: seconds, not minutes, and little padding."""
    lengths = np.random.default_rng(0).geometric(1 / 300, 200_000).clip(1, 1024)
    bins = best_fit_decreasing(lengths, 1024)
    assert 1 - lengths.sum() / (1024 * (bins.max() + 1)) < 0.001
