"""Tokens in shards are indexed as an array in memory is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data.sources.interface import Tally
from scaling.data.store import shards as writing
from scaling.data.store import tokens as reading
from scaling.data.store.shards import ShardWriter
from scaling.data.store.tokens import ShardedIds


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[ShardedIds, np.ndarray]:
    """The same tokens in three shards, with records of at most 8 tokens, and in memory."""
    folder: Path = tmp_path_factory.mktemp("store")
    (folder / "shards").mkdir()
    random = np.random.default_rng(0)
    patch = pytest.MonkeyPatch()
    patch.setattr(writing, "BLOCK", 8)
    patch.setattr(reading, "BLOCK", 8)
    made, memory, lengths = [], [], []
    for number in range(3):
        with ShardWriter(folder, number, np.dtype(np.uint16), 999) as writer:
            for length in random.integers(0, 40, 25):
                ids = random.integers(0, 900, length)
                writer.sides["train"].add(ids, 0, 0)
                memory += [999, *ids.tolist()]
                lengths.append(length + 1)
            made.append(writer.commit([], Tally(documents=25)))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    long = [(25 * n + d, extra) for n, one in enumerate(made) for d, extra in one.sides["train"].long]
    files = [one.file(folder, "train") for one in made]
    yield ShardedIds(files, [25] * 3, long, offsets, np.dtype(np.uint16)), np.array(memory, np.uint16)
    patch.undo()


@settings(deadline=None)
@given(data=st.data())
def test_slices_and_positions(pair, data):
    ids, memory = pair
    assert len(ids) == len(memory) and ids.dtype == memory.dtype
    place = st.integers(-len(memory), len(memory) - 1)
    a, b = data.draw(place), data.draw(place)
    step = data.draw(st.sampled_from([None, 1, 2, -1]))
    assert np.array_equal(ids[a:b:step], memory[a:b:step])
    assert ids[a] == memory[a]
    # As rows are: runs of tokens, next to a token that is repeated for padding.
    starts = np.array(data.draw(st.lists(st.integers(0, len(memory) - 30), min_size=1, max_size=6)))
    positions = starts[:, None] + np.minimum(np.arange(30), data.draw(st.integers(1, 30)))
    assert np.array_equal(ids[positions], memory[positions])
    scattered = np.array(data.draw(st.lists(place, max_size=20)), np.int64)
    assert np.array_equal(ids[scattered], memory[scattered])


def test_the_complete_array(pair):
    ids, memory = pair
    assert np.array_equal(np.asarray(ids), memory)
    assert ids[:0].shape == (0,) and ids[np.zeros((0, 4), int)].shape == (0, 4)


@pytest.mark.parametrize("place", [10**6, -(10**6)])
def test_beyond_the_end(pair, place):
    with pytest.raises(IndexError):
        pair[0][np.array([0, place])]
