"""Text to token ids and back. Bytes, or a SentencePiece model."""

import hashlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scaling.config.data import TOKENIZERS
from scaling.objectives.masked import WordFlags
from scaling.runtime.errors import BadInputError

# SentencePiece writes a space inside a piece as this character (U+2581), so a real one needs care.
_SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"


class Tokenizer(Protocol):
    """The interface of a tokenizer. Ids are below `vocab_size`."""

    @property
    def vocab_size(self) -> int:
        """V, special tokens included."""
        ...

    @property
    def end_of_text(self) -> int:
        """The id before every document; no text encodes to it."""
        ...

    @property
    def identity(self) -> str:
        """Names the mapping for the cache: equal identities encode equally."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Token ids (length,) int32, no special token among them."""
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


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer that a config names: `bytes` or `sentencepiece:PATH`.

    Raises:
      BadInputError: `ids`, which is none; an unknown kind, a missing file, or a file that is no usable
        SentencePiece model.
    """
    kind, _, path = name.partition(":")
    if name == "bytes":
        return ByteTokenizer()
    if kind == "sentencepiece" and path:
        return SentencePieceTokenizer.load(path)
    if name == "ids":
        raise BadInputError(
            "data.tokenizer=ids: there is no tokenizer between text and this model; give ids "
            "(scaling score RUN --ids FILE.json), or import it with --tokenizer sentencepiece:PATH"
        )
    raise BadInputError(f"data.tokenizer: unknown tokenizer {name!r}; give {TOKENIZERS}")


def _in_word(byte: int) -> bool:
    return byte >= 0x80 or chr(byte).isalnum() or byte == ord("_")


class ByteTokenizer:
    """The 256 byte values of UTF-8, and end-of-text as id 256."""

    vocab_size = 257
    end_of_text = 256
    identity = "bytes"

    def encode(self, text: str) -> np.ndarray:
        """One id a byte, (bytes,) int32."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

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


class SentencePieceTokenizer:
    """A SentencePiece model (Kudo, Richardson 2018); `eos` separates documents.

    With a model from `train_sentencepiece` encoding is lossless. A model from elsewhere may normalise, and
    without byte fallback an unknown character becomes `<unk>`, which decodes to nothing and counts no bytes:
    bits per byte are then too high.
    """

    def __init__(self, model: bytes, *, name: str = "model") -> None:
        """Raises BadInputError where `model` is no SentencePiece model or has no end-of-sentence piece."""
        import sentencepiece

        self._processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
            self.vocab_size = int(self._processor.get_piece_size())
        except (RuntimeError, ValueError, OSError):
            self.vocab_size = 0
        if self.vocab_size == 0:
            raise BadInputError(f"data.tokenizer: {name} is not a SentencePiece model, or is damaged")
        self.end_of_text = int(self._processor.eos_id())
        if self.end_of_text < 0:
            raise BadInputError(
                f"data.tokenizer: {name} has no end-of-sentence piece to put between documents; "
                "train one with eos_id >= 0"
            )
        self.identity = "sentencepiece:" + hashlib.blake2b(model, digest_size=16).hexdigest()
        byte_ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE_MARK.encode()]
        self._mark_ids = byte_ids if all(map(self._processor.is_byte, byte_ids)) else []
        # A model may put a space before every text; decoding takes it off again.
        probe = self._processor.encode("a")
        self._adds_space = bool(probe) and self._texts[probe[0]].startswith(b" ")

    @classmethod
    def load(cls, path: str | Path) -> "SentencePieceTokenizer":
        """Reads a `.model` file. Raises BadInputError where it cannot."""
        path = Path(os.path.expanduser(path))
        try:
            return cls(path.read_bytes(), name=str(path))
        except FileNotFoundError:
            raise BadInputError(f"data.tokenizer: no SentencePiece model at {path}") from None
        except OSError as error:
            raise BadInputError(f"data.tokenizer: cannot read {path}: {error.strerror}") from None

    def encode(self, text: str) -> np.ndarray:
        """Token ids (length,) int32."""
        if self._mark_ids and _SPACE_MARK in text:
            # SentencePiece would replace the character by a space; spelled in bytes it survives.
            parts = [self._processor.encode(part) for part in text.split(_SPACE_MARK)]
            ids = parts[0]
            for part in parts[1:]:
                ids += self._mark_ids + part
        else:
            ids = self._processor.encode(text)
        return np.array(ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the pieces; special tokens and ids without a piece have none."""
        joined = b"".join(self._texts[i] for i in ids if 0 <= i < self.vocab_size)
        if self._adds_space and joined.startswith(b" "):
            joined = joined[1:]
        return joined.decode("utf-8", errors="replace")

    def byte_lengths(self) -> np.ndarray:
        """(V,) int32: one for a byte piece, zero for control pieces and `<unk>`."""
        return np.array([len(text) for text in self._texts], np.int32)

    def word_flags(self) -> WordFlags:
        """A piece that starts with a space begins a word; other white space is a word of its own."""
        # Of a token without text both ends are empty: it belongs to no word. A space may be a piece of its
        # own before the rest of its word.
        return WordFlags(
            np.array([bool(text[:1].strip()) for text in self._texts]),
            np.array([bool(text[-1:].strip(b"\t\n\v\f\r")) for text in self._texts]),
        )

    @cached_property
    def _texts(self) -> list[bytes]:
        return [self._text_of(i) for i in range(self.vocab_size)]

    def _text_of(self, i: int) -> bytes:
        processor = self._processor
        if processor.is_control(i) or processor.is_unknown(i) or processor.is_unused(i):
            return b""
        piece = processor.id_to_piece(i)
        if processor.is_byte(i):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(_SPACE_MARK, " ").encode("utf-8")
