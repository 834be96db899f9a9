"""Jobs of a small sweep on any slice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.config.load import load_run, load_sweep
from scaling.launch.job import Job, Site
from scaling.launch.slices import smallest_slice
from scaling.sweep.design import expand

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """A job of a small model under any name, with a batch that splits over a thousand devices."""

    def make(device: str, name: str = "run-1", sweep: str = "Sweep_1", **site: Any) -> Job:
        run = load_run(
            {
                "name": name,
                "model": "cpu-213k",
                "data": {"sequence_length": 128, "source": "jsonl:it's $HOME/`id`/*.jsonl"},
                "train": {"tokens": 10_000_000, "batch_tokens": 1024 * 128, "learning_rate": 1e-3},
            }
        )
        where = Site(tmp_path / "runs", sweep, **{"command": ("scaling",), "within": 1e6, **site})
        return Job(smallest_slice(run, device, within=1e6), where)

    return make


def gpt3_jobs(device: str, site: Site) -> list[Job]:
    """The eight sizes of GPT-3."""
    runs = expand(load_sweep("gpt1-to-gpt3"))
    return [Job(smallest_slice(run, device, within=720), site) for run in runs]
