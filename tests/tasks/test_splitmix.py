from collections import Counter

from scaling.objectives.draws import mix64
from scaling.tasks.splitmix import SplitMix, hash64


def test_bits_are_splitmix64():
    import numpy as np

    key = hash64(repr(("a", 1)))
    golden = 0x9E3779B97F4A7C15
    states = np.array([(key + n * golden) % 2**64 for n in range(5)], np.uint64)
    draws = SplitMix("a", 1)
    assert [draws.bits() for _ in range(5)] == mix64(states).tolist()


def test_keys_tell_draws_apart_and_nothing_else_does():
    assert SplitMix("a", 1).bits() == SplitMix("a", 1).bits()
    assert len({SplitMix(*key).bits() for key in (("a", 1), ("a", "1"), ("a1",), ("a", 2), ("b", 1))}) == 5


def test_draws_are_uniform():
    draws = SplitMix("uniform")
    counts = Counter(draws.below(7) for _ in range(70_000))
    # Chi-squared with 6 degrees of freedom: 22.5 is exceeded once in a thousand.
    assert sorted(counts) == list(range(7))
    assert sum((count - 10_000) ** 2 / 10_000 for count in counts.values()) < 22.5


def test_some_takes_each_at_most_once_and_every_order_alike():
    draws = SplitMix("some")
    orders = Counter(tuple(draws.some("abc", 3)) for _ in range(6_000))
    assert len(orders) == 6 and sum((count - 1_000) ** 2 / 1_000 for count in orders.values()) < 20.5
    assert all(len(set(draws.some(range(9), 5))) == 5 for _ in range(100))
