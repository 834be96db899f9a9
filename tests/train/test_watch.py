"""How a run is watched: event files, trackers, a trace, and where its time went. No secret is written."""

import gzip
import json
import re
import struct
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from scaling.config.record import read_record
from scaling.runtime.errors import BadInputError
from scaling.train import trackers
from scaling.train.loop import train
from scaling.train.record import ACCOUNTS, Clock, goodput
from scaling.train.trackers import Events
from tests.train.conftest import MakeRun, trunk_losses
from tests.train.test_loop import Breaks

SECRETS = {
    "WANDB_API_KEY": "wandb-0123456789abcdef0123456789abcdef01234567",
    "MLFLOW_TRACKING_TOKEN": "mlflow-token-that-nobody-may-see",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-password-that-nobody-may-see",
    "AWS_SECRET_ACCESS_KEY": "aws-key-that-nobody-may-see",
    "HF_TOKEN": "hf_token-that-nobody-may-see",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/someone/credentials-that-nobody-may-see.json",
}


class FakeWandb(types.ModuleType):
    """What the tracker uses of wandb, kept in lists."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__("wandb")
        self.__spec__ = types.SimpleNamespace(name="wandb")  # type: ignore[assignment]
        self.started: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.finished = 0
        self.broken = broken

    def init(self, **settings: Any) -> "FakeWandb":
        self.started.append(settings)
        return self

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, line: dict[str, Any]) -> None:
        if self.broken:
            raise ConnectionError("no route to host\nat line 7")
        self.lines.append(line)

    def finish(self) -> None:
        self.finished += 1


class FakeMlflow:
    """An MLflow server of one process: `MlflowClient` and the entities that the tracker uses."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
        module.__spec__ = types.SimpleNamespace(name="mlflow")  # type: ignore[assignment]
        module.MlflowClient = lambda: self  # type: ignore[attr-defined]
        entities.Metric = lambda key, value, when, step: (step, key, value)  # type: ignore[attr-defined]
        entities.Param = lambda key, value: (key, value)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "mlflow", module)
        monkeypatch.setitem(sys.modules, "mlflow.entities", entities)

    def get_experiment_by_name(self, name: str) -> Any:
        return types.SimpleNamespace(experiment_id="1")

    def search_runs(self, experiments: list[str], text: str, max_results: int) -> list[Any]:
        wanted = re.fullmatch(r"tags\.`scaling\.run_id` = '(\w+)'", text)
        assert wanted is not None
        return [
            types.SimpleNamespace(info=types.SimpleNamespace(run_id=key))
            for key, run in self.runs.items()
            if run["tags"]["scaling.run_id"] == wanted[1]
        ]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        key = f"run-{len(self.runs)}"
        self.runs[key] = {"tags": tags, "name": run_name, "metrics": [], "params": [], "status": "RUNNING"}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=key))

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        self.runs[run]["metrics"] += metrics
        self.runs[run]["params"] += params

    def update_run(self, run: str, status: str) -> None:
        self.runs[run]["status"] = status

    def set_terminated(self, run: str) -> None:
        self.runs[run]["status"] = "FINISHED"


def test_trackers_get_what_metrics_jsonl_has_and_no_secret_is_written(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over a restart: one run in W&B and in MLflow, and in TensorBoard a mark where steps repeat."""
    wandb, mlflow = FakeWandb(), FakeMlflow()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    mlflow.module(monkeypatch)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    run = make_run("tracking.wandb=a-project", "tracking.mlflow=an-experiment", steps=12, eval_every=6)
    with pytest.raises(RuntimeError):
        train(run, tmp_path / "run", Breaks(8))
    train(run, tmp_path / "run")

    losses = trunk_losses(tmp_path / "run")
    logged = [(line["step"], line["loss"]) for line in wandb.lines if "loss" in line]
    assert dict(logged) == losses and [step for step, _ in logged] == [*range(1, 9), *range(6, 13)]
    assert {settings["id"] for settings in wandb.started} == {run.id()} and wandb.finished == 2
    (kept,) = mlflow.runs.values()
    assert {step: value for step, key, value in kept["metrics"] if key == "loss"} == losses
    assert [key for _, key, _ in kept["metrics"]].count("validation_loss") == 3
    assert ("model.n_layers", "2") in kept["params"] and kept["status"] == "FINISHED"
    assert scalars(tmp_path / "run")["loss"] == pytest.approx(losses)

    for path in (p for p in (tmp_path / "run").rglob("*") if p.is_file()):
        content = path.read_bytes()
        for name, value in SECRETS.items():
            assert value.encode() not in content, (path, name)


def test_sessions_of_the_same_second_keep_their_event_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    for first, purge in ((1, None), (3, 3), (4, 4)):
        events = Events(tmp_path / "tensorboard", purge)
        for step in range(first, first + 3):
            events.add(step, {"loss": step + first / 8})
        events.close()
    assert scalars(tmp_path)["loss"] == {1: 1.125, 2: 2.125, 3: 3.375, 4: 4.5, 5: 5.5, 6: 6.5}


def scalars(path: Path) -> dict[str, dict[int, float]]:
    """Scalars of the event files as TensorBoard shows them: the start of a session purges what it repeats."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: dict[str, dict[int, float]] = {}
    for file in sorted((path / "tensorboard").iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):  # length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16
            if event.session_log.status == SessionLog.START:
                found = {
                    tag: {step: value for step, value in one.items() if step < event.step}
                    for tag, one in found.items()
                }
            for value in event.summary.value:
                shown = found.get(value.tag, {})
                assert value.tag != "loss" or event.step not in shown, "a step is shown once"
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_a_tracker_that_fails_is_said_so_once_and_left_out(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(broken=True))
    listener = Breaks(-1)
    record = train(make_run("tracking.wandb=me", "tracking.tensorboard=false", steps=3), tmp_path, listener)
    assert record.status == "finished" and not (tmp_path / "tensorboard").exists()
    assert [line for line in listener.said if "tracking" in line] == [
        "tracking.wandb: disabled after an error (no route to host); metrics.jsonl is complete"
    ]


def test_a_tracker_that_is_not_installed_is_refused(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInputError, match=r"tracking\.wandb: not installed; pip install 'scaling-lab"):
        train(make_run("tracking.wandb=me"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_the_real_ones_offline(
    package: str, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they are installed: W&B in its offline mode, MLflow with files for a server."""
    pytest.importorskip(package)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    listener = Breaks(-1)
    train(make_run(f"tracking.{package}=tests", steps=3), tmp_path / "run", listener)
    assert not [line for line in listener.said if "tracking" in line]
    for path in (p for p in (tmp_path / "run").rglob("*") if p.is_file()):
        assert not any(value.encode() in path.read_bytes() for value in SECRETS.values()), path


def test_a_profile_of_some_steps_is_a_trace_that_parses(make_run: MakeRun, tmp_path: Path) -> None:
    train(make_run("profile.steps=3:5", steps=6, checkpoint_every=None), tmp_path)
    (trace,) = (tmp_path / "profile").rglob("*.trace.json.gz")  # Perfetto and chrome://tracing
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
    assert sorted(set(map(int, steps))) == [3, 4]
    assert any("PjitFunction(_steps)" in event.get("name", "") for event in events)
    (xplane,) = (tmp_path / "profile").rglob("*.xplane.pb")  # XProf
    assert b"/host:CPU" in xplane.read_bytes()


def test_where_the_time_went(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(steps=12, eval_every=4)
    with pytest.raises(RuntimeError):
        train(run, tmp_path, Breaks(9))
    record = train(run, tmp_path)
    found = record.goodput
    assert found is not None and record == read_record(tmp_path)
    parts = found.model_dump(exclude={"share", "wall"})
    assert all(value >= 0 for value in parts.values())
    assert sum(parts.values()) == pytest.approx(found.wall, abs=1e-2)
    assert found.share == pytest.approx(found.productive / found.wall, abs=1e-3) and 0 < found.share < 1
    assert found.lost > 0, "steps 6 to 8 were done twice"
    assert found.restart > 0 and found.compile > 0 and found.evaluation > 0 and found.checkpoint > 0
    assert set(record.seconds) == set(ACCOUNTS)


def test_the_clock_over_a_rewind_and_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds of steps, four of them undone; two of them waiting for data, one in vain."""
    now, waited = [0.0], [0.0]
    monkeypatch.setattr("scaling.train.record.time.perf_counter", lambda: now[0])
    clock = Clock(lambda: waited[0])

    def passes(seconds: float, account: str) -> None:
        now[0] += seconds
        clock.charge(account)

    passes(1, "restart")
    passes(6, "step")
    waited[0] = 1
    saved = clock.seconds()
    passes(4, "step")
    waited[0] = 2
    assert clock.rewind(saved) == 4
    passes(5, "step")
    found = goodput(clock.seconds())
    assert found is not None
    assert (found.productive, found.data_wait, found.lost, found.restart, found.other) == (10, 1, 4, 1, 0)
    assert found.share == 10 / 16
    resumed = Clock()
    resumed.resume(saved, lost=3)
    now[0] += 2
    resumed.charge("step")
    found = goodput(resumed.seconds())
    assert found is not None and (found.wall, found.productive, found.lost) == (12, 7, 3)
    assert goodput({}) is None
