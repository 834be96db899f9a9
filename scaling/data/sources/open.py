"""From `data.source` to a source, by its prefix."""

from collections.abc import Callable
from pathlib import PurePath

from scaling.config.data import EMBEDDED_SOURCE, DataConfig
from scaling.data.sources.files import matching_files
from scaling.data.sources.interface import Source
from scaling.data.sources.json_lines import open_json_lines
from scaling.data.sources.text import open_text, stdlib_source
from scaling.data.sources.token_files import open_tokens


def open_source(config: DataConfig) -> Source:
    """The documents that `config.source` names.

    Raises:
      BadInputError: nothing is there, or it cannot be read.
    """
    kind, _, rest = config.source.partition(":")
    return OPENERS[kind](rest, config)


def split_rule(config: DataConfig) -> str:
    """How the corpus of a config is split into training and validation, in words.

    Raises:
        BadInputError: no file matches.
    """
    share = f"{100 * config.validation_fraction:.3g}%"
    kind, _, rest = config.source.partition(":")
    if kind == "prepared":
        from scaling.data.sources.prepared import open_prepared

        return open_prepared(rest, config).manifest.settings.split_rule
    if kind == "text" and len(files := matching_files(config.source, rest)) == 1:
        name = PurePath(files[0].name).name
        return f"by position: the last {share} of {name} is validation"
    return f"by document: {share} of the documents, chosen by a hash of their text, are validation"


def _open_parquet(pattern: str, config: DataConfig) -> Source:
    from scaling.data.sources.parquet import open_parquet

    return open_parquet(pattern, config)


def _open_hub(spec: str, config: DataConfig) -> Source:
    from scaling.data.sources.hub import open_hub

    return open_hub(spec, config)


def _open_array_record(pattern: str, config: DataConfig) -> Source:
    from scaling.data.sources.array_record import open_array_record

    return open_array_record(pattern, config)


def _open_tfds(spec: str, config: DataConfig) -> Source:
    from scaling.data.sources.tfds import open_tfds

    return open_tfds(spec, config)


def _open_prepared(rest: str, config: DataConfig) -> Source:
    from scaling.data.sources.prepared import open_prepared

    return open_prepared(rest, config)


# By prefix: from what follows it, and the config, to documents.
OPENERS: dict[str, Callable[[str, DataConfig], Source]] = {
    EMBEDDED_SOURCE: lambda rest, config: stdlib_source(),
    "text": open_text,
    "jsonl": open_json_lines,
    "parquet": _open_parquet,
    "hf": _open_hub,
    "tfds": _open_tfds,
    "arrayrecord": _open_array_record,
    "tokens": open_tokens,
    "prepared": _open_prepared,
}
