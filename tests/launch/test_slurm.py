"""A real SLURM of two nodes on this machine: a sweep of two-process runs outlives the death of a node."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from scaling.config.load import load_run, merge
from scaling.train.loop import train as train_here
from tests.parallel.clusters import ROOT, curves, one_device_environment, tiny_run, until

TESTBED = ROOT / "launch/slurm/testbed.sh"


@pytest.fixture(scope="module")
def testbed() -> Iterator[Path]:
    """Its folder; skips, with the reason, where SLURM cannot run."""
    if os.geteuid() != 0:
        pytest.skip("the testbed starts daemons of several users: it needs root")
    if not shutil.which("slurmctld") and not shutil.which("apt-get"):
        pytest.skip("SLURM is not installed, and there is no apt-get to install it")
    # Not below pytest's own folder: every session closes that to others, and munged runs as its own user.
    folder = Path(tempfile.mkdtemp(prefix="scaling-testbed-"))
    folder.chmod(0o755)
    started = subprocess.run([TESTBED, "start", folder], capture_output=True, text=True, timeout=600)
    try:
        if started.returncode:
            pytest.skip(f"the testbed does not start here: {started.stderr[-300:]}")
        yield folder
    finally:
        subprocess.run([TESTBED, "stop", folder], check=True, timeout=60)
        shutil.rmtree(folder)


@pytest.mark.cluster
def test_a_sweep_outlives_the_death_of_a_node(testbed: Path, tmp_path: Path) -> None:
    environment = one_device_environment() | {"SLURM_CONF": str(testbed / "slurm.conf")}
    base = merge(
        tiny_run(tmp_path / "corpus"), {"train": {"steps": 60, "batch_tokens": 4096, "checkpoint_every": 5}}
    )
    base["train"]["eval_every"] = 30
    del base["name"], base["mesh"]
    rates = [0.002, 0.005, 0.01]
    sweep = {"design": "grid", "base": base, "axes": {"train.learning_rate": rates}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(sweep))
    out = tmp_path / "a sweep"

    def scaling(*arguments: str) -> Any:
        command = [sys.executable, "-m", "scaling.cli", *arguments, "--json"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def launch() -> list[bool]:
        options = ("--on", "slurm", "--device", "cpu:2", "--within", "1", "--out", str(out))
        return [run["submit"] for run in scaling("launch", "small.yaml", *options)["runs"]]

    assert launch() == [True] * 3
    assert launch() == [False] * 3, "submitted twice is submitted once"
    logs = out / "launch"

    def said() -> str:
        queue = subprocess.run(["squeue", "--long"], env=environment, capture_output=True, text=True).stdout
        texts = [path.read_text() for path in sorted(logs.glob("*.log"))]
        return "\n".join([queue, *texts, (testbed / "slurmctld.log").read_text()])[-8000:]

    try:
        first = out / f"learning_rate={rates[0]}/checkpoints"
        until(lambda: any((first / str(step)).is_dir() for step in (10, 15, 20)), 400)
        subprocess.run([TESTBED, "kill", testbed, "n2"], check=True, timeout=60)
        time.sleep(5)
        subprocess.run([TESTBED, "node", testbed, "n2"], check=True, timeout=60)
        assert launch() == [False] * 3, "a run whose node died is still SLURM's"
        until(lambda: all(run["status"] == "finished" for run in scaling("status", str(out))), 900)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{said()}") from error
    assert launch() == [False] * 3
    assert "resuming at step" in said()
    for number, rate in enumerate(rates):
        path = out / f"learning_rate={rate}"
        record = json.loads((path / "record.json").read_text())
        assert record["device"]["hosts"] == 2 and record["error"] is None
        if number == 0:
            steps, losses = curves(path)
            assert steps[:60] == list(range(1, 61)), "nothing lost, nothing twice"
            run = merge(base, {"name": path.name, "train": {"learning_rate": rate}})
            train_here(load_run(run), tmp_path / "alone")
            np.testing.assert_allclose(losses, curves(tmp_path / "alone")[1], atol=1e-5)
