"""The interface of a tokenizer."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from scaling.objectives.masked import WordFlags
from scaling.objectives.specials import SpecialTokens


class Tokenizer(Protocol):
    """The interface of a tokenizer. Ids are below `vocab_size`. Tokenizers can be pickled."""

    @property
    def vocab_size(self) -> int:
        """V, special tokens included: one more than the largest id."""
        ...

    @property
    def end_of_text(self) -> int:
        """The id before every document; no text encodes to it."""
        ...

    @property
    def special(self) -> SpecialTokens:
        """The ids of the tokenizer's own special tokens."""
        ...

    @property
    def lossless(self) -> bool:
        """Whether every text is the decoding of its encoding, so that `byte_lengths` of the ids sum to its
        bytes. False where that is not known."""
        ...

    @property
    def identity(self) -> str:
        """Names the mapping for the cache: equal identities encode equally."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Token ids (length,) int32.

        No special token is added, and text that looks like one is ordinary text.
        """
        ...

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`, for each text; in parallel where the tokenizer can.

        Set `TOKENIZERS_PARALLELISM=false` in processes that share the cores.
        """
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD.

        Special tokens have no text, nor have ids beyond the vocabulary.
        """
        ...

    def byte_lengths(self) -> np.ndarray:
        """Bytes of UTF-8 text per token, (V,) int32; 0 for special tokens."""
        ...

    def word_flags(self) -> WordFlags:
        """Which tokens belong to one word."""
        ...
