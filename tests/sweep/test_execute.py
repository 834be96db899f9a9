"""A sweep skips what is finished, resumes what was interrupted, records a failure and goes on."""

import json
import os
import signal
from pathlib import Path

import pytest

from scaling.config.load import validate
from scaling.config.run import RunConfig
from scaling.config.sweep import SweepConfig
from scaling.parallel.processes import InterruptedRunError
from scaling.runtime.errors import BadInputError
from scaling.sweep import workers
from scaling.sweep.directory import read_ledger
from scaling.sweep.execute import run_sweep
from scaling.train.progress import Silent, Status


class Listener(Silent):
    def __init__(self) -> None:
        self.said = list[str]()

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(8):
        (folder / f"{i}.txt").write_text(f"document {i} " * 200)
    train = {
        "batch_tokens": 64, "steps": 4, "learning_rate": 0.01, "schedule": "constant", "eval_tokens": 64,
        "clip_norm": None,
    }  # fmt: skip
    return validate(
        SweepConfig,
        {
            "name": "s",
            "design": "grid",
            "axes": {"train.learning_rate": [0.01, 1e30, 0.02]},
            "base": {
                "model": {"vocab_size": 257, "max_length": 16, "n_layers": 1, "d_model": 8, "n_heads": 1},
                "data": {"source": f"text:{folder}/*.txt", "sequence_length": 16, "validation_fraction": 0.3},
                "train": train,
            },
        },
    )


def test_a_failure_is_recorded_and_the_rest_go_on(sweep: SweepConfig, tmp_path: Path) -> None:
    directory = tmp_path / "out"
    records, failures = run_sweep(sweep, directory, Silent())
    assert [r.name for r in records] == ["learning_rate=0.01", "learning_rate=0.02"]
    assert len(failures) == 1 and "learning_rate=1e+30" in failures[0] and "at step" in failures[0]
    entries = {entry.name: entry for entry in read_ledger(directory)}
    assert [entry.status for entry in entries.values()] == ["finished", "failed", "finished"]
    assert "at step" in (entries["learning_rate=1e+30"].note or "")

    # Again: finished runs are not touched.
    listener = Listener()
    written = (directory / "learning_rate=0.01/record.json").stat().st_mtime_ns
    run_sweep(sweep, directory, listener)
    assert sum("finished before, skipped" in line for line in listener.said) == 2
    assert (directory / "learning_rate=0.01/record.json").stat().st_mtime_ns == written

    # A record that says it runs, while no process holds its lock, was interrupted; a torn one is damaged.
    path = directory / "learning_rate=0.01/record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"status": "running"}))
    assert read_ledger(directory)[0].status == "interrupted"
    path.write_text(path.read_text()[:100])
    assert read_ledger(directory)[0].status == "damaged"
    run_sweep(sweep, directory, Silent())
    assert read_ledger(directory)[0].status == "finished"


def test_planned_runs_are_pending(sweep: SweepConfig, tmp_path: Path) -> None:
    from scaling.sweep.directory import prepare

    prepare(sweep, tmp_path / "out")
    assert [entry.status for entry in read_ledger(tmp_path / "out")] == ["pending"] * 3


@pytest.mark.slow
def test_workers_train_the_same_runs(sweep: SweepConfig, tmp_path: Path) -> None:
    alone, _ = run_sweep(sweep, tmp_path / "alone", Silent())
    listener = Listener()
    together, failures = run_sweep(sweep, tmp_path / "together", listener, workers=2)
    assert [r.name for r in together] == [r.name for r in alone]
    for one, other in zip(alone, together, strict=True):
        assert one.id == other.id
        assert other.points[-1].loss == pytest.approx(one.points[-1].loss, rel=1e-5)
    assert len(failures) == 1 and "learning_rate=1e+30" in failures[0] and "at step" in failures[0]

    # Again: finished runs are skipped, and the failed one fails again without harm.
    run_sweep(sweep, tmp_path / "together", listener, workers=2)
    assert sum("finished before, skipped" in line for line in listener.said) == 2


def test_a_worker_that_dies_costs_only_its_run(
    sweep: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = workers._Worker.begin

    def killed(self: workers._Worker, run: RunConfig, path: Path) -> None:
        begin(self, run, path)
        if run.name == "learning_rate=0.01":
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGKILL)

    monkeypatch.setattr(workers._Worker, "begin", killed)
    records, failures = run_sweep(sweep, tmp_path / "out", Silent(), workers=2)
    assert [r.name for r in records] == ["learning_rate=0.02"]
    assert any("learning_rate=0.01: its process ended with code -9" in line for line in failures)


@pytest.mark.slow
def test_workers_stop_when_asked(sweep: SweepConfig, tmp_path: Path) -> None:
    class Impatient(Silent):
        def advance(self, units: int, status: Status) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    train = {**sweep.base["train"], "steps": 100_000, "log_every": 1}
    long = sweep.model_copy(update={"base": {**sweep.base, "train": train}, "axes": {"train.seed": (1, 2)}})
    with pytest.raises(InterruptedRunError):
        run_sweep(long, tmp_path / "out", Impatient(), workers=2)
    assert "interrupted" in {entry.status for entry in read_ledger(tmp_path / "out")}


def test_workers_are_counted(sweep: SweepConfig, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="workers=0"):
        run_sweep(sweep, tmp_path / "out", Silent(), workers=0)
    assert not (tmp_path / "out").exists()
