"""Ids of pieces of text that have occurred before: most words of a corpus are encoded once.

Byte-level BPE encodes the matches of a regular expression one by one. None of the expressions of published
tokenizers matches across a space that follows a character other than white space, nor across punctuation or a
line end that follows an ASCII letter or digit. Cut there, a text has the ids of its pieces.
"""

import re
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from scaling.data.tokenizers.definition import Definition, settings_of

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# GPT-4 and LLaMA 3; Qwen 2; the same as tiktoken writes them.
_EXPRESSIONS = {
    f"{contractions}{_WORDS}|{numbers}{rest}"
    for contractions in (_CONTRACTIONS, r"'(?i:[sdmt]|ll|ve|re)")
    for numbers in (r"\p{N}{1,3}", r"\p{N}")
    for rest in (_REST, _REST.replace(r"\s*[\r\n]+", r"\s*[\r\n]"))
}
# White space as the expressions mean it: Unicode's property, which differs from Python's.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CUT = re.compile(rf"(?<=[^{_SPACE}])(?= )|(?<=[0-9A-Za-z])(?=[\n!-&(-/:-@\[-`{{-~])")
# In older versions of Unicode white space; in the names of tokens that no text may be encoded to.
_UNSURE = re.compile("[\u180e\uf8ff]")
_MOST = 1 << 17  # pieces that are remembered, some 20 MB
_LONGEST = 32  # characters of such a piece

Ids = dict[str, tuple[int, ...]]
Encode = Callable[[list[str]], list[list[int]]]


def encodes_pieces(definition: Definition) -> bool:
    """Whether a tokenizer is one of those whose texts can be cut."""
    tree = definition.tree
    if definition.model["type"] != "BPE" or not definition.is_byte_level:
        return False
    if any(one["type"] not in ("NFC", "Sequence") for one in settings_of(tree["normalizer"])):
        return False
    for token in definition.added.values():
        if token.get("lstrip") or token.get("rstrip") or token.get("single_word"):
            return False
        if not token.get("special") and _CUT.search(f"a{token['content']}a"):
            return False
    splits = 0
    for one in settings_of(tree["pre_tokenizer"]):
        if one["type"] == "ByteLevel" and not one.get("add_prefix_space", True):
            splits += bool(one.get("use_regex", True))
        elif one["type"] == "Split" and one.get("behavior") == "Isolated" and not one.get("invert"):
            pattern = one.get("pattern", {}).get("Regex", "").replace("++", "+").replace("?+", "?")
            if pattern not in _EXPRESSIONS:
                return False
            splits += 1
        elif one["type"] != "Sequence":
            return False
    return splits == 1


class PieceMemo:
    """Encodes texts by their pieces, and remembers the first hundred thousand or so of those."""

    def __init__(self) -> None:
        self._ids: Ids = {}  # only grows, so that threads may share it

    def encode(self, texts: Sequence[str], encode: Encode) -> list[np.ndarray]:
        """Token ids of each text; `encode` is asked for the pieces that are new."""
        known = self._ids
        cut = [[text] if _UNSURE.search(text) else _CUT.split(text) for text in texts]
        missing = list({piece for pieces in cut for piece in pieces if piece not in known})
        new = {piece: tuple(ids) for piece, ids in zip(missing, encode(missing), strict=True)}
        for piece in missing:
            if len(known) < _MOST and len(piece) <= _LONGEST:
                known[piece] = new[piece]
        return [np.fromiter(chain.from_iterable(_found(known, new, pieces)), np.int32) for pieces in cut]


def _found(known: Ids, new: Ids, pieces: list[str]) -> list[tuple[int, ...]]:
    try:
        return list(map(known.__getitem__, pieces))
    except KeyError:
        return [known[piece] if piece in known else new[piece] for piece in pieces]
