"""Preparations as jobs: scripts that are valid, arguments that arrive as they were, jobs that are joined."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from scaling.launch.job import Site
from scaling.launch.preparation import Preparation
from scaling.runtime.errors import BadInputError
from tests.launch.test_engines import checked

ODD = "jsonl:it's $HOME/`id`/*.jsonl"


def preparation(
    engine: str, out: Path, shards: int = 4, source: str = "jsonl:texts/*.jsonl", **site: object
) -> Preparation:
    arguments = (source, "--out", str(out), "--workers", "2")
    return Preparation(engine, arguments, shards, 2, Site(out, "prepare", ("scaling",), **site))  # type: ignore[arg-type]


def test_the_array_is_valid(tmp_path: Path) -> None:
    script = preparation("slurm", tmp_path / "out", within=1.5).submission()
    checked(script)
    for line in ("#SBATCH --array=1-4", "#SBATCH --cpus-per-task=2", "#SBATCH --time=90"):
        assert f"{line}\n" in script


def test_a_task_prepares_its_shard(tmp_path: Path) -> None:
    """The script, run by bash with an `srun` that notes what it is given."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$SPIED"\n')
    (bin_ / "srun").chmod(0o755)
    spied = tmp_path / "spied"
    environment = os.environ | {
        "PATH": f"{bin_}:{os.environ['PATH']}", "SPIED": str(spied), "SLURM_ARRAY_TASK_ID": "3",
    }  # fmt: skip
    script = preparation("slurm", tmp_path / "out", source=ODD).submission()
    subprocess.run(["bash", "-c", script], check=True, env=environment)
    assert spied.read_text().splitlines() == [
        "scaling", "data", "prepare", ODD, "--out", str(tmp_path / "out"), "--workers", "2", "--shard", "3/4",
    ]  # fmt: skip


def test_the_task_of_skypilot(tmp_path: Path) -> None:
    task = yaml.safe_load(
        preparation("skypilot", Path("out"), bucket="gs://a-bucket/x", spot=True).submission()
    )
    assert task["num_nodes"] == 4 and task["resources"]["use_spot"] is True
    assert task["resources"]["cpus"] == "2+"
    assert task["file_mounts"]["/mnt/scaling"]["source"] == "gs://a-bucket"
    assert "cd /mnt/scaling/x ||" in task["run"] and '--shard "$((SKYPILOT_NODE_RANK + 1))"/4' in task["run"]
    checked("#!/usr/bin/env bash\n" + task["run"])


@pytest.mark.parametrize(
    ("engine", "shards", "says"),
    [
        ("gke", 4, "--on gke: a corpus is prepared by slurm or skypilot"),
        ("slrm", 4, "unknown engine"),
        ("slurm", 0, "--shards 0"),
    ],
)
def test_refused(tmp_path: Path, engine: str, shards: int, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        preparation(engine, tmp_path, shards)
