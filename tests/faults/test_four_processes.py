"""A worker of four is lost or hangs: all end, and the same command on all finishes the run bit for bit."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from scaling.config.load import merge
from scaling.parallel.processes import TRY_AGAIN
from tests.faults.disturbed import LOST_NOTHING, SECONDS, check_whole
from tests.parallel.clusters import Processes, tiny_run, until

pytestmark = pytest.mark.faults

STALL = "40"  # seconds: more than compiling takes where four processes share two cores with other tests
STEPS = {"train": {"steps": 40, "checkpoint_every": 5, "eval_every": None}}


@contextmanager
def four(folder: Path, **environment: str) -> Iterator[Processes]:
    """A run by four processes, of which none is left at the end."""
    processes = Processes(4, folder, "train", "run.yaml", "--out", "run", environment=environment)
    try:
        yield processes
    finally:
        processes.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = merge(tiny_run(folder / "corpus", data=4), STEPS)
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    finish(folder)
    return folder / "run"


def finish(folder: Path) -> None:
    """The same command on all four, to the end."""
    with four(folder) as processes:
        assert processes.wait(SECONDS) == [0] * 4, processes.said()


def go_on(folder: Path, undisturbed: Path) -> None:
    finish(folder)
    check_whole(folder / "run", undisturbed)


def at_a_checkpoint(folder: Path, processes: Processes) -> None:
    until(lambda: (folder / "run/checkpoints/10").is_dir(), SECONDS, processes.running)


@pytest.mark.fault("a lost worker of four", "the others end; " + LOST_NOTHING)
def test_a_lost_worker(undisturbed: Path, folder: Path) -> None:
    with four(folder) as processes:
        at_a_checkpoint(folder, processes)
        processes.running[2].kill()
        codes = processes.wait(150)
    assert codes[2] == -signal.SIGKILL and 0 not in codes
    go_on(folder, undisturbed)


@pytest.mark.fault("a hung worker of four", "exit code 75, the line names it; " + LOST_NOTHING)
def test_a_hung_worker(undisturbed: Path, folder: Path) -> None:
    """Stopped, not dead: its connections stay open."""
    with four(folder, SCALING_STALL_SECONDS=STALL) as processes:
        at_a_checkpoint(folder, processes)
        processes.running[2].send_signal(signal.SIGSTOP)
        codes = [processes.running[i].wait(150) for i in (0, 1, 3)]
        assert codes == [TRY_AGAIN] * 3, processes.said()
        silent = f"no step for {STALL} s (SCALING_STALL_SECONDS): process 2 is silent"
        assert processes.said().count(silent) == 3
    go_on(folder, undisturbed)


@pytest.mark.fault("a disk that hangs under one of four", "exit code 75; " + LOST_NOTHING)
def test_a_hung_disk(undisturbed: Path, folder: Path) -> None:
    """The first process waits for ever for a file to open; its other threads live."""
    metrics = folder / "run/metrics.jsonl"
    with four(folder, SCALING_STALL_SECONDS=STALL) as processes:
        at_a_checkpoint(folder, processes)
        kept = metrics.read_bytes()
        os.mkfifo(folder / "pipe")
        os.replace(folder / "pipe", metrics)
        assert processes.wait(150) == [TRY_AGAIN] * 4, processes.said()
        assert "process 0 is behind the others" in processes.said()
    metrics.unlink()
    metrics.write_bytes(kept)
    go_on(folder, undisturbed)
