"""The files that a run is read again with: kept inside its directory, and named in `files.json` with a hash.

That is the tokenizer. `config.yaml` names it as it was given, by a path that may mean nothing elsewhere;
a run that is moved or renamed is read with its own copy.
"""

import json
import os
from pathlib import Path
from typing import Any

from scaling.config.data import DataConfig
from scaling.data.tokenizers import SentencePieceTokenizer, Tokenizer, load_tokenizer
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically

FILES = "files.json"
TOKENIZER = "tokenizer.model"
_KIND = "sentencepiece:"


def keep_files(directory: Path, data: DataConfig) -> None:
    """Copy the tokenizer that a config names into a run directory that has none yet.

    Raises:
        BadInputError: it cannot be read or written.
    """
    if not data.tokenizer.startswith(_KIND) or (directory / FILES).is_file():
        return
    kept = tokenizer_path(directory, data)
    tokenizer = SentencePieceTokenizer.load(kept)
    if kept != directory / TOKENIZER:
        write_atomically(directory / TOKENIZER, kept.read_bytes())
    files = {"tokenizer": {"file": TOKENIZER, "identity": tokenizer.identity}}
    write_atomically(directory / FILES, json.dumps(files, indent=2).encode() + b"\n")


def own_data(directory: Path, data: DataConfig) -> DataConfig:
    """The data of a config, with the run directory's own tokenizer where it has one.

    Raises:
        BadInputError: that copy is missing or another one, or the config names another tokenizer by now.
    """
    if not data.tokenizer.startswith(_KIND) or not (directory / FILES).is_file():
        return data
    own = run_tokenizer(directory, data)
    named = Path(os.path.expanduser(data.tokenizer.removeprefix(_KIND)))
    if named.is_file() and SentencePieceTokenizer.load(named).identity != own.identity:
        raise BadInputError(
            f"data.tokenizer={data.tokenizer}: not the tokenizer that {directory} was trained with, which is "
            f"{directory / TOKENIZER}; put that one back, or give another run directory"
        )
    return data.model_copy(update={"tokenizer": f"{_KIND}{directory / TOKENIZER}"})


def run_tokenizer(directory: Path, data: DataConfig) -> Tokenizer:
    """The tokenizer of a run.

    Raises:
        BadInputError: its file is gone or is another one, or the run reads ids alone.
    """
    if not data.tokenizer.startswith(_KIND):
        return load_tokenizer(data.tokenizer)
    path = tokenizer_path(directory, data)
    if not path.is_file():
        raise BadInputError(
            f"{directory}: its tokenizer is neither at {path} nor in the run directory; copy it to "
            f"{directory / TOKENIZER}"
        )
    tokenizer = SentencePieceTokenizer.load(path)
    identity = _kept(directory).get("identity")
    if identity is not None and identity != tokenizer.identity:
        raise BadInputError(
            f"{path}: not the tokenizer that {directory} was trained with ({tokenizer.identity} instead of "
            f"{identity}); put that one back"
        )
    return tokenizer


def tokenizer_path(directory: Path, data: DataConfig) -> Path:
    """Where the SentencePiece model of a run is: in its directory, else where the config says.

    Directories of earlier versions have no `files.json`; of imported runs they hold the tokenizer under the
    name that it had.
    """
    named = Path(os.path.expanduser(data.tokenizer.removeprefix(_KIND)))
    kept = _kept(directory)
    if kept:
        return directory / str(kept.get("file", TOKENIZER))
    for own in (directory / named.name, directory / TOKENIZER):
        if own.is_file():
            return own
    return named


def _kept(directory: Path) -> dict[str, Any]:
    """What `files.json` says of the tokenizer; empty where there is none."""
    path = directory / FILES
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_bytes())["tokenizer"]
        if not isinstance(kept, dict) or Path(str(kept["file"])).name != kept["file"]:
            raise ValueError("tokenizer.file is not the name of a file")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read ({str(error)[:120]})") from error
    return kept
