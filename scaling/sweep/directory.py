"""A sweep directory: `sweep.yaml`, the runs and their ledger; copies of sweep directories in buckets."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from scaling.config.load import dump_yaml, read_yaml, validate
from scaling.config.record import RunRecord, read_record
from scaling.config.sweep import READS, SweepConfig
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import patiently, write_atomically
from scaling.sweep.design import expand
from scaling.train.lock import is_locked


def read_sweep(directory: Path) -> SweepConfig:
    """The sweep of a directory.

    Files of earlier versions have `seeds: [0]` if no seeds were given, and fields that their design did not
    read; both are dropped.

    Raises:
        BadInputError: `sweep.yaml` is missing or not a sweep.
    """
    path = directory / "sweep.yaml"
    return validate(SweepConfig, _migrated(read_yaml(path)), str(path))


def _migrated(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if isinstance(tree.get("variants"), dict) and tree["variants"]:
        return {**tree, "variants": {key: _migrated(one) for key, one in tree["variants"].items()}}
    reads = READS.get(str(tree.get("design")), frozenset(tree))
    unread = set(SweepConfig.model_fields) - reads
    tree = {field: value for field, value in tree.items() if field not in unread}
    if tree.get("seeds") == [0]:
        del tree["seeds"]
    base = tree.get("base")
    train = base.get("train") if isinstance(base, dict) else None
    if isinstance(train, dict) and {"tokens", "steps"} & set(train):
        tree.pop("budgets" if tree.get("design") == "rungs" else "", None)
    return tree


def prepare(sweep: SweepConfig, directory: Path) -> None:
    """Make the sweep directory and write `sweep.yaml`.

    Raises:
        BadInputError: the directory holds another sweep or cannot be written.
    """
    path = directory / "sweep.yaml"
    try:
        if path.is_file():
            held = read_sweep(directory)
            if held.name != sweep.name:
                raise BadInputError(
                    f"{directory}: contains the sweep {held.name!r}; give this one another --out"
                )
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dump_yaml(sweep).encode())
    except OSError as error:
        raise BadInputError(f"{directory}: cannot be written ({error.strerror})") from error


RunStatus = Literal["pending", "running", "interrupted", "failed", "finished", "imported", "damaged"]


@dataclass(frozen=True)
class LedgerEntry:
    """A run in the ledger; `record` is None until the run has started."""

    name: str
    status: RunStatus
    record: RunRecord | None
    note: str | None = None


def _entry(directory: Path, elsewhere: bool) -> LedgerEntry:
    try:
        record = read_record(directory)
    except BadInputError as error:
        return LedgerEntry(directory.name, "damaged", None, str(error))
    if record is None:
        return LedgerEntry(directory.name, "running" if is_locked(directory) else "pending", None)
    status: RunStatus = record.status
    if status == "running" and not elsewhere and not is_locked(directory):
        status = "interrupted"  # its process was killed
    return LedgerEntry(directory.name, status, record, record.error)


def read_ledger(directory: Path, *, elsewhere: bool = False) -> list[LedgerEntry]:
    """The runs of a sweep directory in the order of its design, then any others; or a single run directory.

    With `elsewhere` the directory is a copy without locks, and a record with status `running` is believed.

    Raises:
        BadInputError: neither a sweep nor a run directory.
    """
    if not directory.is_dir():
        raise BadInputError(f"{directory}: no such directory")
    if (directory / "config.yaml").is_file():
        return [_entry(directory, elsewhere)]
    planned: list[str] = []
    if (directory / "sweep.yaml").is_file():
        sweep = read_sweep(directory)
        with contextlib.suppress(BadInputError):  # of a version that accepted more designs
            planned = [run.name for run in expand(sweep)]
    found = sorted(p.parent.name for p in directory.glob("*/config.yaml"))
    names = planned + [name for name in found if name not in planned]
    if not names:
        raise BadInputError(
            f"{directory}: neither a sweep nor a run directory (no sweep.yaml, no config.yaml)"
        )
    return [_entry(directory / name, elsewhere) for name in names]


_FILES = ("sweep.yaml", "config.yaml", "record.json", "*/config.yaml", "*/record.json")


def is_bucket(name: str) -> bool:
    """Whether a directory is given as a URL: gs://, s3://, file://, memory://."""
    return "://" in name


@contextlib.contextmanager
def downloaded(url: str) -> Iterator[Path]:
    """A temporary copy of the records and configs of a sweep or run directory in a bucket.

    Raises:
        BadInputError: the bucket cannot be read within half a minute, or has no such directory.
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
            raise BadInputError(f"{url}: {error} (or install the extra `cloud` of this package)") from error
        except Exception as error:  # each store raises its own types: credentials, network, names
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
    """Ids of the finished runs in a sweep directory in a bucket; empty if it cannot be read."""
    try:
        with downloaded(url) as directory:
            records = [read_record(path.parent) for path in directory.glob("*/record.json")]
    except BadInputError:
        return set()
    return {record.id for record in records if record is not None and record.status == "finished"}
