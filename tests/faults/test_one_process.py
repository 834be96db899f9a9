"""Whatever ends a run, the same command finishes it: the losses of the undisturbed run bit for bit."""

import contextlib
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from scaling.config.load import merge
from scaling.config.record import read_record
from tests.faults.disturbed import (
    LOST_NOTHING,
    RUN,
    SECONDS,
    check_whole,
    finish,
    killed,
    orphans,
    refused,
    said,
    start,
    step_of,
    stopped,
)
from tests.faults.dying import PHASES, At
from tests.parallel.clusters import ROOT, curves, tiny_run

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory where nothing went wrong, on one device; its config beside it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "run.yaml").write_text(yaml.safe_dump(merge(tiny_run(folder / "corpus"), RUN)))
    finish(folder)
    return folder / "run"


# The longest that a process goes on within a phase before it is killed, in seconds.
LONGEST = {"starting": 1.0, "compiling": 0.1}


@pytest.mark.fault("SIGKILL", LOST_NOTHING)
@pytest.mark.parametrize("seed", range(5))
def test_killed_in_every_phase(seed: int, undisturbed: Path, folder: Path, record_property: Any) -> None:
    """Once a phase in one run, in a random order, at a random moment of it: first while it compiles."""
    chance, kills = random.Random(seed), Counter[str]()
    for phase in ["compiling", *chance.sample(["starting", *PHASES], len(PHASES) + 1)]:
        number = chance.randint(1, 6) if phase == "stepping" else 1
        at = At(phase, number, chance.uniform(1e-6, LONGEST.get(phase, 0.01)))
        assert killed(start(folder, at=at)), f"{phase}: {said(folder)}"
        kills[f"killed while {phase}"] += 1
    finish(folder)
    record_property("tries", dict(kills))
    check_whole(folder / "run", undisturbed)


@pytest.mark.fault("SIGTERM", LOST_NOTHING)
def test_asked_to_stop(undisturbed: Path, folder: Path) -> None:
    process = start(folder, at=At("stepping", 15, signal="SIGTERM"))
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert "the same command resumes it" in refused(folder)
    finish(folder)
    check_whole(folder / "run", undisturbed)


@contextlib.contextmanager
def a_disk(at: Path) -> Iterator[Callable[[str], None]]:
    """A file system of its own at `at`, and a function that mounts it again otherwise."""
    at.mkdir()

    def mount(options: str, *kind: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", *kind, "-o", options, *(["none"] if kind else []), str(at)]
        return subprocess.run(command, capture_output=True, text=True)

    made = mount("size=8m", "-t", "tmpfs")
    if made.returncode:
        pytest.skip(f"cannot mount a file system here: {made.stderr.strip()}")
    try:
        yield lambda options: mount(f"remount,{options}").check_returncode()
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.mark.fault("a full disk", "one line that says so, then " + LOST_NOTHING)
def test_a_full_disk(undisturbed: Path, folder: Path) -> None:
    """Filled when the run has a checkpoint."""
    with a_disk(folder / "disk"):
        process = start(folder, "disk/run", at=At("a checkpoint is whole", 2, signal="SIGSTOP"))
        stopped(process)
        with contextlib.suppress(OSError), (folder / "disk/ballast").open("wb", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(b"0" * size):
                        pass
        process.send_signal(signal.SIGCONT)
        assert process.wait(SECONDS) == 1, said(folder)
        # Orbax's storage threads may complain beside it.
        complaints = [line for line in said(folder).splitlines() if line.startswith("scaling: ")]
        assert len(complaints) == 1 and "No space left on device" in complaints[0], said(folder)
        (folder / "disk/ballast").unlink()
        finish(folder, "disk/run")
        check_whole(folder / "disk/run", undisturbed)


@pytest.mark.fault("a read-only directory", "one line, then " + LOST_NOTHING)
def test_a_read_only_directory(undisturbed: Path, folder: Path) -> None:
    with a_disk(folder / "disk") as again:
        assert killed(start(folder, "disk/run", at=At("stepping", 15)))
        again("ro")
        assert start(folder, "disk/run").wait(SECONDS) == 2
        assert "cannot be written (Read-only file system)" in refused(folder)
        again("rw")
        finish(folder, "disk/run")
        check_whole(folder / "disk/run", undisturbed)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param("truncate", marks=pytest.mark.fault("a truncated checkpoint", LOST_NOTHING)),
        pytest.param("flip", marks=pytest.mark.fault("a bit flipped in a checkpoint", LOST_NOTHING)),
    ],
)
def test_a_damaged_checkpoint(harm: str, undisturbed: Path, folder: Path) -> None:
    """Two lines of metrics are lost with it."""
    checkpoints = folder / "run/checkpoints"
    assert killed(start(folder, at=At("a checkpoint is whole", 2)))
    newest = max((p for p in checkpoints.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    victim = max((newest / "state").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(victim.read_bytes())
    if harm == "truncate":
        del content[len(content) // 2 :]
    else:
        content[random.Random(0).randrange(len(content))] ^= 1 << 4
    victim.write_bytes(content)
    finish(folder)
    assert f"checkpoint {newest.name} is damaged and was set aside" in said(folder)
    check_whole(folder / "run", undisturbed)


@pytest.mark.fault("a truncated line of metrics, a truncated record", LOST_NOTHING)
def test_truncated_lines(undisturbed: Path, folder: Path) -> None:
    assert killed(start(folder, at=At("stepping", 15))) and step_of(folder) == 13
    for name in ("metrics.jsonl", "record.json"):
        path = folder / "run" / name
        path.write_bytes(path.read_bytes()[:-20])
    finish(folder)
    check_whole(folder / "run", undisturbed)


@pytest.mark.fault("a second process on the run directory", "it refuses in one line; " + LOST_NOTHING)
def test_the_second_process_refuses(undisturbed: Path, folder: Path) -> None:
    first = start(folder, at=At("stepping", 3, signal="SIGSTOP"))
    stopped(first)  # it holds its lock also where it does nothing
    try:
        assert start(folder).wait(SECONDS) == 2
    finally:
        first.send_signal(signal.SIGCONT)
    assert f"another process is training in this directory (process {first.pid} on" in refused(folder)
    assert first.wait(SECONDS) == 0
    check_whole(folder / "run", undisturbed)


JUMPS = """
import time
real, days = time.time, [0, 3, -2, 5, -4]
time.time = lambda: real() + 86_400 * days[int(time.monotonic() / 3) % 5]
"""


@pytest.mark.fault("time of day jumps by days", "a line at most, no negative durations, " + LOST_NOTHING)
def test_clock_jumps(undisturbed: Path, folder: Path) -> None:
    """Back and forth every three seconds, as Python sees it.

    A jump inside a save looks to Orbax like a time-out: the run ends in a line, and the same command goes on.
    """
    (folder / "clock").mkdir()
    (folder / "clock/sitecustomize.py").write_text(JUMPS)
    environment = {"PYTHONPATH": f"{folder}/clock:{ROOT}"}
    for _ in range(10):
        code = start(folder, environment=environment).wait(SECONDS)
        if code == 0:
            break
        assert code == 1 and "cannot be written" in said(folder), said(folder)
    record = read_record(folder / "run")
    assert record is not None and all(seconds >= 0 for seconds in record.seconds.values())
    check_whole(folder / "run", undisturbed)


@pytest.mark.fault("8 devices become 4, 2 or 1", "every step once, losses to 1e-5")
def test_fewer_devices(tmp_path: Path, record_property: Any) -> None:
    """Killed on eight simulated devices; one checkpoint goes on, in copies, with four, two and one."""
    # Few steps: training amplifies the rounding of other orders of sums.
    few = {"train": {"steps": 20, "batch_tokens": 4096, "checkpoint_every": 3, "eval_every": None}}
    run = merge(tiny_run(tmp_path / "corpus", stage=2, fsdp=2, tensor=2), few)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert killed(start(tmp_path, devices=8, at=At("stepping", 9))) and step_of(tmp_path) == 8
    left = {4: {"fsdp": 2, "tensor": 2}, 2: {"stage": 2}, 1: {}}
    for devices, axes in left.items():
        shutil.copytree(tmp_path / "run", tmp_path / f"on{devices}")
        sizes = {"stage": 1, "fsdp": 1, "tensor": 1} | axes
        changes = tuple(f"mesh.{axis}={size}" for axis, size in sizes.items())
        finish(tmp_path, f"on{devices}", devices=devices, changes=changes)
    finish(tmp_path, "whole", devices=8)
    assert said(tmp_path).count("resuming at step") == len(left)
    steps, losses = curves(tmp_path / "whole")
    for devices in left:
        found = curves(tmp_path / f"on{devices}")
        assert found[0] == steps
        np.testing.assert_allclose(found[1], losses, atol=1e-5)
    record_property("tries", {"8 devices become 4, 2 or 1": len(left)})
    assert orphans(tmp_path) == []
