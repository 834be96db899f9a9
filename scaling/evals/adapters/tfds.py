"""Entries of a TensorFlow Datasets dataset that is prepared as ArrayRecord; no TensorFlow is needed."""

from typing import Any

from scaling.config.errors import BadInputError
from scaling.evals.adapters.reading import Entry


def read_tfds(spec: str) -> list[Entry]:
    """The examples of `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`, the split `validation` where none is named.

    Raises:
        BadInputError: no such dataset or split, or one that was prepared in another format.
    """
    from scaling.data.tfds_source import open_examples

    examples = open_examples(spec.removeprefix("tfds:"), "validation")
    if len(examples) == 0:
        raise BadInputError(f"{spec}: the split is empty")
    return [Entry(f"{spec}: example {i}", _plain(examples[i])) for i in range(len(examples))]


def _plain(value: Any) -> Any:
    """Bytes as text and arrays as lists, as a JSON file would hold them."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
