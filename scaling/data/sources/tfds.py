"""Documents of a TensorFlow Datasets dataset, read through ArrayRecord with no TensorFlow installed."""

import contextlib
import hashlib
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from scaling.config.data import DataConfig
from scaling.data.sources.interface import Document, Malformed, Part, Sample
from scaling.runtime.errors import BadInputError

_SAMPLED = 64  # examples of an estimate
_SPEC = re.compile(
    r"(?P<dataset>\w+(?:/[\w.+-]+)?)(?::(?P<version>\d+(?:\.(?:\d+|\*)){2}))?(?::(?P<split>[^\d:].*))?"
)


def open_tfds(spec: str, config: DataConfig) -> "TfdsSource":
    """`tfds:NAME[/CONFIG][:VERSION][:SPLIT]`. Raises as `TfdsSource`."""
    return TfdsSource(spec, config.field, config.data_dir, skip=config.on_error == "skip")


class TfdsSource:
    """The text of one feature of one split.

    `spec` is NAME[/CONFIG][:VERSION][:SPLIT]; the split (default `train`) may be a slice, `train[:10%]`. A
    dataset that is already prepared as ArrayRecord under `data_dir` (default `$TFDS_DATA_DIR`, then TFDS's
    own) is read from disk, its building code not needed; otherwise it is downloaded and prepared.

    Raises:
      BadInputError: an unknown dataset, configuration, split or feature; a feature that is not text; a
        dataset prepared in a format without random access; a download that failed.
    """

    def __init__(self, spec: str, field: str, data_dir: str | None, *, skip: bool = False) -> None:
        self._dataset = _Dataset(spec, field, os.path.expanduser(data_dir) if data_dir else None, skip)
        self._builder, self._examples = _open(self._dataset)

    @cached_property
    def identity(self) -> str:
        """Full name and version, split, feature, and the sizes and times of the prepared files."""
        digest = hashlib.blake2b(digest_size=16)
        folder = str(self._builder.data_dir)
        # A remote folder (gs://) is named by its files' recorded sizes alone.
        for entry in sorted(os.scandir(folder), key=lambda e: e.name) if os.path.isdir(folder) else ():
            stat = entry.stat()
            digest.update(f"{entry.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        for name, split in sorted(self._builder.info.splits.items()):
            digest.update(f"{name}\0{split.shard_lengths}\0{split.num_bytes}\n".encode())
        dataset = self._dataset
        name = f"tfds:{self._builder.info.full_name}:{dataset.split}:{dataset.field}:{digest.hexdigest()}"
        return name + (":skip" if dataset.skip else "")

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Ranges of examples."""
        count = len(self._examples)
        number = min(count, math.ceil(count * self._example_bytes / target_bytes)) or 1
        bounds = [count * i // number for i in range(number + 1)]
        return [_Examples(self._dataset, *pair, self._example_bytes) for pair in pairwise(bounds)]

    def sample(self, most: int = 1 << 20) -> Sample:
        """Examples spread over the split."""
        count = len(self._examples)
        step = max(1, count // _SAMPLED)
        texts: list[str] = []
        for i in range(0, count, step)[:_SAMPLED]:
            document = self._dataset.text_of(self._examples[i], i)
            texts += [document] if isinstance(document, str) else []
        mean = sum(len(text.encode()) for text in texts) / max(1, len(texts))
        return Sample([*texts], count, mean * count)

    @cached_property
    def _example_bytes(self) -> float:
        """Mean bytes of an example on disk, all features included."""
        splits = self._builder.info.splits.values()
        examples = sum(split.num_examples for split in splits)
        return max(1.0, sum(split.num_bytes for split in splits) / max(1, examples))


@dataclass(frozen=True)
class _Dataset:
    """A split of a dataset by name, so that a part opens it in its own process."""

    spec: str
    field: str
    data_dir: str | None
    skip: bool

    @property
    def name(self) -> str:
        return _parse(self.spec)[0]

    @property
    def split(self) -> str:
        return _parse(self.spec)[2]

    def text_of(self, example: dict[str, Any], number: int) -> str | Malformed:
        """The text of an example. Raises BadInputError where it is not UTF-8."""
        value = example[self.field]
        try:
            return value if isinstance(value, str) else bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            reason = (
                f"data.field={self.field}: example {number} of TFDS dataset {self.name!r} is not UTF-8 text"
            )
            if not self.skip:
                raise BadInputError(reason) from None
            return Malformed(reason)


@dataclass(frozen=True)
class _Examples:
    """The examples of a split from `begin` to before `end`."""

    dataset: _Dataset
    begin: int
    end: int
    example_bytes: float

    @property
    def name(self) -> str:
        return f"tfds:{self.dataset.spec}[{self.begin}:{self.end}]"

    @property
    def size(self) -> int:
        return round((self.end - self.begin) * self.example_bytes)

    def documents(self) -> Iterator[Document]:
        _, examples = _open(self.dataset)
        for i in range(self.begin, self.end):
            try:
                example = examples[i]
            except Exception as error:
                raise BadInputError(
                    f"data.source: cannot read example {i} of TFDS dataset {self.dataset.name!r}: "
                    f"{_one_line(error)}"
                ) from None
            yield self.dataset.text_of(example, i)


@lru_cache(maxsize=8)
def _open(dataset: _Dataset) -> tuple[Any, Sequence[dict[str, Any]]]:
    """The builder and the examples of a split. Raises BadInputError."""
    name, version, split = _parse(dataset.spec)
    field = dataset.field
    builder = _prepared_builder(f"{name}:{version}" if version else name, dataset.data_dir)
    features = builder.info.features
    if field not in features:
        raise BadInputError(
            f"data.field={field}: TFDS dataset {name!r} has no such feature; "
            f"the features there are: {', '.join(sorted(features))}"
        )
    if features[field].shape != () or np.dtype(features[field].np_dtype).kind not in "OSU":
        raise BadInputError(
            f"data.field={field}: this feature of TFDS dataset {name!r} is {features[field]}, not text"
        )
    with _quiet():
        try:
            examples: Sequence[dict[str, Any]] = builder.as_data_source(split=split)
        except Exception as error:
            if "0 length" in str(error):
                raise _empty(split, name) from None
            raise BadInputError(
                f"data.source: split {split!r} of TFDS dataset {name!r}: {_one_line(error)}"
            ) from None
    if len(examples) == 0:
        raise _empty(split, name)
    return builder, examples


def _empty(split: str, name: str) -> BadInputError:
    return BadInputError(f"data.source: split {split!r} of TFDS dataset {name!r} is empty")


def _parse(spec: str) -> tuple[str, str | None, str]:
    match = _SPEC.fullmatch(spec)
    if not match:
        raise BadInputError(
            f"data.source=tfds:{spec}: give tfds:NAME[/CONFIG][:VERSION][:SPLIT], "
            "for example tfds:lm1b:train or tfds:wiki40b/en:1.3.0:validation"
        )
    return match["dataset"], match["version"], match["split"] or "train"


def is_prepared(spec: str, data_dir: str | None) -> bool:
    """Whether a dataset is on disk already, so that opening it downloads nothing.

    Raises:
      BadInputError: no such dataset, or not a specification of one.
    """
    name, version, _ = _parse(spec)
    data_dir = os.path.expanduser(data_dir) if data_dir else None
    builder = _builder(f"{name}:{version}" if version else name, data_dir)
    with _quiet():
        return bool(builder.is_prepared())


def open_examples(spec: str, split: str) -> Sequence[dict[str, Any]]:
    """All features of NAME[/CONFIG][:VERSION][:SPLIT], example by example; `split` where none is named.

    Raises:
      BadInputError: as `TfdsSource`.
    """
    name, version, _ = _parse(spec)
    named = _SPEC.fullmatch(spec)
    split = (named and named["split"]) or split
    builder = _prepared_builder(f"{name}:{version}" if version else name, None)
    with _quiet():
        try:
            examples: Sequence[dict[str, Any]] = builder.as_data_source(split=split)
        except Exception as error:
            raise BadInputError(
                f"tfds:{spec}: split {split!r} of TFDS dataset {name!r}: {_one_line(error)}"
            ) from None
    return examples


def _builder(name: str, data_dir: str | None) -> Any:
    with _quiet():
        import tensorflow_datasets as tfds

        try:
            return tfds.builder(name, data_dir=data_dir, file_format="array_record")
        except tfds.core.DatasetNotFoundError:
            where = data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
            raise BadInputError(
                f"data.source=tfds:{name}: TFDS knows no dataset of this name, and none is prepared under "
                f"{where} (data.data_dir)"
            ) from None
        except Exception as error:
            raise BadInputError(f"data.source=tfds:{name}: {_one_line(error)}") from None


def _prepared_builder(name: str, data_dir: str | None) -> Any:
    builder = _builder(name, data_dir)
    with _quiet():
        try:
            if not builder.is_prepared():
                builder.download_and_prepare()
        except Exception as error:
            raise BadInputError(
                f"data.source=tfds:{name}: not prepared as ArrayRecord under {builder.data_dir}, and "
                f"preparing it failed: {type(error).__name__}: {_one_line(error)}"
            ) from None
        return builder


def _one_line(error: BaseException) -> str:
    """The first lines of TFDS's message: the rest is a catalogue of every dataset there is."""
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS prints its progress on stdout, which belongs to the command's answer, and warns through absl."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.set_verbosity(verbosity)
