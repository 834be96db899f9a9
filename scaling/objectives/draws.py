"""What every objective draws on: random numbers by counter."""

from typing import Any, Protocol

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class TokenArray(Protocol):
    """Token ids (T,), in memory or read when they are indexed by a slice or by an array of positions."""

    dtype: np.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


def mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea, Flood 2014) on uint64, a bijection that scatters bits.

    Spelled out, so that the order of a corpus does not depend on the version of a random generator.
    """
    with np.errstate(over="ignore"):
        z = values.astype(np.uint64) + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def mix_seed(seed: int, stream: int) -> int:
    """A 64-bit seed for one use (`stream`) of a run's seed: neighbouring seeds give unrelated results."""
    return int(mix64(mix64(np.array([seed], np.uint64)) ^ np.uint64(stream))[0])


def row_keys(seed: int, numbers_B: np.ndarray) -> np.ndarray:
    """The keys (B,) uint64 of rows by their numbers; `seed` is of 64 bits, from `mix_seed`."""
    return mix64(mix64(numbers_B.astype(np.uint64)) ^ np.uint64(seed))


def bits(keys_B: np.ndarray, use: int, count: int) -> np.ndarray:
    """Random uint64 (B, count): a SplitMix64 sequence for each key. `use` distinguishes the draws of a
    row."""
    with np.errstate(over="ignore"):
        start_B = mix64(keys_B ^ np.uint64(use))
        return mix64(start_B[:, None] + np.arange(count, dtype=np.uint64) * _GOLDEN)


def uniforms(keys_B: np.ndarray, use: int, count: int) -> np.ndarray:
    """Random float64 (B, count) in [0, 1)."""
    return (bits(keys_B, use, count) >> np.uint64(11)) * 2.0**-53


def below(keys_B: np.ndarray, use: int, bounds_B: np.ndarray) -> np.ndarray:
    """Random int64 (B,) from 0 to bounds - 1; bounds of at least 1, below 2^32."""
    return scale(bits(keys_B, use, 1)[:, 0], bounds_B)


def scale(bits_: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Random bits to int64 from 0 to bounds - 1, uniform to within bounds / 2^32."""
    return ((bits_ >> np.uint64(32)) * bounds.astype(np.uint64) >> np.uint64(32)).astype(np.int64)
