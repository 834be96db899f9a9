"""A run directory: config.yaml, record.json, metrics.jsonl, TensorBoard events, and the lock on them."""

import contextlib
import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from scaling.config.errors import BadInputError
from scaling.config.files import write_atomically
from scaling.config.load import dump_yaml, load_run, read_yaml
from scaling.config.record import RunRecord
from scaling.config.run import RunConfig
from scaling.train.trackers import Trackers

_LOCK = "run.lock"
SOURCE = "source.json"  # of imported weights alone


def is_locked(directory: Path) -> bool:
    """Whether a living process is training in this run directory."""
    try:
        with (directory / _LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


class RunDirectory:
    """Everything a run writes but its checkpoints. A context manager that holds the directory's lock.

    Of several processes the first alone holds the lock and writes: on the others nothing here does anything.

    Raises (on entering, and then on every process):
        BadInputError: the directory holds another run, is in use by another process, or cannot be written.
    """

    def __init__(self, path: Path, run: RunConfig, warn: Callable[[str], None] = lambda text: None) -> None:
        """`warn` says what a person should know of the trackers."""
        self.path, self.run = path, run
        self._stack = contextlib.ExitStack()
        self._trackers = Trackers(run, path, warn)
        self._writes = True

    def __enter__(self) -> "RunDirectory":
        # Here, for the ledger reads run directories without JAX.
        from scaling.parallel.processes import from_first, is_first

        self._writes = is_first()
        from_first(self._enter)
        return self

    def _enter(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self._stack.enter_context((self.path / _LOCK).open("a"))
        except OSError as error:
            raise BadInputError(f"{self.path}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._stack.close()
            raise BadInputError(f"{self.path}: another process is training in this directory") from error
        try:
            self._claim()
        except BaseException:
            self._stack.close()
            raise

    def _claim(self) -> None:
        config = self.path / "config.yaml"
        if config.is_file():
            held = load_run(read_yaml(config)).id()
            if held != self.run.id():
                raise BadInputError(
                    f"{self.path}: holds run {held}, not this one ({self.run.id()}): choose another "
                    f"directory or remove it"
                )
        write_atomically(config, dump_yaml(self.run).encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._trackers.close()
        self._stack.close()

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints lie."""
        return self.path / "checkpoints"

    def write_record(self, record: RunRecord) -> None:
        """Replace record.json."""
        if self._writes:
            write_atomically(self.path / "record.json", record.model_dump_json(indent=2).encode() + b"\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl that are whole."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        lines = []
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
        return lines

    def rewind_metrics(
        self, step: int, finished_branches: set[int], note: dict[str, Any] | None = None
    ) -> float:
        """Drop the lines that a run resumed at `step` will write again, and see that `note` is among the
        rest; the largest `seconds` of a line that is dropped."""
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
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self.path / "metrics.jsonl", text.encode())
        if kept:
            self._trackers.rewind(step)
        return dropped

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl and the same numbers to the trackers."""
        if not self._writes:
            return
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._trackers.log(line)


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
    """Of imported weights: where they came from and the ids that open and close a text; else empty.

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
