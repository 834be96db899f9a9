"""A run directory: config.yaml, record.json, metrics.jsonl, TensorBoard events, and the lock on them."""

import contextlib
import fcntl
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from scaling.config.errors import BadInputError
from scaling.config.files import write_atomically
from scaling.config.load import dump_yaml, load_run, read_yaml
from scaling.config.record import RunRecord
from scaling.config.run import RunConfig

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

    def __init__(self, path: Path, run: RunConfig) -> None:
        self.path, self.run = path, run
        self._stack = contextlib.ExitStack()
        self._events: Any = None
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
        if self._events is not None:
            self._events.close()
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

    def rewind_metrics(self, step: int, finished_branches: set[int]) -> None:
        """Drop the lines that a run resumed at `step` will write again."""
        if not self._writes:
            return
        kept = [
            line
            for line in self.read_metrics()
            if (line["step"] <= step if line["branch"] is None else line["branch"] in finished_branches)
        ]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self.path / "metrics.jsonl", text.encode())

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl and the same numbers to TensorBoard."""
        if not self._writes:
            return
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if line["branch"] is not None:
            return  # TensorBoard draws the trunk: branches would go back in steps
        if self._events is None:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(str(self.path / "tensorboard"), flush_secs=30)
        for name, value in line.items():
            if isinstance(value, float):
                self._events.add_scalar(name, value, line["step"])


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
