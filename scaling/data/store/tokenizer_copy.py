"""The tokenizer of a prepared corpus: its files are copied next to the shards, and loaded from there."""

import shutil
from pathlib import Path

from scaling.data.store.manifest import name_in
from scaling.data.tokenizers import load_tokenizer
from scaling.data.tokenizers.files import COPIES, contents, kind_of, name_at
from scaling.runtime.errors import BadInputError


def copied_name(name: str) -> str:
    """The name of the copy of a tokenizer, with a path relative to the corpus."""
    kind = kind_of(name)
    return name if kind is None else name_at(name, Path(COPIES[kind]))


def copy_tokenizer(name: str, folder: Path, identity: str) -> None:
    """Copy the files of a tokenizer into `folder`, a corpus.

    Raises:
        BadInputError: the copy is another tokenizer.
        OSError: a file cannot be copied.
    """
    for path, file in contents(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / path)
    copy = load_tokenizer(name_in(folder, copied_name(name))).identity
    if copy != identity:
        raise BadInputError(
            f"data.tokenizer={name}: its copy is another tokenizer ({copy} instead of {identity})"
        )
