"""A tiny run on a corpus of its own, quick to compile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.config.load import load_run
from scaling.config.run import RunConfig

MakeRun = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twelve documents of a little language with rules to learn."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(12):
        words = [f"{'abcdefgh'[(i * j) % 8] * (1 + j % 3)} {j % 7}\n" for j in range(300 + 10 * i)]
        (folder / f"{i}.txt").write_text("".join(words))
    return f"text:{folder}/*.txt"


@pytest.fixture
def make_run(corpus: str) -> MakeRun:
    def make(*overrides: str, **train: Any) -> RunConfig:
        tree = {
            "name": "tiny",
            "model": {
                "vocab_size": 257, "max_length": 32, "n_layers": 2, "d_model": 16, "n_heads": 2,
                "scan_layers": True,
            },
            "data": {"source": corpus, "sequence_length": 32, "validation_fraction": 0.2},
            "train": {
                "batch_tokens": 256, "steps": 24, "learning_rate": 1e-2, "warmup_steps": 3,
                "eval_tokens": 1024, "log_every": 1, "checkpoint_every": 5, **train,
            },
        }  # fmt: skip
        return load_run(tree, overrides)

    return make


def trunk_losses(directory: Path) -> dict[int, float]:
    """Training loss by step, from metrics.jsonl."""
    import json

    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line and line["branch"] is None}
