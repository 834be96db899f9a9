"""Submitting: a ledger, a scheduler that is asked, and nothing twice."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from scaling import cli
from scaling.config.load import load_run, load_sweep
from scaling.config.run import RunConfig
from scaling.launch.job import Job, Site
from scaling.launch.launcher import State
from scaling.launch.shared_disk import Local, Slurm
from scaling.launch.slices import smallest_slice
from scaling.launch.submit import decide, read_submissions, submit, submitting
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand
from scaling.train.record import make_record
from tests.parallel.clusters import tiny_run, until

SWEEP = {"design": "grid", "axes": {"train.learning_rate": [0.01, 0.02]}}


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    import yaml

    base = tiny_run(tmp_path / "corpus")
    del base["mesh"], base["name"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**SWEEP, "base": base}))
    site = Site(tmp_path / "out", "s", within=1e6)
    runs = expand(load_sweep(tmp_path / "s.yaml"))
    return [Job(smallest_slice(run, "cpu:2", within=1e6), site) for run in runs]


class Fake(Slurm):
    """Counts what it is given, and says of jobs what it is told to."""

    def __init__(self) -> None:
        self.submitted: list[list[str]] = []
        self.says: State = "alive"
        self.refuses = False

    def submit(self, jobs: Any, file: Path) -> list[str]:
        held = read_submissions(jobs[0].site.directory).runs
        assert all(held[job.run_id].job is None for job in jobs), "in the ledger before it goes out"
        assert file.read_text() == self.submission(jobs)
        if self.refuses:
            raise BadInputError("no")
        self.submitted.append([job.run_name for job in jobs])
        return [f"7_{number}" for number in range(len(jobs))]

    def state(self, name: str, job: str | None, site: Site) -> State:
        return self.says


def finish(run: RunConfig, directory: Path) -> None:
    """A finished record, as the trainer writes it."""
    from scaling.estimate.counts import count_parameters

    directory.mkdir(parents=True)
    losses = dict.fromkeys(("loss", "validation_loss", "bits_per_byte"), 1.0)
    record = make_record(
        run, "finished", params=count_parameters(run.model), flops_per_token=1.0, step=12, points={},
        losses=losses, seconds={}, tokens_per_second=None, mfu=None, device={}, started="now",
    )  # fmt: skip
    (directory / "record.json").write_text(record.model_dump_json())


def test_nothing_is_submitted_twice(jobs: list[Job], tmp_path: Path) -> None:
    engine, site, sweep = Fake(), jobs[0].site, load_sweep(tmp_path / "s.yaml")
    both = [job.run_name for job in jobs]
    say = list[str]().append
    assert [one.submit for one in submit(sweep, jobs, engine, site, say)] == [True, True]
    ledger = read_submissions(site.directory)
    assert {one.run: one.job for one in ledger.runs.values()} == dict(zip(both, ("7_0", "7_1"), strict=True))
    for job in jobs:  # what the cluster reads is the run
        assert load_run(str(job.config)).id() == job.run_id
    for engine.says in ("alive", "unknown"):
        assert not any(one.submit for one in submit(sweep, jobs, engine, site, say))
    assert engine.submitted == [both]
    # One has finished, and the scheduler knows neither: the other goes out again.
    finish(jobs[0].placement.run, site.directory / jobs[0].run_name)
    engine.says = "gone"
    reasons = [one.reason for one in submit(sweep, jobs, engine, site, say)]
    assert reasons[0] == "finished" and "has ended, the run has not" in reasons[1]
    assert engine.submitted == [both, both[1:]]


def test_what_the_engine_refuses_is_not_in_the_ledger(jobs: list[Job], tmp_path: Path) -> None:
    engine, site, sweep = Fake(), jobs[0].site, load_sweep(tmp_path / "s.yaml")
    engine.refuses = True
    with pytest.raises(BadInputError):
        submit(sweep, jobs, engine, site, print)
    assert not read_submissions(site.directory).runs
    engine.refuses = False
    assert all(one.submit for one in submit(sweep, jobs, engine, site, print))


def test_two_at_once_and_a_damaged_ledger_are_refused(jobs: list[Job], tmp_path: Path) -> None:
    engine, site, sweep = Fake(), jobs[0].site, load_sweep(tmp_path / "s.yaml")
    site.directory.mkdir()
    with submitting(site.directory), pytest.raises(BadInputError, match="another scaling launch"):
        submit(sweep, jobs, engine, site, print)
    (site.directory / "submissions.json").write_text('{"runs": ')
    with pytest.raises(BadInputError, match="not a ledger"):
        decide(jobs, engine)
    assert not engine.submitted


@pytest.mark.parametrize(
    ("program", "state"),
    [
        ("echo RUNNING", "alive"),
        ("echo PENDING", "alive"),
        ("true", "gone"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "gone"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "unknown"),
        (None, "unknown"),
    ],
)
def test_what_squeue_says(
    program: str | None, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    if program is not None:
        (binaries / "squeue").write_text(f"#!/bin/sh\n{program}\n")
        (binaries / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:/bin" if program else str(binaries))
    assert Slurm().state("name", "7_0", Site(tmp_path, "s")) == state
    assert Slurm().state("name", None, Site(tmp_path, "s")) == "unknown"


def test_local_jobs_are_processes(jobs: list[Job], tmp_path: Path) -> None:
    """A script in a session of its own: alive while it runs, gone after, and never another of the same id."""
    file = tmp_path / "job.sh"
    file.write_text("echo said; sleep 30\n")
    job, again = Local().submit(jobs, file)
    assert job == again
    site = jobs[0].site
    assert Local().state("name", job, site) == "alive"
    pid, _, began = job.partition("@")
    assert Local().state("name", f"{pid}@{int(began) - 1}", site) == "gone"
    until(lambda: (tmp_path / "job.log").read_text() == "said\n", 20)
    os.killpg(int(pid), 9)
    until(lambda: Local().state("name", job, site) == "gone", 20)


def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["scaling", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"


def test_the_eight_sizes_of_gpt3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("launch", "configs/sweeps/gpt1-to-gpt3.yaml", "--on", "skypilot", "--dry-run")
    code, out, err = run_cli(monkeypatch, capsys, *command)
    assert code == 0 and not err
    code, document, _ = run_cli(monkeypatch, capsys, *command, "--json")
    found = json.loads(document)
    assert len(found["runs"]) == 8 and found["usd"] == pytest.approx(sum(run["usd"] for run in found["runs"]))
    for run in found["runs"]:
        (line,) = [line for line in out.splitlines() if line.startswith(run["run"])]
        assert run["slice"] in line and f"{run['hours']:.3g}" in line and _three_digits(run["usd"]) in line
        assert run["hours"] <= 720 and run["usd"] == pytest.approx(run["device_hours"] * 4.2)
    assert _three_digits(found["usd"]) in out
    texts = [one["text"] for one in found["submissions"]]
    assert len(texts) == 8
    code, shown, _ = run_cli(monkeypatch, capsys, *command, "--show")
    assert all(text.rstrip() in shown for text in texts)
    assert not list(tmp_path.iterdir()), "a dry run leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("demo", "--on: name the engine"),
        ("demo --on pbs", "--on pbs: unknown engine; known: local, slurm, gke"),
        ("nothing --on slurm", "sweep config 'nothing'"),
        ("demo --on slurm --device tpu-v5p", "--device tpu-v5p: none of its slices"),
        ("demo --on skypilot --device h100", "h100"),
        ("demo --on gke --device tpu-v5p:3x3", "--on tpu-v5p:3x3"),
        ("demo --on gke --within 0", "--within 0: give a positive number"),
        ("gpt1-to-gpt3 --on gke --within 1", "--within 1: gpt3-125m takes"),
        ("gpt1-to-gpt3 --on gke --device tpu-v5e", "gpt3-175b: fits on no slice of tpu-v5e"),
        ("demo --on gke --price -1", "--price -1: give a positive number"),
        ("demo --on slurm --spot", "--spot: slurm rents nothing"),
        ("demo --on gke --device tpu-v5e", "--bucket: runs on GKE are kept in a bucket"),
        ("demo --on gke --device tpu-v5e --bucket gs://abc", "--image"),
        ("demo --on tpu-vm --bucket gs://abc", "--zone"),
        ("demo --on tpu-vm --bucket ftp://abc", "--bucket ftp://abc"),
        ("demo --on tpu-vm --device h100-sxm", "none of its slices"),
        ("demo --on gke --device unpriced.yaml", "unpriced.yaml: has no list price; give --price"),
        ("demo --on slurm --template none.sh", "none.sh: no such file"),
        ("demo --on gke --device tpu-v5e --template none.yaml --dry-run", "none.yaml: no such file"),
    ],
)
def test_bad_input(
    arguments: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    import yaml

    from scaling.config.load import config_root

    monkeypatch.chdir(tmp_path)
    tree = yaml.safe_load((config_root() / "hardware/h100-sxm.yaml").read_text())
    (tmp_path / "unpriced.yaml").write_text(yaml.safe_dump(tree | {"prices": []}))
    code, out, err = run_cli(monkeypatch, capsys, "launch", *arguments.split())
    assert code == 2 and not out, out
    assert len(err.splitlines()) == 1 and words in err
    assert [path.name for path in tmp_path.iterdir()] == ["unpriced.yaml"]
