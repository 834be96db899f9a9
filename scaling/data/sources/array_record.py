"""ArrayRecord files: a document per record, as UTF-8 text, as JSON or as tf.train.Example."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from scaling.config.data import DataConfig
from scaling.data.sources.files import File, Span, digest, is_url, matching_files, parts_of
from scaling.data.sources.interface import Document, Malformed, Part, Sample
from scaling.data.sources.json_lines import text_of
from scaling.data.sources.sampling import first_documents
from scaling.runtime.errors import BadInputError

_SAMPLED = 8  # files of an estimate
_BATCH = 256  # records that are read at once, at most
_BATCH_BYTES = 1 << 20  # of the file, about


def open_array_record(pattern: str, config: DataConfig) -> "ArrayRecord":
    """`arrayrecord:GLOB`. Raises BadInputError where no file matches."""
    files = matching_files(config.source, pattern)
    return ArrayRecord(files, config.field, skip=config.on_error == "skip")


class ArrayRecord:
    """A document per record. The first record of a file decides how all of its records are read.

    A tf.train.Example gives the text of the feature `field`, a JSON object the string under `field`; any
    other record is UTF-8 text itself. A remote file is copied to a temporary one while it is read.
    """

    def __init__(self, files: Sequence[File], field: str, *, skip: bool = False) -> None:
        self._files = files
        self._field = field
        self._skip = skip

    @cached_property
    def identity(self) -> str:
        """Names, sizes and modification times of the files, and the field."""
        return f"arrayrecord:{self._field}:" + digest(self._files) + (":skip" if self._skip else "")

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Groups of files, and ranges of records of a large local one."""
        read = partial(_read_records, field=self._field, skip=self._skip)
        return parts_of(self._files, read, target_bytes, lambda file: not is_url(file.name))

    def sample(self, most: int = 1 << 20) -> Sample:
        """Numbers of records in some files, and the first records of the first one."""
        some = self._files[:: max(1, len(self._files) // _SAMPLED)][:_SAMPLED]
        records = 0
        for file in some:
            with _opened(file) as reader:
                records += reader.num_records()
        scale = sum(file.size for file in self._files) / max(1, sum(file.size for file in some))
        first = _read_records(Span(self._files[0]), self._field, self._skip)
        if (sample := first_documents(first, records * scale, most)) is None:
            raise BadInputError(f"data.source: {self._files[0].name}: the file is empty")
        return sample


def _read_records(span: Span, field: str, skip: bool) -> Iterator[Document]:
    name = span.file.name
    with _opened(span.file) as reader:
        count = reader.num_records()

        def number(byte: int) -> int:
            return -(-byte * count // max(1, span.file.size))

        begin, end = number(span.begin), count if span.end is None else number(span.end)
        if begin == end:
            return
        text_in = _kind_of(_records(reader, 0, 1, name)[0], field)
        batch = max(1, min(_BATCH, _BATCH_BYTES * count // max(1, span.file.size)))
        for first in range(begin, end, batch):
            for i, record in enumerate(_records(reader, first, min(end, first + batch), name), first):
                try:
                    yield text_in(record)
                except ValueError as error:
                    reason = f"data.source: {name}: record {i}: {error}"
                    if not skip:
                        raise BadInputError(reason) from None
                    yield Malformed(reason)


def _kind_of(record: bytes, field: str) -> Callable[[bytes], str]:
    """How a record becomes text. The functions raise ValueError for one of another kind."""
    if _features(record):
        return partial(_text_of_example, field=field)
    try:
        if isinstance(json.loads(record), dict):
            return partial(text_of, field=field)
    except (ValueError, RecursionError):
        pass
    return _text_of_bytes


def _text_of_bytes(record: bytes) -> str:
    try:
        return record.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None


def _text_of_example(record: bytes, field: str) -> str:
    features = _features(record)
    if not features:
        raise ValueError("not a tf.train.Example, as the first record is")
    if field not in features:
        raise ValueError(
            f"no feature {field!r} (data.field); its features are: {', '.join(sorted(features))}"
        )
    feature = features[field]
    kind = feature.WhichOneof("kind")
    values = feature.bytes_list.value
    if kind not in (None, "bytes_list") or len(values) > 1:
        raise ValueError(f"feature {field!r} holds {kind or 'nothing'}, expected one string")
    return _text_of_bytes(values[0]) if values else ""


def _features(record: bytes) -> dict[str, Any]:
    """The features of a tf.train.Example; none where the record is something else."""
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        return dict(tf_example_pb2.Example.FromString(record).features.feature)
    except DecodeError:
        return {}


def _records(reader: Any, begin: int, end: int, name: str) -> list[bytes]:
    try:
        found: list[bytes] = reader.read(begin, end)
    except (RuntimeError, IndexError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInputError(f"data.source: {name}: records {begin} to {end - 1}: {reason}") from None
    return found


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    """A reader of a file. Raises BadInputError where it is not ArrayRecord, or incomplete."""
    from array_record.python.array_record_module import ArrayRecordReader

    with file.open() as raw, tempfile.NamedTemporaryFile() as copy:
        path = file.name
        if is_url(path):  # the library reads local paths
            shutil.copyfileobj(raw, copy, 1 << 20)
            copy.flush()
            path = copy.name
        reader = ArrayRecordReader(path)
        if not reader.ok():
            reason = ""
            try:
                reader.close()
            except RuntimeError as error:
                reason = ": " + " ".join(str(error).split())[:300]
            raise BadInputError(
                f"data.source: {file.name} is not an ArrayRecord file, or is incomplete{reason}"
            )
        yield reader
        reader.close()
