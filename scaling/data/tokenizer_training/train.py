"""A tokenizer of one of the kinds, as a folder that `data.tokenizer=hf:FOLDER` and transformers read."""

import json
import os
from pathlib import Path
from typing import Literal

from scaling.data.sources import Source
from scaling.data.tokenizer_training import byte_level, unigram, wordpiece
from scaling.data.tokenizer_training.reading import Progress, reported, sample
from scaling.data.tokenizer_training.writing import write_files
from scaling.data.tokenizers.folder import read_folder
from scaling.data.tokenizers.protocol import Tokenizer
from scaling.runtime.errors import BadInputError

Kind = Literal["bpe", "unigram", "wordpiece"]
KINDS = {"bpe": byte_level, "unigram": unigram, "wordpiece": wordpiece}


def train_tokenizer(
    source: Source,
    out: str | Path,
    *,
    kind: Kind = "bpe",
    vocab_size: int,
    seed: int = 0,
    max_bytes: int = 50_000_000,
    progress: Progress | None = None,
) -> Tokenizer:
    """Trains a tokenizer on up to `max_bytes` of text, writes its folder, and returns it.

    The same source and arguments give the same files.

    Args:
      source: where the text comes from.
      out: the folder, for `tokenizer.json` and `tokenizer_config.json`; made if needed. Those files are
        replaced only once training has ended well.
      kind: `bpe` (byte-level) and `unigram` give every text back; `wordpiece` is BERT's, of lower case.
      vocab_size: V, exactly.
      seed: which documents are read where the source is larger than `max_bytes`.
      max_bytes: text to train on; memory grows with it.
      progress: called with bytes read and bytes to read.

    Raises:
      BadInputError: a vocabulary that the text is too small for, or `out` not writable.
    """
    method = KINDS[kind]
    out = Path(os.path.expanduser(out))
    if out.is_file():
        raise BadInputError(
            f"out={out} is a file; give a folder for tokenizer.json, or a name that ends in .model"
        )
    if vocab_size < method.FEWEST:
        raise BadInputError(f"vocab_size={vocab_size}: kind {kind} needs at least {method.FEWEST}")
    tokenizer = method.train(reported(sample(source, seed, max_bytes), max_bytes, progress), vocab_size)
    size = tokenizer.get_vocab_size()
    if size != vocab_size:
        raise BadInputError(
            f"vocab_size={vocab_size}: the text gives {size} tokens of kind {kind}; give that number, or "
            "more text for more tokens"
        )
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **method.SETTINGS}
    files = {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": json.dumps(config, indent=2).encode() + b"\n",
    }
    write_files(out, files)
    return read_folder(out)
