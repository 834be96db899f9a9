"""Whatever ends a run, the same command finishes it: the losses of the undisturbed run bit for bit."""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaling.config.load import load_run, merge
from scaling.config.record import RunRecord
from scaling.parallel.processes import TRY_AGAIN
from scaling.train.loop import train as train_here
from tests.parallel.clusters import Processes, curves, one_device_environment, tiny_run, until

pytestmark = pytest.mark.faults

LONG = {
    "model": {"dropout": 0.1},
    "train": {
        "steps": 120,
        "batch_tokens": 2048,
        "checkpoint_every": 10,
        "eval_every": 15,
        "eval_tokens": 512,
    },
}
SECONDS = 300.0


def start(folder: Path, out: str = "run", **environment: str) -> subprocess.Popen[str]:
    """`scaling train run.yaml` in a session of its own; what it says goes to a file."""
    command = [sys.executable, "-m", "scaling.cli", "train", "run.yaml", "--out", out]
    with (folder / "said.log").open("a") as said:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdout=said,
            stderr=said,
            text=True,
            env=one_device_environment() | environment,
            start_new_session=True,
        )


def finish(folder: Path, out: str = "run") -> None:
    """The same command, to the end."""
    process = start(folder, out)
    code = process.wait(SECONDS)
    assert code == 0, said(folder)


def said(folder: Path) -> str:
    return (folder / "said.log").read_text()


def orphans(folder: Path) -> list[str]:
    """Command lines of living processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd").startswith(str(folder)) and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_bytes().decode().replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The run's config and a directory where nothing went wrong, trained by one process of one device."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = merge(tiny_run(folder / "corpus"), LONG)
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    finish(folder)
    return run, folder / "run"


@pytest.fixture
def folder(undisturbed: tuple[dict[str, Any], Path], tmp_path: Path) -> Iterator[Path]:
    """Where a run of the same config is to be disturbed; nobody may be left working there."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(undisturbed[0]))
    yield tmp_path
    assert orphans(tmp_path) == []


def whole(directory: Path, undisturbed: tuple[dict[str, Any], Path]) -> None:
    """The record and every loss are those of the undisturbed run, to the last bit."""
    expected = RunRecord.model_validate_json((undisturbed[1] / "record.json").read_text())
    found = RunRecord.model_validate_json((directory / "record.json").read_text())
    assert (found.status, found.step, found.tokens) == ("finished", expected.step, expected.tokens)
    assert [p.loss for p in found.points] == [p.loss for p in expected.points]
    assert curves(directory) == curves(undisturbed[1])
    assert not list(directory.glob(".*")), "no half-written file is left"


def steps_done(folder: Path, out: str = "run") -> int:
    """Lines of training losses so far."""
    with contextlib.suppress(OSError):
        return (folder / out / "metrics.jsonl").read_text().count('"loss"')
    return 0


def is_saving(folder: Path) -> bool:
    """Whether a checkpoint is being written this moment."""
    return any((folder / "run/checkpoints").glob("*tmp*"))


def is_recording(folder: Path) -> bool:
    """Whether the record is being replaced this moment."""
    return any((folder / "run").glob(".record.json.*"))


def kill_when(process: subprocess.Popen[str], condition: Callable[[], bool]) -> bool:
    """SIGKILL as soon as the condition holds; False where the process ended before it did."""
    while process.poll() is None:
        if condition():
            process.kill()
            process.wait()
            return True
        time.sleep(0.0005)
    return False


@pytest.mark.fault("SIGKILL at random moments, several in one run")
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments(
    seed: int, undisturbed: tuple[dict[str, Any], Path], folder: Path, record_property: Callable[..., None]
) -> None:
    """Five a run: one while it starts or compiles, four a random number of steps and milliseconds on."""
    chance, kills = random.Random(seed), 0
    process, moment = start(folder), time.monotonic() + chance.uniform(0.5, 6)
    kills += kill_when(process, lambda: time.monotonic() > moment)
    for _ in range(4):
        if process.poll() == 0:
            break
        process, aim, wait = (
            start(folder),
            steps_done(folder) + chance.randint(1, 30),
            chance.uniform(0, 0.05),
        )
        if kill_when(process, lambda aim=aim: steps_done(folder) >= aim):
            kills += 1
        time.sleep(wait)
    finish(folder)
    record_property("tries", kills)
    assert kills >= 3
    whole(folder / "run", undisturbed)


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(is_saving, marks=pytest.mark.fault("SIGKILL while a checkpoint is written")),
        pytest.param(is_recording, marks=pytest.mark.fault("SIGKILL while the record is written")),
        pytest.param(
            lambda folder: (folder / "run/config.yaml").is_file() and not steps_done(folder),
            marks=pytest.mark.fault("SIGKILL while it compiles"),
        ),
        pytest.param(
            lambda folder: steps_done(folder) == 15, marks=pytest.mark.fault("SIGKILL while it evaluates")
        ),
    ],
)
def test_killed_in_a_phase(
    phase: Callable[[Path], bool], undisturbed: tuple[dict[str, Any], Path], folder: Path
) -> None:
    assert kill_when(start(folder), lambda: phase(folder)), "the phase was never seen"
    finish(folder)
    whole(folder / "run", undisturbed)


@pytest.mark.fault("SIGTERM")
def test_asked_to_stop(undisturbed: tuple[dict[str, Any], Path], folder: Path) -> None:
    process = start(folder)
    until(lambda: steps_done(folder) > 20, SECONDS, [process])
    process.terminate()
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert "the same command goes on" in said(folder)
    finish(folder)
    whole(folder / "run", undisturbed)


@contextlib.contextmanager
def small_disk(at: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own at `at`, and a function that mounts it again otherwise."""
    at.mkdir()

    def mount(options: str, *kind: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["mount", *kind, "-o", options, str(at)], capture_output=True, text=True)

    made = mount(f"size={size}", "-t", "tmpfs", "none")
    if made.returncode:
        pytest.skip(f"cannot mount a file system here: {made.stderr.strip()}")
    try:
        yield lambda options: mount(f"remount,{options}").check_returncode()
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.mark.fault("a full disk")
def test_a_full_disk(undisturbed: tuple[dict[str, Any], Path], folder: Path) -> None:
    with small_disk(folder / "disk", "300k") as again:
        process = start(folder, "disk/run")
        assert process.wait(SECONDS) not in (0, None)
        last = said(folder).strip().splitlines()[-1]
        assert "No space left on device" in last and "Traceback" not in said(folder), said(folder)
        again("size=64m")
        finish(folder, "disk/run")
        whole(folder / "disk/run", undisturbed)


@pytest.mark.fault("a directory that becomes read-only")
def test_a_read_only_directory(undisturbed: tuple[dict[str, Any], Path], folder: Path) -> None:
    with small_disk(folder / "disk", "64m") as again:
        again("ro")
        process = start(folder, "disk/run")
        assert process.wait(SECONDS) == 2
        again("rw")
        process = start(folder, "disk/run")
        until(lambda: steps_done(folder, "disk/run") > 20, SECONDS, [process])
        process.send_signal(signal.SIGSTOP)  # writers hold files open: nothing is read-only while they write
        subprocess.run(["mount", "-o", "remount,ro,force", str(folder / "disk")], capture_output=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        again("ro")
        process = start(folder, "disk/run")
        assert process.wait(SECONDS) == 2, said(folder)
        assert "cannot be written (Read-only file system)" in said(folder).strip().splitlines()[-1]
        assert "Traceback" not in said(folder)
        again("rw")
        finish(folder, "disk/run")
        whole(folder / "disk/run", undisturbed)


def killed_at(folder: Path, step: int) -> Path:
    """A run killed once the checkpoint of a step is whole; its checkpoints."""
    checkpoints = folder / "run/checkpoints"
    assert kill_when(start(folder), lambda: (checkpoints / f"{step}/manifest.json").is_file())
    return checkpoints


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param("truncate", marks=pytest.mark.fault("a truncated checkpoint")),
        pytest.param("flip", marks=pytest.mark.fault("a checkpoint with one bit flipped")),
    ],
)
def test_a_damaged_checkpoint(harm: str, undisturbed: tuple[dict[str, Any], Path], folder: Path) -> None:
    newest = max((p for p in killed_at(folder, 30).iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    files = [p for p in (newest / "state").rglob("*") if p.is_file()]
    victim = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    if harm == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 3] ^= 1 << 4
        victim.write_bytes(content)
    finish(folder)
    assert f"checkpoint {newest.name} is damaged and was set aside" in said(folder)
    whole(folder / "run", undisturbed)


@pytest.mark.fault("a truncated line of metrics, a truncated record")
def test_truncated_lines(undisturbed: tuple[dict[str, Any], Path], folder: Path) -> None:
    killed_at(folder, 30)
    for name in ("metrics.jsonl", "record.json"):
        path = folder / "run" / name
        path.write_bytes(path.read_bytes()[:-20])
    finish(folder)
    whole(folder / "run", undisturbed)


@pytest.mark.fault("two processes started on one run directory")
def test_the_second_process_refuses(undisturbed: tuple[dict[str, Any], Path], folder: Path) -> None:
    first = start(folder)
    until(lambda: steps_done(folder) > 1, SECONDS, [first])
    second = start(folder)
    assert second.wait(SECONDS) == 2
    assert "another process is training in this directory" in said(folder)
    assert first.wait(SECONDS) == 0
    whole(folder / "run", undisturbed)


@pytest.mark.fault("clocks that jump")
def test_clock_jumps(
    undisturbed: tuple[dict[str, Any], Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time of day goes back and forth by days at every look, as after a repair of a host's clock."""
    real, days = time.time, itertools.cycle([0, 3, -2, 5, -4])
    monkeypatch.setattr(time, "time", lambda: real() + 86_400 * next(days))
    one = ["mesh.data=1", "mesh.fsdp=1", "mesh.tensor=1"]
    record = train_here(load_run(undisturbed[0], one), folder / "run")
    assert all(seconds >= 0 for seconds in record.seconds.values())
    whole(folder / "run", undisturbed)


SHARED = {"train": {"steps": 60, "checkpoint_every": 5, "eval_every": None}}


def several(count: int, tmp_path: Path, run: dict[str, Any], **environment: str) -> Processes:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    return Processes(count, tmp_path, "train", "run.yaml", "--out", "run", environment=environment)


def go_on(count: int, tmp_path: Path, run: dict[str, Any], out: Path) -> None:
    """The same processes, to the end: the losses of a cluster where nothing went wrong, bit for bit."""
    assert several(count, tmp_path, run).wait(SECONDS) == [0] * count
    (out / "whole").mkdir(exist_ok=True)
    assert several(count, out / "whole", run).wait(SECONDS) == [0] * count
    assert curves(tmp_path / "run") == curves(out / "whole/run")
    assert json.loads((tmp_path / "run/record.json").read_text())["status"] == "finished"
    assert orphans(out) == []


@pytest.mark.fault("a lost worker of four")
def test_a_lost_worker(tmp_path: Path) -> None:
    run = merge(tiny_run(tmp_path / "corpus", data=4), SHARED)
    folder = tmp_path / "disturbed"
    folder.mkdir()
    four = several(4, folder, run)
    until(lambda: (folder / "run/checkpoints/10").is_dir(), SECONDS, four.running)
    four.running[2].kill()
    codes = four.wait(150)
    assert codes[2] == -signal.SIGKILL and 0 not in codes
    go_on(4, folder, run, tmp_path)


@pytest.mark.fault("a hung worker, found by the heartbeat")
def test_a_hung_worker(tmp_path: Path) -> None:
    """Stopped, not dead: its connections stay open. The other ends in the time set."""
    run = merge(tiny_run(tmp_path / "corpus", data=2), SHARED)
    folder = tmp_path / "disturbed"
    folder.mkdir()
    two = several(2, folder, run, SCALING_STALL_SECONDS="15")
    until(lambda: (folder / "run/checkpoints/10").is_dir(), SECONDS, two.running)
    two.running[1].send_signal(signal.SIGSTOP)
    assert two.running[0].wait(40) == TRY_AGAIN
    assert "no step for 15 s" in two.said()
    two.kill()
    go_on(2, folder, run, tmp_path)
