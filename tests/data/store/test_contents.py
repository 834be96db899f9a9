import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.store import content_hash, is_validation, shuffled_order


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


def test_seeds_give_different_orders():
    hashes = np.arange(100, dtype=np.uint64)
    orders = {tuple(shuffled_order(hashes, seed)) for seed in range(50)}
    assert len(orders) == 50
