"""Datasets of the Hugging Face hub, and local folders of the hub's layout, through the `datasets` library.

Parquet files, of which most datasets consist, and JSON lines are read as those of `parquet:` and `jsonl:`;
other formats in the shards that the library streams. Nothing is copied to disk.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from scaling.config.data import DataConfig
from scaling.data.sources.files import File, digest, find_files
from scaling.data.sources.interface import Document, Malformed, Part, Sample, Source
from scaling.data.sources.json_lines import JsonLines
from scaling.data.sources.parquet import Parquet
from scaling.runtime.errors import BadInputError

_SPEC = re.compile(r"(?P<name>.+?)(?::(?P<split>[\w.\-\[\]:%+]+))?")
_LINES = re.compile(r"\.(jsonl|ndjson)(\.gz|\.zst)?$")
_LOCAL = ("/", "./", "../", "~")


@dataclass(frozen=True)
class Dataset:
    """A split of a dataset, by name, so that a part opens it in its own process."""

    spec: str
    path: str  # a folder, or OWNER/DATASET
    config: str | None
    split: str


def parse(spec: str) -> Dataset:
    """NAME[/CONFIG][:SPLIT], NAME being a folder or OWNER/DATASET, or DATASET alone for the oldest ones.

    Raises:
        BadInputError: it is written as a folder that does not exist, or has too many parts.
    """
    if os.path.isdir(folder := os.path.expanduser(spec)):
        return Dataset(spec, folder, None, "train")
    match = _SPEC.fullmatch(spec)
    name, split = (match["name"], match["split"] or "train") if match else (spec, "train")
    folder = os.path.expanduser(name).rstrip("/")
    parent, last = os.path.split(folder)
    if os.path.isdir(folder):
        return Dataset(spec, folder, None, split)
    if parent and os.path.isfile(os.path.join(parent, "README.md")):  # it defines the configurations
        return Dataset(spec, parent, last, split)
    if name.startswith(_LOCAL):
        raise BadInputError(f"data.source=hf:{spec}: no folder {name}")
    parts = name.strip("/").split("/")
    if len(parts) > 3:
        raise BadInputError(
            f"data.source=hf:{spec}: give hf:OWNER/DATASET[/CONFIG][:SPLIT] or hf:FOLDER[/CONFIG][:SPLIT]"
        )
    return Dataset(spec, "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split)


def is_local(spec: str) -> bool:
    """Whether a dataset is a folder, so that opening it downloads nothing. Raises as `parse`."""
    return os.path.isdir(parse(spec).path)


def open_hub(spec: str, config: DataConfig) -> Source:
    """`hf:NAME[/CONFIG][:SPLIT]`; the split is `train` by default.

    Raises:
        BadInputError: `datasets` is not installed, there is no such dataset, configuration or split, or the
            hub cannot be reached.
    """
    dataset = parse(spec)
    builder = _builder(dataset)
    files = _files(builder, dataset)
    skip = config.on_error == "skip"
    if builder.name == "parquet" and files:
        return Parquet(files, config.field, skip=skip)
    if files and all(_LINES.search(file.name) for file in files):
        # The library would turn a list or an object among strings into text.
        return JsonLines(files, config.field, skip=skip)
    return HubDataset(dataset, config.field, files, skip=skip)


class HubDataset:
    """The text of one column of a split that the library streams: CSV, JSON, text, or its own cache."""

    def __init__(self, dataset: Dataset, field: str, files: list[File], *, skip: bool = False) -> None:
        self._dataset = dataset
        self._field = field
        self._files = files
        self._skip = skip
        self._stream = _stream(dataset)

    @cached_property
    def identity(self) -> str:
        """Name, version, split, column, and the files."""
        dataset, builder = self._dataset, _builder(self._dataset)
        name = f"hf:{dataset.path}:{builder.config.name}:{dataset.split}:{builder.hash}:{self._field}:"
        return name + digest(self._files) + (":skip" if self._skip else "")

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """The shards of the library, which are files or ranges of them."""
        count = self._stream.num_shards
        size = self._size // count
        return [_Shard(self._dataset, i, self._field, self._skip, size) for i in range(count)]

    def sample(self, most: int = 1 << 20) -> Sample | None:
        """The first rows; None where nothing says how many there are."""
        texts: list[str] = []
        rows, row_bytes, text_bytes = 0, 0, 0
        for row in self._stream:
            text = row.get(self._field)
            rows += 1
            row_bytes += sum(len(str(value).encode()) + 1 for value in row.values())
            if isinstance(text, str) and text:
                texts.append(text)
                text_bytes += len(text.encode())
            if text_bytes >= most:
                break
        splits = _builder(self._dataset).info.splits or {}
        known = splits[self._dataset.split].num_examples if self._dataset.split in splits else 0
        total = known or self._size / max(1, row_bytes) * rows
        if not texts or not total:
            return None
        return Sample([*texts], total * len(texts) / rows, total * text_bytes / rows)

    @property
    def _size(self) -> int:
        return sum(file.size for file in self._files)


@dataclass(frozen=True)
class _Shard:
    """A shard of a dataset that is streamed."""

    dataset: Dataset
    index: int
    field: str
    skip: bool
    size: int

    @property
    def name(self) -> str:
        return f"hf:{self.dataset.spec}[shard {self.index}]"

    def documents(self) -> Iterator[Document]:
        stream = _stream(self.dataset)
        rows = iter(stream.shard(num_shards=stream.num_shards, index=self.index))
        number = 0
        while True:
            try:
                with _quiet():
                    row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # the library has a type for each of its formats
                raise BadInputError(f"data.source: {self.name}: row {number}: {_one_line(error)}") from None
            yield self._text_of(row, number)
            number += 1

    def _text_of(self, row: dict[str, Any], number: int) -> Document:
        if self.field not in row:
            raise BadInputError(
                f"data.field={self.field}: {self.name} has no such column; its columns are: {', '.join(row)}"
            )
        text = row[self.field]
        if text is None or isinstance(text, str):
            return text or ""
        reason = (
            f"data.source: {self.name}: row {number}: column {self.field!r} holds {type(text).__name__}, "
            "expected a string"
        )
        if not self.skip:
            raise BadInputError(reason)
        return Malformed(reason)


@lru_cache(maxsize=8)
def _builder(dataset: Dataset) -> Any:
    """What the library makes of a name. Raises BadInputError."""
    try:
        import datasets
    except ImportError:
        raise BadInputError(
            f'data.source=hf:{dataset.spec}: reading datasets of the hub needs: pip install "scaling-lab[hf]"'
        ) from None
    try:
        with _quiet():
            return datasets.load_dataset_builder(dataset.path, dataset.config)
    except ConnectionError as error:
        raise BadInputError(
            f"data.source=hf:{dataset.spec}: {_one_line(error)}; check the name and the network, or give a "
            "local folder"
        ) from None
    except Exception as error:  # among others of the hub's client, of HTTP and of YAML
        raise BadInputError(f"data.source=hf:{dataset.spec}: {_one_line(error)}") from None


@lru_cache(maxsize=8)
def _stream(dataset: Dataset) -> Any:
    """A split as the library streams it. Raises BadInputError."""
    try:
        with _quiet():
            return _builder(dataset).as_streaming_dataset(dataset.split)
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"data.source=hf:{dataset.spec}: {_one_line(error)}") from None


def _files(builder: Any, dataset: Dataset) -> list[File]:
    """The files of a split, none of a dataset in the library's cache. Raises BadInputError for its name."""
    data_files = builder.config.data_files
    if not data_files:
        return []
    if dataset.split not in data_files:
        raise BadInputError(
            f"data.source=hf:{dataset.spec}: no split {dataset.split!r}; the splits are: "
            f"{', '.join(map(str, data_files))}"
        )
    return [file for name in data_files[dataset.split] for file in find_files(name)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library and its client of the hub report on stderr what their exceptions say again."""
    import datasets
    import huggingface_hub

    logs = (datasets.logging, huggingface_hub.logging)
    verbosities = [log.get_verbosity() for log in logs]
    bars = datasets.is_progress_bar_enabled()
    for log in logs:
        log.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for log, verbosity in zip(logs, verbosities, strict=True):
            log.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
