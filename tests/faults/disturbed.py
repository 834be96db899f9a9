"""A run in a process of its own, what is seen of it from outside, and the check that nothing was lost."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from scaling.config.record import RunRecord
from tests.faults.dying import At
from tests.parallel.clusters import curves, one_device_environment

SECONDS = 1800.0  # only a process that hangs takes so long
LOST_NOTHING = "every loss bit for bit, record complete, no process left"
RUN = {
    "model": {"dropout": 0.1},
    "train": {
        "steps": 60,
        "batch_tokens": 1024,
        "checkpoint_every": 5,
        "eval_every": 10,
        "eval_tokens": 4096,
    },
}


def start(
    folder: Path,
    out: str = "run",
    *,
    devices: int = 1,
    changes: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    at: At | None = None,
) -> Any:
    """`scaling train run.yaml` as a process that may stop itself at a phase; what it says goes to a file."""
    program = [sys.executable, "-m", "scaling.cli"] if at is None else at.program()
    command = [*program, "train", "run.yaml", *changes, "--out", out]
    environment = one_device_environment() | (environment or {})
    environment["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
    with (folder / "said.log").open("a") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=environment)


def finish(folder: Path, out: str = "run", **how: Any) -> None:
    """The same command, to the end."""
    process = start(folder, out, **how)
    try:
        code = process.wait(SECONDS)
    finally:
        process.kill()
    assert code == 0, said(folder)


def said(folder: Path) -> str:
    return (folder / "said.log").read_text()


def refused(folder: Path) -> str:
    """What the last process said in its only line of complaint."""
    assert "Traceback" not in said(folder), said(folder)
    return said(folder).strip().splitlines()[-1]


def orphans(folder: Path) -> list[str]:
    """Command lines of living processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd").startswith(str(folder)) and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_bytes().decode().replace("\0", " "))
    return found


def check_whole(directory: Path, undisturbed: Path) -> None:
    """The record and every loss are those of the undisturbed run, to the last bit."""
    expected = RunRecord.model_validate_json((undisturbed / "record.json").read_text())
    found = RunRecord.model_validate_json((directory / "record.json").read_text())
    assert (found.status, found.step, found.tokens) == ("finished", expected.step, expected.tokens)
    assert [p.loss for p in found.points] == [p.loss for p in expected.points]
    assert (found.train_loss, found.validation_loss) == (expected.train_loss, expected.validation_loss)
    assert curves(directory) == curves(undisturbed)
    assert not list(directory.glob(".*")), "no half-written file is left"


def lines(folder: Path, out: str = "run") -> list[dict[str, Any]]:
    """Whole lines of metrics so far."""
    found = []
    with contextlib.suppress(OSError):
        for line in (folder / out / "metrics.jsonl").read_text().split("\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def step_of(folder: Path, out: str = "run") -> int:
    """The last step whose loss was written."""
    return max((line["step"] for line in lines(folder, out) if "loss" in line), default=0)


def killed(process: Any) -> bool:
    """Whether a process ended by a signal, as it arranged itself."""
    return process.wait(SECONDS) < 0


def stopped(process: Any) -> None:
    """Wait until a process has stopped itself (SIGSTOP)."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), "it ended before it stopped"
