"""The tokenizer of a run: copied into the run directory, with its identity in `files.json`."""

import json
from pathlib import Path
from typing import Any

from scaling.config.data import DataConfig
from scaling.config.record import TokenizerRecord
from scaling.data.tokenizers import Tokenizer, load_tokenizer
from scaling.data.tokenizers.files import COPIES, contents, inner_name, kind_of, name_at, place_of
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically

FILES = "files.json"


def keep_files(directory: Path, data: DataConfig) -> None:
    """Copy the tokenizer that a config names into a run directory that has none yet.

    Raises:
        BadInputError: it cannot be read or written.
    """
    kind = kind_of(data.tokenizer)
    if kind is None or (directory / FILES).is_file():
        return
    held = tokenizer_path(directory, data)
    name = name_at(data.tokenizer, held)
    tokenizer = load_tokenizer(name)
    if held != directory / COPIES[kind]:
        for path, file in contents(name).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(directory / path, file.read_bytes())
    entry = {"file": COPIES[kind], **tokenizer_record(data.tokenizer, tokenizer).model_dump()}
    write_atomically(directory / FILES, json.dumps({"tokenizer": entry}, indent=2).encode() + b"\n")


def tokenizer_record(name: str, tokenizer: Tokenizer) -> TokenizerRecord:
    """What a record says of the tokenizer that `name` names."""
    return TokenizerRecord(
        kind=inner_name(name).partition(":")[0],
        identity=tokenizer.identity,
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        special=tokenizer.special.to_dict(),
    )


def own_data(directory: Path, data: DataConfig) -> DataConfig:
    """The data of a config, with the run directory's own tokenizer if it has one.

    Raises:
        BadInputError: that copy is missing or was changed, or the config now names another tokenizer.
    """
    if kind_of(data.tokenizer) is None or not (directory / FILES).is_file():
        return data
    own = run_tokenizer(directory, data)
    held = tokenizer_path(directory, data)
    if place_of(data.tokenizer).exists() and load_tokenizer(data.tokenizer).identity != own.identity:
        raise BadInputError(
            f"data.tokenizer={data.tokenizer}: not the tokenizer that {directory} was trained with, which is "
            f"{held}; put that one back, or give another run directory"
        )
    return data.model_copy(update={"tokenizer": name_at(data.tokenizer, held)})


def run_tokenizer(directory: Path, data: DataConfig) -> Tokenizer:
    """The tokenizer of a run.

    Raises:
        BadInputError: its files are missing or were changed, or the run reads only ids.
    """
    kind = kind_of(data.tokenizer)
    if kind is None:
        return load_tokenizer(data.tokenizer)
    path = tokenizer_path(directory, data)
    if not path.exists():
        raise BadInputError(
            f"{directory}: its tokenizer is neither at {path} nor in the run directory; copy it to "
            f"{directory / COPIES[kind]}"
        )
    tokenizer = load_tokenizer(name_at(data.tokenizer, path))
    identity = _kept(directory).get("identity")
    if identity is not None and identity != tokenizer.identity:
        raise BadInputError(
            f"{path}: not the tokenizer that {directory} was trained with ({tokenizer.identity} instead of "
            f"{identity}); put that one back"
        )
    return tokenizer


def tokenizer_path(directory: Path, data: DataConfig) -> Path:
    """The path of the tokenizer of a run that has files: in its directory, otherwise as in the config.

    Directories of earlier versions have no `files.json`; of imported runs they hold a SentencePiece model
    under the name that it had.
    """
    kind, named = kind_of(data.tokenizer), place_of(data.tokenizer)
    assert kind is not None
    kept = _kept(directory)
    if kept:
        return directory / str(kept.get("file", COPIES[kind]))
    if kind == "sentencepiece" and (directory / named.name).is_file():
        return directory / named.name
    own = directory / COPIES[kind]
    return own if own.exists() else named


def _kept(directory: Path) -> dict[str, Any]:
    """The entry of the tokenizer in `files.json`; empty without one."""
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
