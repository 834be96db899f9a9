"""A folder of shards must not be read as part of its own source."""

import fnmatch
import os
import re
from pathlib import Path

from scaling.config.data import DataConfig
from scaling.runtime.errors import BadInputError

# One file of each kind that a prepared folder has.
_FILES = (
    "settings.json",
    "manifest.json",
    "train.hashes",
    "train.offsets",
    "shards/00000.json",
    "shards/00000.train.array_record",
    "shards/00000.train.index",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer.model",
    "tokenizer/vocab.txt",
)


def check_outside(config: DataConfig, out: Path) -> None:
    """Raises BadInputError if the pattern of the source matches files that are written to `out`."""
    _, _, pattern = config.source.partition(":")
    if "://" in pattern or not any(mark in pattern for mark in "*?["):
        return
    expression = re.compile(_regular(os.path.abspath(os.path.expanduser(pattern))))
    folder = os.path.abspath(out.expanduser())
    if any(expression.match(f"{folder}/{name}") for name in _FILES):
        raise BadInputError(
            f"out={out}: data.source={config.source} matches the files that are written there; give a "
            "directory outside the source"
        )


def _regular(pattern: str) -> str:
    """A recursive glob as a regular expression: ** crosses directories, * and ? do not."""
    steps = []
    for step in pattern.split("/"):
        if step == "**":
            steps.append("(?:[^/]+/)*")
            continue
        plain = fnmatch.translate(step).removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z")
        steps.append(plain.replace(".*", "[^/]*") + "/")
    return "".join(steps).removesuffix("/") + r"\Z"
