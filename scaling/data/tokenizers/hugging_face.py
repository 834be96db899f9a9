"""Tokenizers of the `tokenizers` library: byte-level BPE, WordPiece, Unigram."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from scaling.data.tokenizers.definition import Definition
from scaling.data.tokenizers.memo import PieceMemo, encodes_pieces
from scaling.objectives.masked import WordFlags
from scaling.objectives.specials import SpecialTokens
from scaling.runtime.errors import BadInputError

_LONG = 1 << 18  # characters; the library needs some 100 bytes per token, all at once
_CONTEXT = 256  # characters on both sides of a cut
_TRIES = 32
_MAY_CUT = re.compile(r"(?<=\S)(?=[ \n]\S)")


def _never_in_text(definition: Definition, special: SpecialTokens, end_of_text: int) -> set[int]:
    """The ids that no text is encoded to.

    A model's unknown token is not among them, nor padding that is an ordinary token (`!` in some files), nor
    a single character, which texts could not be spelled without.
    """
    named = (end_of_text, special.bos, special.eos, special.sep, special.cls, special.mask)
    marks = {i for i in named if i is not None}
    hidden = marks | {*special.sentinels} | {i for i in definition.added if definition.is_special(i)}
    ordinary = {i for i in hidden if len(definition.pieces[i]) == 1} - {end_of_text}
    return hidden - ordinary - ({definition.unk} - marks)


class HuggingFaceTokenizer:
    """A tokenizer of the `tokenizers` library. Ids equal those of `transformers` with
    `add_special_tokens=False` and `split_special_tokens=True`.

    Texts are never encoded to special tokens. In one case ids differ from those of `transformers`: where a
    model's own vocabulary gives a text that reads `</s>` the id of `</s>`, as Unigram models do; here it is
    spelled with other tokens.
    """

    def __init__(
        self, definition: Definition, special: SpecialTokens, end_of_text: int, *, kind: str = "hf"
    ) -> None:
        """`kind` opens the identity.

        Raises:
          BadInputError: `definition` is not a tokenizer that the library can use.
        """
        import tokenizers

        self.special, self.end_of_text, self._kind = special, end_of_text, kind
        self._definition = definition
        self.vocab_size = definition.vocab_size
        self.lossless = definition.is_lossless
        self._special_ids = _never_in_text(definition, special, end_of_text)
        try:
            self._backend: Any = tokenizers.Tokenizer.from_str(definition.without_special(self._special_ids))
            self._backend.encode_special_tokens = True
            self._backend.encode("a \u4e00\U0010fffd", add_special_tokens=False)
        except BaseException as error:  # the library's panics are no Exceptions
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            reason = re.sub(r" at line \d+ column \d+$", "", str(error))[:160]
            raise BadInputError(f"data.tokenizer: {definition.name} cannot be used: {reason}") from None
        definition.check_backend(self._backend, self._special_ids)
        self._memo = PieceMemo() if encodes_pieces(definition) else None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_memo": None if self._memo is None else PieceMemo()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._backend.encode_special_tokens = True

    @cached_property
    def identity(self) -> str:
        """The kind and a hash of the definition and the special tokens; not of the files' layout."""
        special = "".join(f"{name}{i}," for name, i in self.special.to_dict().items())
        return f"{self._kind}:{self._definition.digest()}:{special}end{self.end_of_text}"

    def encode(self, text: str) -> np.ndarray:
        """Token ids (length,) int32."""
        if len(text) > _LONG:
            return self.encode_many([text])[0]
        return self._encode(text)

    def _encode(self, text: str) -> np.ndarray:
        return np.array(self._backend.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, on all cores unless TOKENIZERS_PARALLELISM is false."""
        if self._memo is not None:
            return self._memo.encode(texts, self._encode_all)
        return [np.array(ids, np.int32) for ids in self._encode_all(texts)]

    def _encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        parts = [self._cut(text) for text in texts]
        flat = [piece for pieces in parts for piece in pieces]
        encodings = iter(self._backend.encode_batch_fast(flat, add_special_tokens=False))
        return [list(chain.from_iterable(next(encodings).ids for _ in pieces)) for pieces in parts]

    def _cut(self, text: str) -> list[str]:
        """A text in pieces whose ids together are those of the text.

        A cut is made before a space or line end, where the ids of its surroundings are the same with the cut
        as without.
        """
        pieces, begin = [], 0
        while len(text) - begin > _LONG:
            cut = self._place(text, begin + _LONG // 2, begin + _LONG)
            if cut is None:
                break
            pieces.append(text[begin:cut])
            begin = cut
        return [*pieces, text[begin:]]

    def _place(self, text: str, low: int, high: int) -> int | None:
        places = [match.start() for match in _MAY_CUT.finditer(text, max(low, high - 64 * _CONTEXT), high)]
        for cut in reversed(places[-_TRIES:]):
            before, after = text[max(0, cut - _CONTEXT) : cut], text[cut : cut + _CONTEXT]
            parts = np.concatenate([self._encode(before), self._encode(after)])
            if np.array_equal(self._encode(before + after), parts):
                return cut
        return None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the tokens; special and unknown tokens have none."""
        kept = [int(i) for i in ids if 0 <= i < self.vocab_size and self._texts[i]]
        if self._definition.is_byte_level:
            return b"".join(self._texts[i] for i in kept).decode("utf-8", errors="replace")
        text: str = self._backend.decode(kept, skip_special_tokens=False)
        return text

    def byte_lengths(self) -> np.ndarray:
        """(V,) int32: zero for special and unknown tokens.

        They sum to the bytes of a text if the tokenizer is `lossless`. Others replace, drop or add
        characters; those that separate words (WordPiece) count no spaces.
        """
        return np.array([len(text) for text in self._texts], np.int32)

    def word_flags(self) -> WordFlags:
        """Words by the marks of the tokenizer: `##` inside a word, `</w>` at its end, or spaces before it.

        Other white space is a word of its own.
        """
        model, pieces, texts = self._definition.model, self._definition.pieces, self._texts
        has_text_V = np.array([bool(text) for text in texts])
        if model["type"] == "WordPiece":
            prefix = model.get("continuing_subword_prefix") or "##"
            inside_V = np.array([pieces.get(i, "").startswith(prefix) for i in range(self.vocab_size)])
            return WordFlags(inside_V & has_text_V, has_text_V)
        if suffix := model.get("end_of_word_suffix"):
            ends_V = np.array([pieces.get(i, "").endswith(suffix) for i in range(self.vocab_size)])
            return WordFlags(has_text_V, has_text_V & ~ends_V)
        return WordFlags(
            np.array([bool(text[:1].strip()) for text in texts]),
            np.array([bool(text[-1:].strip(b"\t\n\v\f\r")) for text in texts]),
        )

    @cached_property
    def _texts(self) -> list[bytes]:
        """The text of each id, (V,); empty for special and unknown tokens, and ids without a token."""
        empty = self._special_ids | {self._definition.unk}
        return [
            b"" if i in empty or i not in self._definition.pieces else self._definition.text_of(i)
            for i in range(self.vocab_size)
        ]
