"""Parquet: a document per row, the text in one column.

Row groups are read page by page, in batches of rows, so that neither a file nor a row group is held in
memory. A row group belongs to the part in whose bytes it starts, so dividing a file reads none of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, NamedTuple

from scaling.config.data import DataConfig
from scaling.data.sources.files import File, Span, digest, is_url, matching_files, parts_of
from scaling.data.sources.interface import Document, Malformed, Part, Sample
from scaling.data.sources.sampling import first_documents
from scaling.runtime.errors import BadInputError

_BUFFER = 1 << 20  # bytes of a column that are read at once
_BATCH_BYTES = 4 << 20  # of text that are decoded at once, about
_BATCH_ROWS = 1024  # and the most rows: a dictionary may hold texts far larger than their mean in the file
_SAMPLED = 8  # files of an estimate
_LISTED = 20  # columns that a message lists


def open_parquet(pattern: str, config: DataConfig) -> "Parquet":
    """`parquet:GLOB`. Raises BadInputError where no file matches."""
    files = matching_files(config.source, pattern)
    return Parquet(files, config.field, skip=config.on_error == "skip")


class Parquet:
    """A document per row: the text of a column of strings or of UTF-8 bytes, of any encoding; null is empty.

    The column of a struct is named `outer.inner`.
    """

    def __init__(self, files: Sequence[File], column: str, *, skip: bool = False) -> None:
        self._files = files
        self._column = column
        self._skip = skip

    @cached_property
    def identity(self) -> str:
        """Names, sizes and modification times of the files, and the column."""
        return f"parquet:{self._column}:" + digest(self._files) + (":skip" if self._skip else "")

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Groups of files, and row groups of a large one."""
        read = partial(_read_rows, column=self._column, skip=self._skip)
        return parts_of(self._files, read, target_bytes, lambda file: True)

    def sample(self, most: int = 1 << 20) -> Sample:
        """Numbers of rows in the footers of some files, and the first rows of the largest of them."""
        step = max(1, len(self._files) // _SAMPLED)
        files = self._files[::step][:_SAMPLED]
        rows = []
        for file in files:
            with _opened(file) as parquet:
                _path_of(parquet.schema_arrow, self._column, file.name)
                rows.append(parquet.metadata.num_rows)
        scale = sum(file.size for file in self._files) / max(1, sum(file.size for file in files))
        largest = files[rows.index(max(rows))]
        first = _read_rows(Span(largest), self._column, self._skip)
        if (sample := first_documents(first, scale * sum(rows), most)) is None:
            raise BadInputError(f"data.source: {largest.name}: column {self._column!r} holds no text")
        return sample


class _Group(NamedTuple):
    """A row group as the footer describes it."""

    start: int  # its first byte, always one of the file
    rows: int
    column_bytes: int  # of the column of text, decompressed


def _read_rows(span: Span, column: str, skip: bool) -> Iterator[Document]:
    name = span.file.name
    with _opened(span.file) as parquet:
        path = _path_of(parquet.schema_arrow, column, name)
        first_row = 0  # of the row group in the file
        for number, group in enumerate(_groups(parquet, ".".join(path), span.file)):
            if span.begin <= group.start < (span.end or span.file.size):
                yield from _read_group(parquet, number, group, path, first_row, name, skip)
            first_row += group.rows


def _groups(parquet: Any, column: str, file: File) -> list[_Group]:
    """The row groups of a file. Raises BadInputError where the footer is damaged."""
    found = []
    try:
        for number in range(parquet.num_row_groups):
            metadata = parquet.metadata.row_group(number)
            chunks = [metadata.column(i) for i in range(metadata.num_columns)]
            start = chunks[0].dictionary_page_offset or chunks[0].data_page_offset
            size = next((c.total_uncompressed_size for c in chunks if c.path_in_schema == column), 0)
            found.append(_Group(min(max(0, start), file.size - 1), metadata.num_rows, size))
    except (ValueError, OSError, IndexError) as error:  # Arrow's own errors are ValueErrors
        raise BadInputError(
            f"data.source: {file.name}: its list of row groups is damaged: {_one_line(error)}"
        ) from None
    return found


def _read_group(
    parquet: Any, number: int, group: _Group, path: list[str], first_row: int, name: str, skip: bool
) -> Iterator[Document]:
    column = ".".join(path)
    mean = group.column_bytes / max(1, group.rows)
    rows = max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1.0, mean))))
    row = first_row
    # One thread: different parts are read in parallel.
    batches = parquet.iter_batches(rows, row_groups=[number], columns=[column], use_threads=False)
    while True:
        try:
            array = _column_of(next(batches), path)
        except StopIteration:
            return
        except Exception as error:
            raise BadInputError(
                f"data.source: {name}: row group {number} cannot be read from row {row} on: "
                f"{_one_line(error)}"
            ) from None
        for value in array:
            try:
                text = value.as_py()
                yield text.decode("utf-8") if isinstance(text, bytes) else text or ""
            except UnicodeDecodeError:
                reason = f"data.source: {name}: row {row}: column {column!r} is not UTF-8 text"
                if not skip:
                    raise BadInputError(reason) from None
                yield Malformed(reason)
            row += 1


def _column_of(batch: Any, path: list[str]) -> Any:
    """The array of a column, of a struct's field where the path has several names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = batch.column(path[0])
    for name in path[1:]:
        array = pc.struct_field(array, name)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _path_of(schema: Any, column: str, name: str) -> list[str]:
    """The names from the schema down to a column of text.

    Raises:
        BadInputError: there is no such column, or it holds no text.
    """
    path = [column] if column in schema.names else column.split(".")
    found = _type_of(schema, path)
    columns = dict(_leaves(schema))
    if found is None:
        names = ", ".join(list(columns)[:_LISTED]) + (", ..." if len(columns) > _LISTED else "")
        raise BadInputError(
            f"data.field={column}: {name} has no such column; its columns are: {names or 'none'}"
        )
    if not _is_text(found):
        names = ", ".join([c for c, kind in columns.items() if _is_text(kind)][:_LISTED]) or "none"
        raise BadInputError(
            f"data.field={column}: this column of {name} holds {found}, not text; columns of text: {names}"
        )
    return path


def _type_of(schema: Any, path: list[str]) -> Any:
    """The type of a column, or None."""
    import pyarrow as pa

    fields = schema
    for depth, name in enumerate(path):
        indices = fields.get_all_field_indices(name)
        if len(indices) != 1:
            return None
        found = fields.field(indices[0]).type
        if depth < len(path) - 1 and not pa.types.is_struct(found):
            return None
        fields = found
    return found


def _leaves(fields: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Columns with their types, those of structs by their dotted names."""
    import pyarrow as pa

    for i in range(len(fields) if isinstance(fields, pa.Schema) else fields.num_fields):
        field = fields.field(i)
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def _is_text(kind: Any) -> bool:
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    checks = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary,
        types.is_binary_view, types.is_null,
    )  # fmt: skip
    return any(check(kind) for check in checks)


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    """A Parquet file, whose columns are read a buffer at a time.

    Raises:
        BadInputError: it is not a Parquet file, is incomplete or cannot be read.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with file.open() as raw:
        # Of a local file Arrow's own reader is faster than a Python file.
        source = raw if is_url(file.name) else pa.OSFile(file.name)
        try:
            parquet = ParquetFile(source, buffer_size=_BUFFER, page_checksum_verification=True)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise BadInputError(
                f"data.source: {file.name} is not a Parquet file, or is incomplete: {_one_line(error)}"
            ) from None
        with parquet:
            yield parquet


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
