"""tiktoken's files: a line per token, its bytes in base64 and its rank (OpenAI's encodings, LLaMA 3)."""

import base64
import binascii
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.data.tokenizers.definition import MOST_IDS, Definition, byte_alphabet
from scaling.data.tokenizers.hugging_face import HuggingFaceTokenizer
from scaling.data.tokenizers.legacy import byte_level
from scaling.data.tokenizers.special_names import end_of_text, special_tokens
from scaling.runtime.errors import BadInputError

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_CL100K = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|reserved_special_token_2|>",
    "<|reserved_special_token_3|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|reserved_special_token_4|>",
    "<|eot_id|>",
    *(f"<|reserved_special_token_{number}|>" for number in range(5, 251)),
)


@dataclass(frozen=True)
class Encoding:
    """What a file of ranks does not say. Sources: tiktoken_ext/openai_public.py; LLaMA 3's tokenizer.py.

    `special` gives the place of each special token after the last rank.
    """

    pattern: str | None  # None: GPT-2's
    special: dict[str, int]


_END = "<|endoftext|>"
_FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
ENCODINGS = {
    "gpt2": Encoding(None, {_END: 0}),
    "r50k": Encoding(None, {_END: 0}),
    "p50k": Encoding(None, {_END: 0}),  # in the gap that its ranks leave
    "cl100k": Encoding(
        _CL100K, {_END: 1} | {name: 2 + n for n, name in enumerate(_FIM)} | {"<|endofprompt|>": 20}
    ),
    "o200k": Encoding(_O200K, {_END: 1, "<|endofprompt|>": 20}),
    "llama3": Encoding(_CL100K, {name: n for n, name in enumerate(_LLAMA3_SPECIAL)}),
}
_NAMED = re.compile(rf"({'|'.join(ENCODINGS)})(?![a-z0-9])", re.IGNORECASE)
_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\s*")


def read_tiktoken(name: str) -> HuggingFaceTokenizer:
    """The tokenizer of `PATH`, whose file name contains that of its encoding (`cl100k_base.tiktoken`), or of
    `ENCODING:PATH`.

    Merges are those that the ranks imply: a pair is merged if its bytes are a token, lower ranks first.

    Raises:
      BadInputError: the file is missing or damaged, or its encoding is not known.
    """
    encoding, path = parse(name)
    ranks = _read_ranks(path)
    size = max(ranks.values()) + 1
    gaps = sorted(set(range(size)) - set(ranks.values()))
    kind = ENCODINGS[encoding]
    special = {token: size + place for token, place in kind.special.items()}
    if gaps:
        if len(gaps) > 1 or encoding != "p50k":
            raise BadInputError(f"data.tokenizer: {path} is damaged: it has no token of rank {gaps[0]}")
        special = {_END: gaps[0]}
    alphabet = {byte: character for character, byte in byte_alphabet().items()}
    written = {token: "".join(map(alphabet.__getitem__, token)) for token in ranks}
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise BadInputError(f"data.tokenizer: {path} is damaged: it has no token for byte {missing[0]}")
    tree = byte_level(kind.pattern) | {
        "model": {
            "type": "BPE",
            "vocab": {written[token]: rank for token, rank in ranks.items()} | special,
            "merges": [[written[left], written[right]] for left, right in _merges(ranks)],
            "ignore_merges": True,
        },
        "added_tokens": [
            {"id": i, "content": token, "special": True, "normalized": False,
             "single_word": False, "lstrip": False, "rstrip": False}
            for token, i in special.items()
        ],
    }  # fmt: skip
    definition = Definition(tree, str(path))
    tokens = special_tokens(definition.ids, {}, {})
    end = end_of_text(tokens, definition.ids, str(path))
    return HuggingFaceTokenizer(definition, tokens, end, kind="tiktoken")


def parse(name: str) -> tuple[str, Path]:
    """(encoding, path) of `PATH` or `ENCODING:PATH`.

    Raises:
      BadInputError: no encoding is named.
    """
    first, colon, rest = name.partition(":")
    if colon and first.removesuffix("_base") in ENCODINGS:
        return first.removesuffix("_base"), Path(os.path.expanduser(rest))
    path = Path(os.path.expanduser(name))
    if found := _NAMED.match(path.name):
        return found[1].lower(), path
    raise BadInputError(
        f"data.tokenizer=tiktoken:{name}: the file name does not begin with the name of an encoding; give "
        f"tiktoken:ENCODING:PATH, where ENCODING is {', '.join(ENCODINGS)}"
    )


def is_ranks(path: Path) -> bool:
    """Whether a file opens with a line of base64 and a number."""
    try:
        with path.open("rb") as file:
            return _LINE.fullmatch(file.readline(4096)) is not None
    except OSError:
        return False


def _read_ranks(path: Path) -> dict[bytes, int]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"data.tokenizer: no tiktoken file at {path}") from None
    except OSError as error:
        raise BadInputError(f"data.tokenizer: cannot read {path}: {error.strerror}") from None
    ranks: dict[bytes, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            decoded, place = base64.b64decode(token, validate=True), int(rank)
            if not 0 <= place < MOST_IDS or place in seen or decoded in ranks or not decoded:
                raise ValueError("the token or its rank is empty, repeated or out of range")
        except (ValueError, binascii.Error) as error:
            raise BadInputError(
                f"data.tokenizer: {path} line {number}: expected base64 and a rank ({str(error)[:80]})"
            ) from None
        ranks[decoded] = place
        seen.add(place)
    if not ranks:
        raise BadInputError(f"data.tokenizer: {path} is empty")
    return ranks


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every pair of tokens that makes a third, by the rank of that, then by their own."""
    merges: list[Any] = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = ranks.get(token[:cut]), ranks.get(token[cut:])
            if left is not None and right is not None:
                merges.append((rank, left, right, token[:cut], token[cut:]))
    merges.sort()
    return [merge[3:] for merge in merges]
