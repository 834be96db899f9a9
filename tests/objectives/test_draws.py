"""Counter-based draws: the published generator, alike alone and in a batch, uniform."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaling.objectives.draws import below, bits, mix64, mix_seed, row_keys, uniforms

COUNT = 40_000


def test_mix64_is_splitmix64():
    # The first outputs of Vigna's reference splitmix64.c from state 1234567.
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + k * golden) % 2**64 for k in range(3)], np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert mix64(states).tolist() == expected


def test_seeds_and_streams_are_told_apart():
    assert len({mix_seed(seed, stream) for seed in range(20) for stream in range(5)}) == 100


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=8, unique=True), st.integers(0, 2**32 - 1))
def test_a_row_is_the_same_alone_in_any_batch_and_at_any_length(numbers, seed):
    keys = row_keys(mix_seed(seed, 3), np.array(numbers))
    together = bits(keys, 7, 5)
    for b, number in enumerate(numbers):
        assert np.array_equal(bits(row_keys(mix_seed(seed, 3), np.array([number])), 7, 9)[0, :5], together[b])
    assert len(np.unique(together)) == together.size
    assert not np.intersect1d(together, bits(keys, 8, 5)).size


def test_draws_are_uniform_along_rows_and_across_them():
    for sample in (
        uniforms(row_keys(mix_seed(0, 3), np.arange(COUNT)), 1, 1).ravel(),
        uniforms(row_keys(mix_seed(0, 3), np.arange(1)), 1, COUNT).ravel(),
    ):
        counts = np.bincount((sample * 20).astype(int), minlength=20)
        assert ((counts - COUNT / 20) ** 2 / (COUNT / 20)).sum() < 50  # chi-square of 19 degrees: 1 in 10,000


def test_whole_numbers_stay_below_their_bounds_and_reach_them():
    bounds = np.tile([1, 2, 3, 7], COUNT // 4)
    drawn = below(row_keys(mix_seed(0, 3), np.arange(COUNT)), 2, bounds)
    for bound in (1, 2, 3, 7):
        counts = np.bincount(drawn[bounds == bound], minlength=bound)
        assert len(counts) == bound
        assert np.abs(counts / counts.sum() - 1 / bound).max() < 0.02
