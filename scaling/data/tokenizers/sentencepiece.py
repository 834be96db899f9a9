"""SentencePiece models."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scaling.objectives.masked import WordFlags
from scaling.objectives.specials import SpecialTokens
from scaling.runtime.errors import BadInputError

# SentencePiece writes a space inside a piece as this character (U+2581), so a real one needs care.
_SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"


class SentencePieceTokenizer:
    """A SentencePiece model (Kudo, Richardson 2018); `eos` separates documents.

    With a model from `train_sentencepiece` encoding is lossless. A model from elsewhere may normalise, and
    without byte fallback an unknown character becomes `<unk>`, which decodes to nothing and counts no bytes:
    `byte_lengths` then sum to less than the text has.
    """

    lossless = False  # not known: a model's normaliser may change text

    def __init__(self, model: bytes, *, name: str = "model", added: Sequence[str] = ()) -> None:
        """`added` tokens follow the model's pieces and have no text.

        Raises BadInputError where `model` is no SentencePiece model or has no end-of-sentence piece.
        """
        import sentencepiece

        self._processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
            self._pieces = int(self._processor.get_piece_size())
        except (RuntimeError, ValueError, OSError):
            self._pieces = 0
        if self._pieces == 0:
            raise BadInputError(f"data.tokenizer: {name} is not a SentencePiece model, or is damaged")
        self.end_of_text = int(self._processor.eos_id())
        if self.end_of_text < 0:
            raise BadInputError(
                f"data.tokenizer: {name} has no end-of-sentence piece to put between documents; "
                "train one with eos_id >= 0"
            )
        self.vocab_size = self._pieces + len(added)
        self.special = self._own_special_tokens(added)
        self.identity = "sentencepiece:" + hashlib.blake2b(model, digest_size=16).hexdigest()
        if added:
            self.identity += ":" + hashlib.blake2b(repr(added).encode(), digest_size=8).hexdigest()
        byte_ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE_MARK.encode()]
        self._mark_ids = byte_ids if all(map(self._processor.is_byte, byte_ids)) else []
        # A model may put a space before every text; decoding takes it off again.
        probe = self._processor.encode("a")
        self._adds_space = bool(probe) and self._texts[probe[0]].startswith(b" ")

    def _own_special_tokens(self, added: Sequence[str]) -> SpecialTokens:
        processor = self._processor
        ids = {"bos": processor.bos_id(), "unk": processor.unk_id(), "pad": processor.pad_id()}
        known = {name: int(i) for name, i in ids.items() if i >= 0}
        places = {piece: self._pieces + number for number, piece in enumerate(added)}
        sentinels: list[int] = []
        while f"<extra_id_{len(sentinels)}>" in places:
            sentinels.append(places[f"<extra_id_{len(sentinels)}>"])
        return SpecialTokens(eos=self.end_of_text, sentinels=tuple(sentinels), **known)

    @classmethod
    def load(cls, path: str | Path, *, added: Sequence[str] = ()) -> "SentencePieceTokenizer":
        """Reads a `.model` file. Raises BadInputError where it cannot."""
        path = Path(os.path.expanduser(path))
        try:
            return cls(path.read_bytes(), name=str(path), added=added)
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

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

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
        return [self._text_of(i) for i in range(self._pieces)] + [b""] * (self.vocab_size - self._pieces)

    def _text_of(self, i: int) -> bytes:
        processor = self._processor
        if processor.is_control(i) or processor.is_unknown(i) or processor.is_unused(i):
            return b""
        piece = processor.id_to_piece(i)
        if processor.is_byte(i):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(_SPACE_MARK, " ").encode("utf-8")
