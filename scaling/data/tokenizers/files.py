"""The files of a tokenizer, and the names under which a run directory keeps copies of them."""

import os
from pathlib import Path

from scaling.data.tokenizers import tiktoken
from scaling.data.tokenizers.folder import TOKENIZER, tokenizer_files

# The file or folder of a run directory that holds its tokenizer, by kind.
COPIES = {
    "sentencepiece": "tokenizer.model",
    "hf": "tokenizer",
    "tiktoken": "tokenizer.tiktoken",
    "prepared": "tokenizer",
}


def kind_of(name: str) -> str | None:
    """The kind of a tokenizer that is made of files; None of `bytes` and `ids`."""
    kind = name.partition(":")[0]
    return kind if kind in COPIES else None


def place_of(name: str) -> Path:
    """The path in the name of a tokenizer that is made of files."""
    kind, _, rest = name.partition(":")
    return tiktoken.parse(rest)[1] if kind == "tiktoken" else Path(os.path.expanduser(rest))


def name_at(name: str, place: Path) -> str:
    """The name of a copy of a tokenizer at another path."""
    kind, _, rest = name.partition(":")
    return f"{kind}:{tiktoken.parse(rest)[0]}:{place}" if kind == "tiktoken" else f"{kind}:{place}"


def contents(name: str) -> dict[str, Path]:
    """The files of a tokenizer by their paths in a run directory.

    Raises:
      BadInputError: they are missing.
    """
    kind, place = kind_of(name), place_of(name)
    if kind is None:
        return {}
    if kind == "prepared":  # its settings name the tokenizer next to them
        from scaling.data.store.manifest import SETTINGS, read_settings

        corpus = read_settings(place)
        copied = {} if corpus is None else contents(inner_name(name))
        files = {SETTINGS: place / SETTINGS} | copied
        return {f"{COPIES[kind]}/{path}": file for path, file in files.items()}
    if kind != "hf":
        return {COPIES[kind]: place}
    main, *settings = tokenizer_files(place)
    named = {file.name: file for file in settings}
    # One file of any name is the tokenizer.json of the copy.
    first = TOKENIZER if place.is_file() and not settings and main.suffix == ".json" else main.name
    return {f"{COPIES[kind]}/{file}": path for file, path in ({first: main} | named).items()}


def inner_name(name: str) -> str:
    """The name of the tokenizer itself: of a prepared corpus, that of its copy next to the shards."""
    if kind_of(name) != "prepared":
        return name
    from scaling.data.store.manifest import name_in, read_settings  # the store reads tokenizers

    place = place_of(name)
    corpus = read_settings(place)
    return name if corpus is None else name_in(place, corpus.tokenizer_copy)
