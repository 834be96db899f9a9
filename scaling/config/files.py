"""Files written whole or not at all."""

import os
import tempfile
from pathlib import Path

from scaling.config.errors import BadInputError


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
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise BadInputError(f"{path} cannot be written: {error.strerror}; give another path") from error
