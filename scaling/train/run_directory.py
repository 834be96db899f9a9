"""A run directory: config.yaml, record.json, metrics.jsonl, TensorBoard events, and the lock on them."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from scaling.config.load import dump_yaml, load_run, read_yaml
from scaling.config.record import RunRecord
from scaling.config.run import RunConfig
from scaling.runtime.errors import BadInputError, StorageError
from scaling.runtime.files import clear_parts, patiently, replace, write_atomically
from scaling.train.lock import RunLock
from scaling.train.run_tokenizer import keep_files
from scaling.train.trackers import Trackers

SOURCE = "source.json"  # of imported weights alone


class RunDirectory:
    """Everything a run writes but its checkpoints. A context manager that holds the directory's lock.

    Of several processes only the first holds the lock and writes; on the others these methods do nothing.

    Raises (on entering, and then on every process):
        BadInputError: the directory holds another run, is in use by another process, or cannot be written.
    """

    def __init__(self, path: Path, run: RunConfig, warn: Callable[[str], None] = lambda text: None) -> None:
        """`warn` receives messages about the trackers."""
        self.path, self.run = path, run
        self._lock = RunLock(path)
        self._trackers = Trackers(run, path, warn)
        self._writes = True

    def __enter__(self) -> "RunDirectory":
        # Imported here, because the ledger reads run directories without JAX.
        from scaling.parallel.processes import from_first, is_first

        self._writes = is_first()
        from_first(self._enter)
        return self

    def _enter(self) -> None:
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise BadInputError(f"{self.path}: cannot be written ({error.strerror})") from error
        try:
            self._claim()
        except BaseException:
            self._lock.release()
            raise

    def _claim(self) -> None:
        clear_parts(self.path)
        config = self.path / "config.yaml"
        if config.is_file():
            held = load_run(read_yaml(config)).id()
            if held != self.run.id():
                raise BadInputError(
                    f"{self.path}: holds a run with another config ({held}, this one is {self.run.id()}): "
                    f"give this one a directory of its own, as --out {self.path}-{self.run.id()[:4]}, or "
                    f"remove {self.path}"
                )
        write_atomically(config, dump_yaml(self.run).encode())
        keep_files(self.path, self.run.data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._trackers.close()
        self._lock.release()

    @property
    def checkpoints(self) -> Path:
        """The directory of the run's checkpoints."""
        return self.path / "checkpoints"

    def write_record(self, record: RunRecord) -> None:
        """Replace record.json.

        Raises:
            StorageError: it cannot be written.
        """
        self._put("record.json", record.model_dump_json(indent=2) + "\n")

    def _put(self, name: str, text: str) -> None:
        if self._writes:
            with _storage(self.path / name):
                replace(self.path / name, text.encode())

    def read_metrics(self) -> list[dict[str, Any]]:
        """The complete lines of metrics.jsonl."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        lines = []
        for text in path.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):  # incomplete, or not text
                line = json.loads(text)
                if isinstance(line, dict) and {"step", "branch"} <= line.keys():
                    lines.append(line)
        return lines

    def rewind_metrics(
        self, step: int, finished_branches: set[int], note: dict[str, Any] | None = None
    ) -> float:
        """Drop the lines that a run resumed at `step` will write again, and make sure that `note` is among
        the rest; returns the largest `seconds` of a dropped line."""
        if not self._writes:
            return 0.0
        kept, dropped = [], 0.0
        for line in self.read_metrics():
            if line["step"] <= step if line["branch"] is None else line["branch"] in finished_branches:
                kept.append(line)
            else:
                dropped = max(dropped, line.get("seconds", 0.0))
        if note is not None and note not in kept:
            kept.append(note)
        self._put("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
        if kept:
            self._trackers.rewind(step)
        return dropped

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl and the same numbers to the trackers."""
        if not self._writes:
            return
        path = self.path / "metrics.jsonl"
        with _storage(path):
            patiently(partial(_append, path, json.dumps(line) + "\n"))
        self._trackers.log(line)

    def sync_metrics(self) -> None:
        """Flush appended lines to the disk: a checkpoint must not outlive the lines before it."""
        path = self.path / "metrics.jsonl"
        if self._writes and path.is_file():
            with _storage(path), path.open("rb") as file:
                os.fsync(file.fileno())


def _append(path: Path, text: str) -> None:
    """Append a line completely or not at all: the rest of a failed attempt is removed."""
    with path.open("ab") as file:
        start = file.tell()
        try:
            file.write(text.encode())
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, start)
            raise


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}); free or repair the disk, and run the same command"
        ) from error


def read_run(path: Path) -> RunConfig:
    """The resolved config of a run directory.

    Raises:
        BadInputError: not a run directory.
    """
    config = path / "config.yaml"
    if not config.is_file():
        raise BadInputError(f"{path}: not a run directory (it has no config.yaml)")
    return load_run(read_yaml(config))


def read_origin(path: Path) -> dict[str, Any]:
    """For imported weights, their source and the ids that open and close a text; otherwise empty.

    Raises:
        BadInputError: the file is damaged.
    """
    origin = path / SOURCE
    if not origin.is_file():
        return {}
    try:
        tree = json.loads(origin.read_text())
    except (OSError, ValueError) as error:
        raise BadInputError(f"{origin}: cannot be read ({str(error)[:120]})") from error
    if not isinstance(tree, dict):
        raise BadInputError(f"{origin}: expected a mapping, found a {type(tree).__name__}")
    return tree
