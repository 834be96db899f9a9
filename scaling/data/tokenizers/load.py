"""The tokenizer that a config names."""

import os
from pathlib import Path

from scaling.config.data import TOKENIZERS
from scaling.data.tokenizers.bytes import ByteTokenizer
from scaling.data.tokenizers.protocol import Tokenizer
from scaling.data.tokenizers.sentencepiece import SentencePieceTokenizer
from scaling.runtime.errors import BadInputError


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names.

    Raises:
      BadInputError: `ids`, which is none; an unknown kind, a missing or damaged file, or a tokenizer that
        cannot be used.
    """
    if name == "bytes":
        return ByteTokenizer()
    if name == "ids":
        raise BadInputError(
            "data.tokenizer=ids: there is no tokenizer between text and this model; give ids "
            "(scaling score RUN --ids FILE.json), or import it with --tokenizer hf:PATH or sentencepiece:PATH"
        )
    kind, _, path = name.partition(":")
    if kind == "sentencepiece" and path:
        return SentencePieceTokenizer.load(path)
    if kind == "hf" and path:
        from scaling.data.tokenizers.folder import read_folder

        return read_folder(Path(os.path.expanduser(path)))
    if kind == "tiktoken" and path:
        from scaling.data.tokenizers.tiktoken import read_tiktoken

        return read_tiktoken(path)
    raise BadInputError(f"data.tokenizer: unknown tokenizer {name!r}; give {TOKENIZERS}")
