"""Trackers, which receive metrics in addition to metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

A tracker that fails (no network, no disk, a wrong key) is reported once and disabled; the run continues. Its
host and key come from its own environment variables (WANDB_API_KEY, MLFLOW_TRACKING_URI, ...), which are not
read here or written anywhere.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from scaling.config.run import RunConfig
from scaling.runtime.errors import BadInputError

_FLUSH_SECONDS = 30.0


class Events:
    """Scalars appended to an event file in a folder, which is created with the first ones.

    tensorboardX's writer of records without its thread, whose errors could not be caught. With `purge` the
    file begins with TensorBoard's mark that earlier files are void from that step on.
    """

    def __init__(self, folder: Path, purge: int | None = None) -> None:
        self._folder, self._purge = folder, purge
        self._writer: Any = None
        self._flushed = time.monotonic()

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step.

        Raises:
            OSError: the disk cannot be written.
        """
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        writer = self._open()
        writer.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            writer.flush()
            self._flushed = time.monotonic()

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

            self._folder.mkdir(exist_ok=True)
            # tensorboardX names a file by the second it was opened in, and would overwrite one of the same
            # second. TensorBoard reads the files in the order of their names.
            number = sum(1 for _ in self._folder.iterdir())
            self._writer = EventsWriter(str(self._folder / "events"), f".{number:06}")
            if self._purge is not None:
                start = SessionLog(status=SessionLog.START)
                self._writer.write_event(Event(step=self._purge, wall_time=time.time(), session_log=start))
        return self._writer

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


EVENTS = "tensorboard"
_LONGEST = 500  # characters of a parameter's value in MLflow
_MOST = 100  # parameters in one call of it


class Tracker(Protocol):
    """Receives the lines of metrics.jsonl."""

    name: str

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step of the trunk."""

    def rewind(self, step: int) -> None:
        """Steps after this one are undone, and will be logged again."""

    def close(self) -> None:
        """Write buffered values and close."""


class TensorBoard:
    """Event files in `tensorboard/` of the run."""

    name = "tensorboard"

    def __init__(self, path: Path) -> None:
        self._folder = path / EVENTS
        self._events = Events(self._folder)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar each."""
        self._events.add(step, values)

    def rewind(self, step: int) -> None:
        """Write TensorBoard's own mark, which hides later steps."""
        self.close()
        self._events = Events(self._folder, purge=step + 1)

    def close(self) -> None:
        """Flush and close the file."""
        self._events.close()


class WeightsAndBiases:
    """A run of a project with the run's own id, so that a resumed run continues in it."""

    name = "wandb"

    def __init__(self, project: str, run: RunConfig, path: Path) -> None:
        import wandb

        self._run = wandb.init(
            project=project,
            id=run.id(),
            name=run.name,
            resume="allow",
            config=run.model_dump(mode="json"),
            dir=str(path),
            save_code=False,
        )
        # Steps are a metric of their own: W&B's counter cannot go back, as a rewound run does.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One call."""
        self._run.log({"step": step, **values})

    def rewind(self, step: int) -> None:
        """Nothing to undo: later values of a step are added to the earlier ones."""

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class MLflow:
    """A run of an experiment, found again by a tag with the run's id."""

    name = "mlflow"

    def __init__(self, experiment: str, run: RunConfig) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client: Any = MlflowClient()
        self._metric = Metric
        found = self._client.get_experiment_by_name(experiment)
        number = self._client.create_experiment(experiment) if found is None else found.experiment_id
        tag = {"scaling.run_id": run.id()}
        earlier = self._client.search_runs([number], f"tags.`scaling.run_id` = '{run.id()}'", max_results=1)
        if earlier:
            self._id = earlier[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(number, tags=tag, run_name=run.name).info.run_id
        params = [Param(k, str(v)[:_LONGEST]) for k, v in _flat(run.model_dump(mode="json"))]
        for start in range(0, len(params), _MOST):
            self._client.log_batch(self._id, params=params[start : start + _MOST])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One call."""
        now = int(time.time() * 1000)
        self._client.log_batch(self._id, [self._metric(k, v, now, step) for k, v in values.items()])

    def rewind(self, step: int) -> None:
        """Nothing to undo: later values of a step are added to the earlier ones."""

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._id)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`model.n_layers` and its value, for every leaf of a config."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_installed(run: RunConfig) -> None:
    """Raises BadInputError if a requested tracker is not installed."""
    for field in ("wandb", "mlflow"):
        if getattr(run.tracking, field) is not None and importlib.util.find_spec(field) is None:
            raise BadInputError(f"tracking.{field}: not installed; pip install 'scaling-lab[tracking]'")


class Trackers:
    """All trackers of a run, created at its first metrics."""

    def __init__(self, run: RunConfig, path: Path, warn: Callable[[str], None]) -> None:
        self._run, self._path, self._warn = run, path, warn
        self._trackers: list[Tracker] = []
        self._made = False
        self._rewound: int | None = None

    def _make(self) -> None:
        config, run = self._run.tracking, self._run
        makers: list[tuple[str, Callable[[], Tracker]]] = []
        if config.tensorboard:
            makers.append(("tensorboard", lambda: TensorBoard(self._path)))
        if config.wandb is not None:
            makers.append(("wandb", lambda: WeightsAndBiases(str(config.wandb), run, self._path)))
        if config.mlflow is not None:
            makers.append(("mlflow", lambda: MLflow(str(config.mlflow), run)))
        for name, make in makers:
            self._try(name, lambda make=make: self._trackers.append(make()))  # type: ignore[misc]

    def _try(self, name: str, what: Callable[[], None]) -> bool:
        try:
            what()
        except Exception as error:  # of libraries with many kinds
            line = (str(error).splitlines() or [type(error).__name__])[0]
            self._warn(f"tracking.{name}: disabled after an error ({line[:200]}); metrics.jsonl is complete")
            return False
        return True

    def log(self, line: Mapping[str, Any]) -> None:
        """Log the numbers of a line of metrics.jsonl, of the trunk only: branches would go back in steps."""
        if line["branch"] is not None:
            return
        if not self._made:
            self._made = True
            self._make()
            if self._rewound is not None:
                self._each(lambda tracker: tracker.rewind(self._rewound or 0))
        values = {name: value for name, value in line.items() if isinstance(value, float)}
        for source, losses in line.get("by_source", {}).items():
            named = {"validation_loss": losses["loss"], "bits_per_byte": losses["bits_per_byte"]}
            values |= {f"{name}/{source}": value for name, value in named.items() if value is not None}
        self._each(lambda tracker: tracker.log(line["step"], values))

    def rewind(self, step: int) -> None:
        """Steps after this one are undone."""
        self._rewound = step
        self._each(lambda tracker: tracker.rewind(step))

    def close(self) -> None:
        """Write buffered values and close."""
        self._each(lambda tracker: tracker.close())

    def _each(self, what: Callable[[Tracker], None]) -> None:
        """Call `what` with each tracker; those that fail are removed."""
        self._trackers = [one for one in self._trackers if self._try(one.name, lambda one=one: what(one))]  # type: ignore[misc]
