"""Where a document goes is a function of its content: the split, and the order of a corpus.

Nothing here looks at file names, line numbers or positions, so copying, reordering or resharding a corpus
moves no document across the split and changes no training order, and duplicates stay on one side.
"""

import hashlib

import numpy as np

from scaling.objectives.draws import mix64, mix_seed


def content_hash(text: bytes) -> int:
    """64 bits of blake2b: below 2^64, uniform, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def is_validation(document_hash: int, fraction: float) -> bool:
    """Whether a document is held out. Raising the fraction only ever adds documents to the held-out side."""
    return document_hash < fraction * 2.0**64


def content_order(hashes_D: np.ndarray) -> np.ndarray:
    """Document indices (D,) in the order of their hashes: a fixed random order that no seed changes."""
    return np.argsort(hashes_D, kind="stable")


def shuffled_order(hashes_D: np.ndarray, seed: int) -> np.ndarray:
    """Document indices (D,) in an order set by content and seed alone."""
    return np.argsort(mix64(hashes_D ^ np.uint64(mix_seed(seed, stream=0))), kind="stable")
