"""A worker of four is lost or hangs: all end, and the same command on all finishes the run bit for bit."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaling.config.load import merge
from scaling.parallel.processes import TRY_AGAIN
from tests.faults.disturbed import LOST_NOTHING, SECONDS, check_whole, orphans
from tests.parallel.clusters import Processes, tiny_run, until

pytestmark = pytest.mark.faults

STEPS = {"train": {"steps": 40, "checkpoint_every": 5, "eval_every": None}}


def four(folder: Path, **environment: str) -> Processes:
    return Processes(4, folder, "train", "run.yaml", "--out", "run", environment=environment)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = merge(tiny_run(folder / "corpus", data=4), STEPS)
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    processes = four(folder)
    assert processes.wait(SECONDS) == [0] * 4, processes.said()
    return folder / "run"


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "run.yaml").write_text((undisturbed.parent / "run.yaml").read_text())
    yield tmp_path
    assert orphans(tmp_path) == []


def go_on(folder: Path, undisturbed: Path) -> None:
    processes = four(folder)
    assert processes.wait(SECONDS) == [0] * 4, processes.said()
    check_whole(folder / "run", undisturbed)


def at_a_checkpoint(folder: Path, processes: Processes) -> None:
    until(lambda: (folder / "run/checkpoints/10").is_dir(), SECONDS, processes.running)


@pytest.mark.fault("a lost worker of four", "the others end; " + LOST_NOTHING)
def test_a_lost_worker(undisturbed: Path, folder: Path) -> None:
    processes = four(folder)
    at_a_checkpoint(folder, processes)
    processes.running[2].kill()
    codes = processes.wait(150)
    assert codes[2] == -signal.SIGKILL and 0 not in codes
    go_on(folder, undisturbed)


@pytest.mark.fault("a hung worker of four", "exit code 75, the line names it; " + LOST_NOTHING)
def test_a_hung_worker(undisturbed: Path, folder: Path) -> None:
    """Stopped, not dead: its connections stay open."""
    processes = four(folder, SCALING_STALL_SECONDS="20")
    at_a_checkpoint(folder, processes)
    processes.running[2].send_signal(signal.SIGSTOP)
    try:
        codes: list[Any] = [processes.running[i].wait(90) for i in (0, 1, 3)]
        assert codes == [TRY_AGAIN] * 3, processes.said()
        assert processes.said().count("no step for 20 s (SCALING_STALL_SECONDS): process 2 is silent") == 3
    finally:
        processes.kill()
    go_on(folder, undisturbed)


@pytest.mark.fault("a disk that hangs under one of four", "exit code 75; " + LOST_NOTHING)
def test_a_hung_disk(undisturbed: Path, folder: Path) -> None:
    """The first process waits for ever for a file to open; its other threads live."""
    processes = four(folder, SCALING_STALL_SECONDS="20")
    at_a_checkpoint(folder, processes)
    metrics = folder / "run/metrics.jsonl"
    kept = metrics.read_bytes()
    os.mkfifo(folder / "pipe")
    os.replace(folder / "pipe", metrics)
    try:
        assert processes.wait(90) == [TRY_AGAIN] * 4, processes.said()
        assert "process 0 is behind the others" in processes.said()
    finally:
        metrics.unlink()
        metrics.write_bytes(kept)
    go_on(folder, undisturbed)
