"""Real processes on loopback: the command line, started once for each process of a run."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def tiny_run(corpus: Path, **mesh: int) -> dict[str, Any]:
    """A run of twelve steps on documents of its own, quick to compile."""
    corpus.mkdir(exist_ok=True)
    for i in range(12):
        words = [f"{'abcdefgh'[(i * j) % 8] * (1 + j % 3)} {j % 7}\n" for j in range(300 + 10 * i)]
        (corpus / f"{i}.txt").write_text("".join(words))
    return {
        "name": "tiny",
        "model": {
            "vocab_size": 257, "max_length": 32, "n_layers": 2, "d_model": 16, "n_heads": 4,
            "scan_layers": True,
        },
        "data": {"source": f"text:{corpus}/*.txt", "sequence_length": 32, "validation_fraction": 0.2},
        "train": {
            "batch_tokens": 256, "steps": 12, "learning_rate": 1e-2, "warmup_steps": 3, "eval_tokens": 1024,
            "log_every": 1, "checkpoint_every": 4, "eval_every": 6,
        },
        "mesh": mesh,
    }  # fmt: skip


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def one_device_environment() -> dict[str, str]:
    """This process's environment, for others that are to have one CPU device each."""
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


class Processes:
    """`scaling ARGUMENTS` as processes of one run, each with one CPU device; {} is a process's number."""

    def __init__(self, count: int, folder: Path, *arguments: str, environment: dict[str, str] | None = None):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        inherited = one_device_environment()
        address = f"127.0.0.1:{free_port()}"
        self.running = []
        for number in range(count):
            said = (folder / f"{count}-{number}.log").open("w")
            asked = ["--coordinator", address, "--processes", str(count), "--process-id", str(number)]
            own = [argument.replace("{}", str(number)) for argument in arguments]
            command = [sys.executable, "-m", "scaling.cli", *own, *(asked if count > 1 else [])]
            self.running.append(
                subprocess.Popen(
                    command, cwd=folder, stdout=said, stderr=said, env=inherited | (environment or {})
                )
            )

    def wait(self, seconds: float = 400.0) -> list[int]:
        """Exit codes; whatever still runs at the end of the time is killed."""
        deadline = time.monotonic() + seconds
        try:
            return [one.wait(max(0.1, deadline - time.monotonic())) for one in self.running]
        finally:
            self.kill()

    def kill(self) -> None:
        """Leave nothing behind."""
        for one in self.running:
            if one.poll() is None:
                one.kill()
                one.wait()

    def said(self) -> str:
        """What all of them printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


def train(count: int, folder: Path, run: dict[str, Any], *, out: str = "run", seconds: float = 400.0) -> None:
    """Train a run by so many processes in `folder / out`; all must end well."""
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    processes = Processes(count, folder, "train", "run.yaml", "--out", out)
    codes = processes.wait(seconds)
    assert codes == [0] * count, processes.said()


def curves(directory: Path) -> tuple[list[int], list[float]]:
    """Steps and losses of metrics.jsonl, training then validation."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    steps: list[int] = []
    losses: list[float] = []
    for key in ("loss", "validation_loss"):
        steps += [line["step"] for line in lines if key in line]
        losses += [line[key] for line in lines if key in line]
    return steps, losses


def until(condition: Any, seconds: float, processes: Sequence[subprocess.Popen[Any]] = ()) -> None:
    """Wait for a condition; fails when the time is over or a process has ended before it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert all(one.poll() is None for one in processes), "a process ended too early"
        time.sleep(0.02)
