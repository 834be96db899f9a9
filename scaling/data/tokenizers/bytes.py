"""UTF-8 bytes as tokens."""

from collections.abc import Iterable, Sequence

import numpy as np

from scaling.objectives.masked import WordFlags
from scaling.objectives.specials import SpecialTokens


def _in_word(byte: int) -> bool:
    return byte >= 0x80 or chr(byte).isalnum() or byte == ord("_")


class ByteTokenizer:
    """The 256 byte values of UTF-8, and end-of-text as id 256."""

    vocab_size = 257
    end_of_text = 256
    special = SpecialTokens(eos=256)
    lossless = True
    identity = "bytes"

    def encode(self, text: str) -> np.ndarray:
        """One id per byte, (bytes,) int32."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One id per byte, for each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the bytes; end-of-text has none."""
        ids = np.fromiter(ids, np.int64)
        return ids[(ids >= 0) & (ids < 256)].astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def byte_lengths(self) -> np.ndarray:
        """(257,) int32: one, and zero for end-of-text."""
        lengths = np.ones(self.vocab_size, np.int32)
        lengths[self.end_of_text] = 0
        return lengths

    def word_flags(self) -> WordFlags:
        """A word is a run of letters, digits and underscores; a byte beyond ASCII is part of a letter."""
        in_word_V = np.array([*map(_in_word, range(256)), False])
        return WordFlags(in_word_V, in_word_V)
