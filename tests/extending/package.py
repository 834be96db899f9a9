"""A copy of the package, changed as `docs/extending.md` says; scripts run in a process of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def blocks(title: str, language: str = "python") -> list[str]:
    """The code blocks of a section of the page."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


class ExtendedPackage:
    """A copy of `scaling/` below `folder`, with the blocks of a section put in.

    The first line of a block names its file and, for an entry, the table: `# scaling/x.py, in TABLE`. Imports
    go to the other imports, entries to the end of the table. `touched` are the files that changed.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "scaling", folder / "scaling", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "configs").symlink_to(ROOT / "configs")
        self.touched: set[str] = set()
        for block in blocks(title):
            header, code = block.split("\n", 1)
            path, _, table = header.removeprefix("# ").partition(", in ")
            self.touched.add(path)
            self._put(folder / path, code, table)

    def _put(self, path: Path, code: str, table: str) -> None:
        if not table:
            before = path.read_text(encoding="utf-8") + "\n\n" if path.exists() else ""
            path.write_text(before + code, encoding="utf-8")
            return
        lines, own = path.read_text(encoding="utf-8").splitlines(), code.splitlines()
        start = next(i for i, line in enumerate(lines) if re.match(rf"{table}\b.*[({{]$", line))
        end = next(i for i in range(start, len(lines)) if lines[i] in (")", "}"))
        lines[end:end] = [line for line in own if line.startswith(" ")]
        first = next(i for i, line in enumerate(lines) if line.startswith(("from ", "import ")))
        lines[first:first] = [line for line in own if not line.startswith(" ")]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(self, script: str, *arguments: object) -> Any:
        """The JSON that a script prints when it runs with the copy."""
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), "SCALING_CACHE": str(self.folder / "cache")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)


TRAIN = """
import json, sys
from pathlib import Path
import jax
from scaling.config.devices import parse_devices
from scaling.config.load import load_run
from scaling.estimate.counts import count_parameters, tensors
from scaling.estimate.estimate import on_devices
from scaling.estimate.optimizers import state_size
from scaling.train.loop import train
from scaling.train.step import abstract_state

run = load_run(json.loads(sys.argv[1]))
state = abstract_state(run)
kept = sum(x.size for x in jax.tree.leaves(state.optimizer) if x.ndim)
record = train(run, Path("run"))
print(json.dumps({
    "objective": run.objective.name,
    "family": record.family,
    "status": record.status,
    "loss": record.validation_loss,
    "counted": count_parameters(run.model).total,
    "parameters": sum(x.size for x in jax.tree.leaves(state.model)),
    "state": sum(state_size(run.train.optimizer, t) for t in tensors(run.model)),
    "kept": kept,
    "step_seconds": on_devices(run, parse_devices("h100-sxm:1"), 1e6).time.seconds,
}))
"""
"""Trains a run, given as JSON, and prints what was counted before and what came of it."""


def tiny_run(folder: Path, model: dict[str, Any], **train: Any) -> str:
    """A run of four steps on a text of a few thousand characters, as JSON."""
    texts = folder / "texts"
    texts.mkdir()
    for i in range(8):
        (texts / f"{i}.txt").write_text("".join(f"{'abcdefgh'[(i * j) % 8]} {j % 7}\n" for j in range(300)))
    return json.dumps(
        {
            "name": "tiny",
            "model": {"vocab_size": 257, "max_length": 16, "d_model": 8, **model},
            "data": {"source": f"text:{texts}/*.txt", "sequence_length": 16, "validation_fraction": 0.3},
            "train": {
                "batch_tokens": 64, "steps": 4, "learning_rate": 1e-2, "eval_tokens": 64, **train,
            },
            "tracking": {"tensorboard": False},
        }
    )  # fmt: skip
