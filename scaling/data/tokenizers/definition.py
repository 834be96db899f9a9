"""A `tokenizer.json`: what its tokens are, and what its settings mean for the text of a token."""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

from scaling.runtime.errors import BadInputError

MODELS = ("BPE", "WordPiece", "Unigram", "WordLevel")
MOST_IDS = 1 << 24
SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """GPT-2's character for each byte (Radford et al. 2019), as byte-level tokens are written in files."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + n): byte for n, byte in enumerate(rest)}


class Definition:
    """The tree of a `tokenizer.json`, without padding, truncation and random choices.

    Raises:
      BadInputError: it is no tokenizer, or of a kind that is not known.
    """

    def __init__(self, tree: Any, name: str) -> None:
        """`name` is the file, for messages."""
        self.name = name
        if not isinstance(tree, dict) or not isinstance(tree.get("model"), dict):
            raise BadInputError(f"data.tokenizer: {name} is not a tokenizer.json: it has no model")
        model = tree["model"]
        kind = model.get("type") or _kind_of(model)
        if kind not in MODELS:
            raise BadInputError(
                f"data.tokenizer: {name}: model.type={kind!r} is not known; it must be {', '.join(MODELS)}"
            )
        # Dropout and sampling would make the ids of a text random.
        fixed = {"type": kind} | {key: None for key in ("dropout", "nbest_size", "alpha") if key in model}
        self.tree: dict[str, Any] = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": tree.get("added_tokens") or [],
            "normalizer": tree.get("normalizer"),
            "pre_tokenizer": tree.get("pre_tokenizer"),
            "post_processor": None,
            "decoder": tree.get("decoder"),
            "model": model | fixed,
        }
        try:
            self.pieces = _pieces(self.tree)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadInputError(f"data.tokenizer: {name} is damaged: {str(error)[:120]}") from None
        self.ids = {piece: i for i, piece in self.pieces.items()}

    @property
    def model(self) -> dict[str, Any]:
        """The model: its type, vocabulary and merges."""
        model: dict[str, Any] = self.tree["model"]
        return model

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.pieces) + 1

    @cached_property
    def unk(self) -> int | None:
        """The id that the model gives to what it does not know."""
        if self.model["type"] == "Unigram":
            unk: int | None = self.model.get("unk_id")
            return unk
        return self.ids.get(self.model.get("unk_token") or "")

    @cached_property
    def added(self) -> dict[int, dict[str, Any]]:
        """Added tokens by id."""
        return {token["id"]: token for token in self.tree["added_tokens"]}

    def is_special(self, i: int) -> bool:
        """Whether an id is an added token that is declared special."""
        return bool(self.added.get(i, {}).get("special"))

    def digest(self) -> str:
        """A hash of what decides the ids of a text: the same for files that differ only in their layout."""
        content = json.dumps(self.tree, sort_keys=True, ensure_ascii=True).encode()
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def without_special(self, special: set[int]) -> str:
        """The JSON of a tokenizer that gives no text the ids of `special`.

        Those tokens keep their ids under names that are no text: each contains a space and a character that
        no pre-tokeniser leaves together.
        """
        hidden = {i: _hidden(i) for i in special}
        names = {self.pieces[i]: name for i, name in hidden.items()}
        model = dict(self.model)
        if isinstance(model["vocab"], list):
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
        else:
            model["vocab"] = {names.get(piece, piece): i for piece, i in model["vocab"].items()}
        if "merges" in model and not names.keys().isdisjoint(self.model["vocab"]):
            prefix = len(model.get("continuing_subword_prefix") or "")
            model["merges"] = [
                [left, right]
                for left, right in map(_pair, model["merges"])
                if not {left, right, left + right[prefix:]} & names.keys()
            ]
        if model.get("unk_token") in names:
            model["unk_token"] = None
        # The model finds its own unknown token; as an added token it would also be found in text.
        added = [
            token | {"content": hidden.get(token["id"], token["content"])}
            for token in self.tree["added_tokens"]
            if token["id"] != self.unk or token["content"] not in self.model_pieces
        ]
        return json.dumps(self.tree | {"model": model, "added_tokens": added}, ensure_ascii=False)

    @cached_property
    def model_pieces(self) -> set[str]:
        """The tokens of the model, without added ones."""
        vocab = self.model["vocab"]
        return {piece for piece, _ in vocab} if isinstance(vocab, list) else set(vocab)

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether tokens are strings of bytes, written in `byte_alphabet`."""
        settings = [*settings_of(self.tree["pre_tokenizer"]), *settings_of(self.tree["decoder"])]
        return any(setting.get("type") == "ByteLevel" for setting in settings)

    @cached_property
    def is_lossless(self) -> bool:
        """Whether every text can be decoded from its ids."""
        keeps = {"ByteLevel", "Split", "Digits", "Punctuation", "Sequence"}
        if not self.is_byte_level or self.tree["normalizer"] is not None:
            return False
        for setting in settings_of(self.tree["pre_tokenizer"]):
            if setting.get("type") not in keeps or setting.get("add_prefix_space"):
                return False
            if setting.get("behavior") == "Removed":
                return False
        if any(token.get("lstrip") or token.get("rstrip") for token in self.tree["added_tokens"]):
            return False
        return byte_alphabet().keys() <= self.model_pieces

    def text_of(self, i: int) -> bytes:
        """The bytes of text that a token that is not special contributes."""
        piece, model = self.pieces[i], self.model
        if i in self.added:
            return piece.encode("utf-8")
        if self.is_byte_level:
            alphabet = byte_alphabet()
            if all(character in alphabet for character in piece):
                return bytes(alphabet[character] for character in piece)
            return piece.encode("utf-8")
        if model.get("byte_fallback") and (byte := _BYTE_PIECE.fullmatch(piece)):
            return bytes([int(byte[1], 16)])
        if self._marks_spaces:
            piece = piece.replace(SPACE_MARK, " ")
        piece = piece.removeprefix(model.get("continuing_subword_prefix") or "")
        suffix = model.get("end_of_word_suffix") or ""
        if suffix and piece.endswith(suffix):
            piece = piece.removesuffix(suffix) + " "
        return piece.encode("utf-8")

    @cached_property
    def _marks_spaces(self) -> bool:
        parts = (self.tree[part] for part in ("normalizer", "pre_tokenizer", "decoder"))
        return any(SPACE_MARK in json.dumps(part, ensure_ascii=False) for part in parts)

    def check_backend(self, backend: Any, special: set[int]) -> None:
        """Compares the ids that the file gives to added tokens with those that the library gave them.

        Raises:
          BadInputError: they differ.
        """
        for i, token in self.added.items():
            held = backend.token_to_id(_hidden(i) if i in special else token["content"])
            if held != i:
                raise BadInputError(
                    f"data.tokenizer: {self.name} is damaged: its added token {token['content']!r} has the "
                    f"id {i}, but added tokens follow the vocabulary without gaps: {held} is its place"
                )


def _hidden(i: int) -> str:
    """The name of a special token that no text is encoded to."""
    return f"\0 special {i} \uf8ff"


def settings_of(part: Any) -> Iterator[dict[str, Any]]:
    """The settings of a normaliser, pre-tokeniser or decoder, those inside a sequence one by one."""
    if isinstance(part, dict):
        yield part
        for key in ("normalizers", "pretokenizers", "decoders"):
            for inner in part.get(key) or ():
                yield from settings_of(inner)


def _kind_of(model: dict[str, Any]) -> str | None:
    """The kind of a model in old files, which do not name it."""
    if "merges" in model:
        return "BPE"
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    return "WordPiece" if "max_input_chars_per_word" in model else "WordLevel" if "vocab" in model else None


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _pieces(tree: dict[str, Any]) -> dict[int, str]:
    vocab = tree["model"]["vocab"]
    if isinstance(vocab, list):
        pieces = {i: piece for i, (piece, _) in enumerate(vocab)}
    else:
        pieces = {i: piece for piece, i in vocab.items()}
    for token in tree["added_tokens"]:
        pieces[token["id"]] = token["content"]
    if not pieces:
        raise ValueError("its vocabulary is empty")
    for i, piece in pieces.items():
        if not isinstance(i, int) or isinstance(i, bool) or not isinstance(piece, str):
            raise TypeError(f"its vocabulary has {piece!r} with the id {i!r}")
        if not 0 <= i < MOST_IDS:
            raise ValueError(f"{piece!r} has the id {i}")
    return pieces
