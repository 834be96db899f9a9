"""JSON lines: a document per line, the string in one field."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import IO

from scaling.config.data import DataConfig
from scaling.data.sources.files import File, Span, digest, estimated_sizes, matching_files, parts_of
from scaling.data.sources.interface import Document, Malformed, Part, Sample
from scaling.runtime.errors import BadInputError


def open_json_lines(pattern: str, config: DataConfig) -> "JsonLines":
    """`jsonl:GLOB`. Raises BadInputError where no file matches."""
    return JsonLines(matching_files(config.source, pattern), config.field, skip=config.on_error == "skip")


class JsonLines:
    """A document per line: the string under `field` of each line's JSON object; a blank line is empty.

    Only LF ends a line. Compressed files (gzip, zstandard) are decompressed as they are read.
    """

    def __init__(self, files: Sequence[File], field: str, *, skip: bool = False) -> None:
        self._files = files
        self._field = field
        self._skip = skip

    @cached_property
    def identity(self) -> str:
        """Names, sizes and modification times of the files, and the field."""
        return f"jsonl:{self._field}:" + digest(self._files) + (":skip" if self._skip else "")

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Groups of files, and ranges of lines of a large one; a compressed file is not divided."""
        read = partial(_read_lines, field=self._field, skip=self._skip)
        return parts_of(self._files, read, target_bytes, lambda file: not file.is_compressed())

    def sample(self, most: int = 1 << 20) -> Sample:
        """The first lines of the largest file."""
        sizes = estimated_sizes(self._files)
        total = sum(sizes)
        file = self._files[sizes.index(max(sizes))]
        if total == 0:
            raise BadInputError(f"data.source: {file.name}: the files are empty")
        with file.open_plain() as stream:
            head = stream.read(most)
        lines = head.split(b"\n")
        if len(head) == most and len(lines) > 1:
            lines.pop()  # cut short
        texts: list[str] = []
        for number, line in enumerate(lines, 1):
            try:
                texts.append(text_of(line, self._field))
            except ValueError as error:
                if not self._skip:
                    raise BadInputError(f"data.source: {file.name}:{number}: {error}") from None
        texts = [text for text in texts if text]
        scale = total / max(1, sum(len(line) + 1 for line in lines))
        text_bytes = sum(len(text.encode()) for text in texts)
        return Sample([*texts], max(1.0, scale * len(texts)), scale * text_bytes)


def text_of(line: bytes, field: str) -> str:
    """The text of one line; empty for a blank line.

    Raises:
        ValueError: it is not a JSON object with text in its field.
    """
    if not line.strip():
        return ""
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object on each line, found {type(record).__name__}")
    if field not in record:
        fields = ", ".join(sorted(map(str, record))) or "none"
        raise ValueError(f"no field {field!r} (data.field); its fields are: {fields}")
    text = record[field]
    if not isinstance(text, str):
        raise ValueError(f"field {field!r} holds {type(text).__name__}, expected a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"field {field!r} holds half of a surrogate pair, which is not text") from None
    return text


def _read_lines(span: Span, field: str, skip: bool) -> Iterator[Document]:
    before: int | None = None  # lines of earlier spans, counted where a message needs it
    with span.file.open_plain() as stream:
        position = 0
        if span.begin:
            # The line that holds the byte before belongs to the span before.
            stream.seek(span.begin - 1)
            position = span.begin - 1 + len(stream.readline())
        number = 0  # of the line in the span, from 1
        while (span.end is None or position < span.end) and (line := stream.readline()):
            number += 1
            try:
                yield text_of(line, field)
            except ValueError as error:
                before = _lines_before(span) if before is None else before
                reason = f"data.source: {span.file.name}:{before + number}: {error}"
                if not skip:
                    raise BadInputError(reason) from None
                yield Malformed(reason)
            position += len(line)


def _lines_before(span: Span) -> int:
    """Lines of the file that start before a span."""
    if span.begin == 0:
        return 0
    # A line starts at the beginning and after each newline.
    with span.file.open_plain() as stream:
        return 1 + _newlines(stream, span.begin - 1)


def _newlines(stream: IO[bytes], length: int) -> int:
    """Newlines among the first bytes of a stream."""
    count = 0
    while length > 0 and (block := stream.read(min(length, 1 << 20))):
        count += block.count(b"\n")
        length -= len(block)
    return count
