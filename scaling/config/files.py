"""Files written whole or not at all."""

import os
import tempfile
from functools import partial
from pathlib import Path

from scaling.config.errors import BadInputError
from scaling.config.retry import patiently

_PART = ".part"


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` through a temporary neighbour, so that no reader sees half of it.

    Raises:
        BadInputError: the parent directory is missing, or the path cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise BadInputError(
            f"{path}: the directory {path.parent} does not exist; make it, or give another path"
        )
    if path.is_dir():
        raise BadInputError(f"{path} is a directory; give the path of a file")
    try:
        replace(path, content)
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}; give another path") from error


def replace(path: Path, content: bytes) -> None:
    """As `write_atomically`, patient with a network disk; raises OSError."""
    patiently(partial(_replace, path, content))


def _replace(path: Path, content: bytes) -> None:
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=_PART)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise


def clear_parts(directory: Path) -> None:
    """Remove what processes that were killed in `replace` left in a directory nobody writes to now."""
    for part in directory.glob(f".*{_PART}"):
        part.unlink(missing_ok=True)
