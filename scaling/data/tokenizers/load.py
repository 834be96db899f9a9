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
    if kind == "prepared" and path:
        return _of_prepared(Path(os.path.expanduser(path)))
    raise BadInputError(f"data.tokenizer: unknown tokenizer {name!r}; give {TOKENIZERS}")


def _of_prepared(folder: Path) -> Tokenizer:
    """The tokenizer in the directory of a prepared corpus.

    Raises:
      BadInputError: nothing is prepared there, or its files are missing or were changed.
    """
    from scaling.data.store.manifest import name_in, read_settings

    settings = read_settings(folder)
    if settings is None:
        raise BadInputError(
            f"data.tokenizer=prepared:{folder}: no prepared corpus there; give an --out directory of scaling "
            "data prepare"
        )
    tokenizer = load_tokenizer(name_in(folder, settings.tokenizer_copy))
    if tokenizer.identity != settings.tokenizer_identity:
        raise BadInputError(
            f"data.tokenizer=prepared:{folder}: not the tokenizer that the corpus was prepared with "
            f"({tokenizer.identity} instead of {settings.tokenizer_identity}); put its files back"
        )
    return tokenizer
