import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.content_hash import content_hash, is_validation, mix64, mix_seed, shuffled_order


def test_mix64_is_splitmix64():
    # The first outputs of Vigna's reference splitmix64.c from state 1234567.
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + k * golden) % 2**64 for k in range(3)], np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert mix64(states).tolist() == expected


def test_the_split_takes_the_fraction_asked_for():
    hashes = [content_hash(str(n).encode()) for n in range(20_000)]
    for fraction in (0.01, 0.05, 0.5):
        share = np.mean([is_validation(h, fraction) for h in hashes])
        assert abs(share - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / len(hashes))


@given(st.binary(), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_larger_fraction_only_adds_to_validation(text, a, b):
    if is_validation(content_hash(text), min(a, b)):
        assert is_validation(content_hash(text), max(a, b))


@given(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=50), st.integers(0, 2**32 - 1), st.randoms())
def test_training_order_ignores_the_order_of_the_source(hashes, seed, random):
    before = np.array(sorted(hashes), np.uint64)
    after = np.array(random.sample(sorted(hashes), len(hashes)), np.uint64)
    assert np.array_equal(before[shuffled_order(before, seed)], after[shuffled_order(after, seed)])


def test_seeds_and_streams_give_different_orders():
    hashes = np.arange(100, dtype=np.uint64)
    orders = {tuple(shuffled_order(hashes, seed)) for seed in range(50)}
    assert len(orders) == 50
    assert len({mix_seed(seed, stream) for seed in range(20) for stream in range(3)}) == 60
