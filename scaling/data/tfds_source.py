"""Documents of a TensorFlow Datasets dataset, read through ArrayRecord with no TensorFlow installed."""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from scaling.runtime.errors import BadInputError

_SPEC = re.compile(
    r"(?P<dataset>\w+(?:/[\w.+-]+)?)(?::(?P<version>\d+(?:\.(?:\d+|\*)){2}))?(?::(?P<split>[^\d:].*))?"
)


class TfdsDocuments:
    """The text of one feature of one split.

    `spec` is NAME[/CONFIG][:VERSION][:SPLIT]; the split (default `train`) may be a slice, `train[:10%]`. A
    dataset that is already prepared as ArrayRecord under `data_dir` (default `$TFDS_DATA_DIR`, then TFDS's
    own) is read from disk, its building code not needed; otherwise it is downloaded and prepared.

    Raises:
      BadInputError: an unknown dataset, configuration, split or feature; a feature that is not text; a
        dataset prepared in a format without random access; a download that failed.
    """

    def __init__(self, spec: str, field: str, data_dir: str | None) -> None:
        self._name, version, self._split = _parse(spec)
        self._field = field
        data_dir = os.path.expanduser(data_dir) if data_dir else None
        self._builder = _prepared_builder(f"{self._name}:{version}" if version else self._name, data_dir)
        features = self._builder.info.features
        if field not in features:
            raise BadInputError(
                f"data.field={field}: TFDS dataset {self._name!r} has no such feature; "
                f"the features there are: {', '.join(sorted(features))}"
            )
        if features[field].shape != () or np.dtype(features[field].np_dtype).kind not in "OSU":
            raise BadInputError(
                f"data.field={field}: this feature of TFDS dataset {self._name!r} is "
                f"{features[field]}, not text"
            )
        with _quiet():
            try:
                self._examples: Sequence[dict[str, Any]] = self._builder.as_data_source(split=self._split)
            except Exception as error:
                if "0 length" in str(error):
                    raise _empty(self._split, self._name) from None
                raise BadInputError(
                    f"data.source: split {self._split!r} of TFDS dataset {self._name!r}: {_one_line(error)}"
                ) from None
        if len(self._examples) == 0:
            raise _empty(self._split, self._name)

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
        return f"tfds:{self._builder.info.full_name}:{self._split}:{self._field}:{digest.hexdigest()}"

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> str:
        try:
            value = self._examples[index][self._field]
            return value if isinstance(value, str) else bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise BadInputError(
                f"data.field={self._field}: example {index} of TFDS dataset {self._name!r} is not UTF-8 text"
            ) from None
        except Exception as error:
            raise BadInputError(
                f"data.source: cannot read example {index} of TFDS dataset {self._name!r}: {_one_line(error)}"
            ) from None


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
      BadInputError: as `TfdsDocuments`.
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
