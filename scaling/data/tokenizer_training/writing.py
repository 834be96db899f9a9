"""Files that appear together, once each is complete."""

import os
import tempfile
from pathlib import Path

from scaling.runtime.errors import BadInputError


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files into a folder, which is made if needed; existing ones are replaced once all are complete.

    Raises:
      BadInputError: they cannot be written.
    """
    temporary: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as file:
                temporary[name] = file.name
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary[name], 0o644)  # a temporary file is private to its writer
        for name in files:
            os.replace(temporary[name], folder / name)
    except OSError as error:
        for path in temporary.values():
            Path(path).unlink(missing_ok=True)
        where = folder / next(iter(files))
        raise BadInputError(f"out={where}: cannot write the model: {error.strerror}") from None
