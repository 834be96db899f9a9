"""A sweep directory in a bucket: its small files copied here, for the ledger, without its checkpoints."""

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from scaling.config.record import read_record
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import patiently

_FILES = ("sweep.yaml", "config.yaml", "record.json", "*/config.yaml", "*/record.json")


def is_bucket(name: str) -> bool:
    """Whether a directory is named by the URL of a file system: gs://, s3://, file://, memory://."""
    return "://" in name


@contextlib.contextmanager
def downloaded(url: str) -> Iterator[Path]:
    """Inside, a copy of the records and configs of a sweep or run directory.

    Raises:
        BadInputError: the bucket cannot be read, after half a minute of tries, or has no such directory.
    """
    with tempfile.TemporaryDirectory(prefix="scaling-bucket-") as folder:
        target = Path(folder) / (PurePosixPath(url.rstrip("/")).name or "bucket")
        target.mkdir()
        try:
            system, root = _system(url)
            patterns = [f"{root}/{pattern}" for pattern in _FILES]
            found = sorted({path for name in patterns for path in patiently(partial(system.glob, name))})
            for path in found:
                copy = target / PurePosixPath(path).relative_to(root)
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(patiently(partial(system.cat_file, path)))
        except ImportError as error:
            raise BadInputError(f"{url}: {error} (or the extra cloud of this package)") from error
        except Exception as error:  # every store has its own kinds: credentials, network, names
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadInputError(f"{url}: cannot be read: {line[:200]}") from error
        if not found:
            raise BadInputError(f"{url}: neither a sweep nor a run directory (no sweep.yaml, no config.yaml)")
        yield target


def _system(url: str) -> tuple[Any, str]:
    import fsspec

    system, root = fsspec.core.url_to_fs(url)
    return system, str(root).rstrip("/")


def finished_in(url: str) -> set[str]:
    """Ids of the runs in a bucket's sweep directory that are finished; none where it cannot be read."""
    try:
        with downloaded(url) as directory:
            records = [read_record(path.parent) for path in directory.glob("*/record.json")]
    except BadInputError:
        return set()
    return {record.id for record in records if record is not None and record.status == "finished"}
