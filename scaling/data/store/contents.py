"""Which side of the split a document is on, and its place in the order: functions of its contents alone.

File names and positions do not matter, so copying, reordering or resharding a corpus moves no document across
the split and changes no training order, and duplicates stay on one side.
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


def fingerprint(tokenizer_identity: str, hashes: dict[str, np.ndarray]) -> str:
    """A hash of the documents of each side and of the tokenizer; `hashes` (D,) of each side are sorted."""
    digest = hashlib.blake2b(tokenizer_identity.encode(), digest_size=16)
    for split, hashes_D in hashes.items():
        digest.update(split.encode())
        digest.update(hashes_D.tobytes())
    return digest.hexdigest()
