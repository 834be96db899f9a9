"""Where a document goes is a function of its content: the split, and the order of a corpus.

Nothing here looks at file names, line numbers or positions, so copying, reordering or resharding a corpus
moves no document across the split and changes no training order, and duplicates stay on one side.
"""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def content_hash(text: bytes) -> int:
    """64 bits of blake2b: below 2^64, uniform, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def is_validation(document_hash: int, fraction: float) -> bool:
    """Whether a document is held out. Raising the fraction only ever adds documents to the held-out side."""
    return document_hash < fraction * 2.0**64


def mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea, Flood 2014) on uint64, a bijection that scatters bits.

    Spelled out, so that the order of a corpus does not hang on the version of a random generator.
    """
    with np.errstate(over="ignore"):
        z = values.astype(np.uint64) + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def mix_seed(seed: int, stream: int) -> int:
    """A 64-bit seed for one use (`stream`) of a run's seed: neighbouring seeds give unrelated results."""
    return int(mix64(mix64(np.array([seed], np.uint64)) ^ np.uint64(stream))[0])


def content_order(hashes_D: np.ndarray) -> np.ndarray:
    """Document indices (D,) in the order of their hashes: a fixed random order that no seed changes."""
    return np.argsort(hashes_D, kind="stable")


def shuffled_order(hashes_D: np.ndarray, seed: int) -> np.ndarray:
    """Document indices (D,) in an order set by content and seed alone."""
    return np.argsort(mix64(hashes_D ^ np.uint64(mix_seed(seed, stream=0))), kind="stable")
