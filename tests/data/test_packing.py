import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data.rows import PackedRows

EOT = 256
DOCUMENTS = st.lists(st.lists(st.integers(0, 255), max_size=30), min_size=1, max_size=25)


def obvious_rows(documents, order, L):
    """The same rows, one token at a time."""
    stream = [
        (EOT if place == 0 else documents[d][place - 1], d)
        for d in order
        for place in range(len(documents[d]) + 1)
    ]
    followers = [token for token, _ in stream[1:]] + [EOT]
    rows = []
    for begin in range(0, len(stream), L):
        row = {"inputs": [], "targets": [], "segment_ids": [], "positions": [], "weights": []}
        segment, position, previous = 0, 0, None
        for place in range(begin, begin + L):
            if place < len(stream):
                token, document = stream[place]
                if document != previous:
                    segment, position, previous = segment + 1, 0, document
                values = token, followers[place], segment, position, 1
                position += 1
            else:
                values = EOT, EOT, 0, 0, 0
            for key, value in zip(row, values, strict=True):
                row[key].append(value)
        rows.append(row)
    return rows


@settings(deadline=None)
@given(DOCUMENTS, st.integers(2, 40), st.randoms())
def test_rows_equal_an_obvious_reference(split_of, documents, L, random):
    split = split_of(documents)
    order = np.array(random.sample(range(len(documents)), len(documents)))
    rows = PackedRows(split, order, L, mask_documents=True, pad=True)
    expected = obvious_rows(documents, order, L)
    assert len(rows) == len(expected)
    for index, row in enumerate(expected):
        got = rows[index]
        assert {key: value.tolist() for key, value in got.items()} == row
        assert {value.dtype.name for key, value in got.items() if key != "weights"} == {"int32"}
        assert got["weights"].dtype == np.float32
    # Without padding the same rows, but for the last that is not full.
    full = PackedRows(split, order, L, mask_documents=True, pad=False)
    assert len(full) == split.tokens // L == full.tokens_per_epoch // L
    if len(full):
        numbers = np.array(random.choices(range(len(full)), k=7))
        batch = full.take(numbers)
        assert "weights" not in batch
        for key, value in batch.items():
            assert np.array_equal(value, [expected[n][key] for n in numbers])


@settings(deadline=None)
@given(DOCUMENTS, st.integers(2, 40))
def test_every_token_is_predicted_exactly_once(split_of, documents, L):
    split = split_of(documents)
    rows = PackedRows(split, np.arange(len(documents)), L, mask_documents=False, pad=True)
    targets = np.concatenate([rows[i]["targets"][rows[i]["weights"] > 0] for i in range(len(rows))])
    # All tokens of the split in order, the first end-of-text moved to the close.
    assert np.array_equal(targets, np.append(split.ids[1:], EOT))
    assert rows.tokens_per_epoch == split.tokens


def test_masking_can_be_off(split_of):
    rows = PackedRows(split_of([[1, 2], [3]]), np.array([1, 0]), 4, mask_documents=False, pad=False)
    assert set(rows[0]) == {"inputs", "targets"}
    assert rows[0]["inputs"].tolist() == [EOT, 3, EOT, 1]


def test_rows_out_of_range(split_of):
    rows = PackedRows(split_of([[1, 2, 3]]), np.array([0]), 2, mask_documents=True, pad=False)
    for numbers in ([2], [0, -1]):
        with pytest.raises(IndexError):
            rows.take(np.array(numbers))


def test_batches_do_not_share_memory(split_of):
    rows = PackedRows(split_of([[1, 2, 3, 4, 5]]), np.array([0]), 3, mask_documents=True, pad=True)
    first = rows[0]
    first["inputs"][:] = 7
    first["targets"][:] = 7
    assert rows[0]["inputs"].tolist() == [EOT, 1, 2]
    assert rows[0]["targets"].tolist() == [1, 2, 3]
