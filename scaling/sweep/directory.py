"""A sweep directory: run directories, and `sweep.yaml`, which says what they are of."""

from pathlib import Path

from scaling.config.errors import BadInputError
from scaling.config.files import write_atomically
from scaling.config.load import dump_yaml, read_yaml, validate
from scaling.config.sweep import SweepConfig


def prepare(sweep: SweepConfig, directory: Path) -> None:
    """Make the sweep directory and write `sweep.yaml`.

    Raises:
        BadInputError: the directory holds another sweep or cannot be written.
    """
    path = directory / "sweep.yaml"
    try:
        if path.is_file():
            held = validate(SweepConfig, read_yaml(path), str(path))
            if held.name != sweep.name:
                raise BadInputError(f"{directory}: holds the sweep {held.name!r}; choose another --out")
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dump_yaml(sweep).encode())
    except OSError as error:
        raise BadInputError(f"{directory}: cannot be written ({error.strerror})") from error
