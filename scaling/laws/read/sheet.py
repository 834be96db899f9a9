"""The cells of a text table: commas, semicolons or tabs between them, in UTF-8 or with a byte order mark."""

import codecs
import csv
import io
from pathlib import Path

from scaling.runtime.errors import BadInputError

MAX_BYTES = 256 * 2**20
SEPARATORS = ",;\t"  # of equally many cells the first
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as spreadsheets save "Unicode text"


def csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank; the header decides what separates cells.

    Raises:
        BadInputError: the file cannot be read, is not text, or its quotes do not match; with the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(
                f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are accepted"
            )
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(f"{path} cannot be read: {reason}; give a CSV file") from error
    text = _decoded(path, raw)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInputError(f"{path}, line {line}: a NUL byte; give a text file, not a binary one")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_separator(text))
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise BadInputError(
            f'{path}, line {reader.line_num}: not CSV ({error}); quote with " pairs'
        ) from error
    return rows


def _decoded(path: Path, raw: bytes) -> str:
    encoding = "utf-16" if raw.startswith(UTF16) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if encoding == "utf-16" else "UTF-8"
        raise BadInputError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not {kind} text; give a CSV in UTF-8"
        ) from error


def _separator(text: str) -> str:
    """What separates most cells of the first line that is not blank; marks in quotes do not count."""
    line = next((line for line in io.StringIO(text) if line.strip()), "")
    outside = "".join(line.split('"')[::2])
    return max(SEPARATORS, key=outside.count)
