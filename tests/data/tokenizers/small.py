"""Tokenizers small enough to be written by hand: bytes, and a few merges."""

import base64
import json
from pathlib import Path
from typing import Any

from scaling.data.tokenizers.definition import byte_alphabet

MERGES = [("a", "b"), ("ab", "c"), ("Ġ", "d"), ("Ġd", "e")]
END = "<|endoftext|>"


def bpe_tree(merges: list[tuple[str, str]] = MERGES, special: tuple[str, ...] = (END,)) -> dict[str, Any]:
    """A tokenizer.json of byte-level BPE: bytes as ids 0 to 255, merges, special tokens."""
    pieces = [*sorted(byte_alphabet(), key=byte_alphabet().__getitem__), *map("".join, merges)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": len(pieces) + n, "content": name, **flags} for n, name in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {p: i for i, p in enumerate(pieces)},
            "merges": [*map(list, merges)],
        },
    }


def write_bpe(folder: Path, **files: Any) -> Path:
    """A folder with `tokenizer.json`, and other files by their names without .json."""
    folder.mkdir(parents=True, exist_ok=True)
    trees = {"tokenizer": bpe_tree(), "tokenizer_config": {"eos_token": END}, **files}
    for name, tree in trees.items():
        if tree is not None:
            (folder / f"{name}.json").write_text(json.dumps(tree))
    return folder


RANKS = [bytes([byte]) for byte in range(256)] + [b"ab", b"abc", b" d", b" de", b"de", b"12", b"123"]


def write_ranks(path: Path, ranks: list[bytes] = RANKS) -> Path:
    """A tiktoken file."""
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks)]
    path.write_text("".join(lines))
    return path
