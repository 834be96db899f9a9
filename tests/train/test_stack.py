"""Runs trained in one program are the runs alone: losses, records, checkpoints; one's failure is its own."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from scaling.config.load import dump_yaml
from scaling.config.mesh import RUN_AXIS, MeshConfig
from scaling.config.record import RunRecord, read_record
from scaling.config.run import RunConfig
from scaling.parallel.mesh import make_mesh, run_ways
from scaling.parallel.processes import InterruptedRunError, RunFailedError
from scaling.train import program
from scaling.train.checkpoints import Checkpoints
from scaling.train.loop import RunOutcome, groups, train, train_stack, why_alone
from scaling.train.program import Programs, program_key, steps_at_once
from scaling.train.progress import Reporter, Silent, Status
from scaling.train.step import TrainState, TrainStep
from tests.train.conftest import MakeRun, trunk_losses

Members = list[tuple[RunConfig, Path]]


def stack(members: Members, lanes: int | None = None, reporter: Reporter | None = None) -> list[RunOutcome]:
    return list(train_stack(members, lanes or len(members), reporter or Silent(), Programs()))


def members(folder: Path, *runs: RunConfig) -> Members:
    return [(run, folder / str(number)) for number, run in enumerate(runs)]


def metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the times."""
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    timed = {"seconds", "tokens_per_second"}
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def record_of(directory: Path) -> dict[str, Any]:
    """A record without times, and what depends on the process."""
    record = read_record(directory)
    assert record is not None
    untimed = record.model_dump(
        exclude={"seconds", "goodput", "tokens_per_second", "mfu", "peak_memory_bytes", "started", "ended"}
    )
    return untimed | {"points": [{**point, "seconds": 0} for point in untimed["points"]]}


def state_of(run: RunConfig, directory: Path) -> tuple[TrainState, dict[str, Any]]:
    functions = TrainStep(run, make_mesh(run.mesh))
    found = Checkpoints(directory / "checkpoints", 2).restore(
        functions.abstract_state, functions.state_shardings, print
    )
    assert found is not None
    return found


def close(one: Any, other: Any, path: str = "") -> None:
    """Trees of plain JSON, equal but for floats, which are close."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            close(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            close(a, b, f"{path}.{number}")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5, nan_ok=True), path
    else:
        assert one == other, path


def test_each_member_is_the_run_alone_and_a_diverged_one_leaves_the_others(
    make_run: MakeRun, tmp_path: Path
) -> None:
    """Other rates, seeds (of weights and of dropout) and schedules; one diverges."""
    common: dict[str, Any] = {"clip_norm": None, "steps": 12, "eval_every": 5}
    runs = [
        make_run("model.dropout=0.1", "name=a", **common),
        make_run("model.dropout=0.1", "name=b", learning_rate=3e-3, seed=7, **common),
        make_run("model.dropout=0.1", "name=c", learning_rate=1e30, schedule="constant", **common),
    ]
    assert len(groups(members(tmp_path, *runs))) == 1
    together = members(tmp_path / "stack", *runs)
    outcomes = {outcome.run.name: outcome for outcome in stack(together)}
    programs = Programs()
    alone = members(tmp_path / "alone", *runs)
    for run, path in alone[:2]:
        train(run, path, programs=programs)
    with pytest.raises(RunFailedError) as failure:
        train(*alone[2], programs=programs)
    assert outcomes["c"].line == str(failure.value) and outcomes["c"].record is None
    for (run, one), (_, other) in zip(together, alone, strict=True):
        close(metrics(one), metrics(other), run.name)
        close(record_of(one), record_of(other), run.name)
        assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
        assert (one / "config.yaml").read_bytes() == (other / "config.yaml").read_bytes()
    for (run, one), (_, other) in zip(together[:2], alone[:2], strict=True):
        assert isinstance(outcomes[run.name].record, RunRecord)
        (state, counters), (expected, counted) = state_of(run, one), state_of(run, other)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5, rtol=1e-4)
        assert counters["data"] == counted["data"] and counters["step"] == counted["step"]
        assert train(run, one) == outcomes[run.name].record, "a finished member is a finished run"


class Stops(Silent):
    """Ends the process's work, or signals it, when a run comes to a step for the n-th time."""

    def __init__(self, step: int, times: int = 1, with_signal: int | None = None) -> None:
        self.step, self.times, self.with_signal = step, times, with_signal

    def advance(self, units: int, status: Status) -> None:
        if status.step == self.step:
            self.times -= 1
            if self.times == 0 and self.with_signal is None:
                raise KeyboardInterrupt
            if self.times == 0:
                os.kill(os.getpid(), self.with_signal or 0)


def test_a_stack_resumes_bit_for_bit(make_run: MakeRun, tmp_path: Path) -> None:
    """Broken off without saving; then stopped by a signal, one member a checkpoint before the other."""
    runs = [make_run("model.dropout=0.1", f"name=r{seed}", seed=seed) for seed in range(2)]
    whole, broken = members(tmp_path / "whole", *runs), members(tmp_path / "broken", *runs)
    stack(whole)
    with pytest.raises(KeyboardInterrupt):
        stack(broken, reporter=Stops(8, times=2))
    with pytest.raises(InterruptedRunError, match="saved at step"):
        stack(broken, reporter=Stops(11, with_signal=signal.SIGTERM))
    records = [read_record(path) for _, path in broken]
    assert [(record.status, record.step) for record in records if record] == [
        ("interrupted", 20),
        ("interrupted", 10),
    ]
    assert all(outcome.record is not None for outcome in stack(broken))
    for (_, one), (_, other) in zip(broken, whole, strict=True):
        assert trunk_losses(one) == trunk_losses(other)
        assert record_of(one)["points"] == record_of(other)["points"]


@pytest.mark.slow
def test_members_of_other_budgets_take_the_lanes_that_others_leave(make_run: MakeRun, tmp_path: Path) -> None:
    """Four runs in two lanes: a finished one, cooldown branches, a short one, and one that waits for it."""
    branched = {"tokens": 16 * 256, "steps": None, "branches": [8 * 256], "schedule": "wsd"}
    runs = [
        make_run("name=finished", steps=4),
        make_run("name=branched", cooldown_fraction=0.25, **branched),
        make_run("name=short", steps=5, seed=3),
        make_run("name=long", steps=9, learning_rate=5e-3),
    ]
    together, alone = members(tmp_path / "stack", *runs), members(tmp_path / "alone", *runs)
    programs = Programs()
    for run, path in alone:
        train(run, path, programs=programs)
    train(*together[0], programs=programs)
    written = (together[0][1] / "record.json").stat().st_mtime_ns
    outcomes = stack(together, lanes=2)
    assert {outcome.run.name for outcome in outcomes} == {run.name for run in runs}
    assert (together[0][1] / "record.json").stat().st_mtime_ns == written
    for (run, one), (_, other) in zip(together, alone, strict=True):
        close(metrics(one), metrics(other), run.name)
        close(record_of(one), record_of(other), run.name)


def test_a_directory_of_another_run_fails_its_member_alone(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"name=r{seed}", seed=seed, steps=3) for seed in range(3)]
    together = members(tmp_path, *runs)
    (tmp_path / "1").mkdir()
    (tmp_path / "1/config.yaml").write_text(dump_yaml(make_run("name=other")))
    outcomes = {outcome.run.name: outcome for outcome in stack(together)}
    assert outcomes["r1"].record is None and str(tmp_path / "1") in (outcomes["r1"].line or "")
    assert outcomes["r0"].record is not None and outcomes["r2"].record is not None


@pytest.mark.slow
def test_the_mesh_splits_the_run_axis(make_run: MakeRun, tmp_path: Path) -> None:
    """Four runs on two devices each are four runs on one device."""
    split = [make_run("mesh.data=2", f"name=r{seed}", seed=seed, steps=6) for seed in range(4)]
    together = members(tmp_path / "stack", *split)
    outcomes = stack(together)
    mesh = make_mesh(split[0].mesh, runs=4)
    assert mesh.shape[RUN_AXIS] == 4 and mesh.size == 8
    assert [outcome.line for outcome in outcomes] == [None] * 4
    programs = Programs()
    for number in (0, 3):
        run = make_run(f"name=r{number}", seed=number, steps=6)
        train(run, tmp_path / str(number), programs=programs)
        close(metrics(together[number][1]), metrics(tmp_path / str(number)), run.name)
        assert read_record(together[number][1]).id == run.id()  # type: ignore[union-attr]


def test_several_steps_per_dispatch_are_the_steps(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits, lines and checkpoints with one step per dispatch."""
    run = make_run("model.dropout=0.1", steps=12, log_every=3, eval_every=7)
    assert steps_at_once(run, "cpu") == 16
    train(run, tmp_path / "several")
    monkeypatch.setattr(program, "_MOST_AT_ONCE", 1)
    assert steps_at_once(run, "cpu") == 1
    train(run, tmp_path / "one")
    assert metrics(tmp_path / "several") == metrics(tmp_path / "one")
    assert record_of(tmp_path / "several") == record_of(tmp_path / "one")


def test_runs_of_one_program_are_one_group(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    same = [
        make_run(learning_rate=1e-3), make_run(seed=4), make_run(steps=99), make_run(schedule="linear"),
        make_run(warmup_steps=1), make_run("data.seed=3"), make_run(log_every=7),
    ]  # fmt: skip
    other = [
        make_run("model.d_model=32"), make_run(batch_tokens=512), make_run(weight_decay=0.0),
        make_run(optimizer="lion"), make_run("data.sequence_length=16"), make_run("mesh.data=2"),
        make_run("data.mask_documents=false"), make_run(clip_norm=None),
    ]  # fmt: skip
    assert {program_key(one) for one in same} == {program_key(run)}
    assert program_key(run) not in {program_key(one) for one in other}
    assert "profile.steps" in (why_alone(make_run("profile.steps=2:4")) or "")
    assert "one run per process" in (why_alone(make_run("tracking.wandb=x")) or "")
    assert why_alone(run) is None
    found = groups(members(tmp_path, run, other[0], same[0], make_run("profile.steps=2:4")))
    assert [len(group) for group in found] == [2, 1, 1]


@pytest.mark.parametrize(
    ("mesh", "runs", "ways"),
    [({}, 4, 4), ({}, 6, 6), ({}, 16, 8), ({"data": 2}, 4, 4), ({"data": 2}, 8, 4), ({"data": -1}, 4, 4),
     ({"data": -1}, 6, 2), ({"fsdp": 2, "data": -1}, 8, 4), ({"data": 8}, 4, 1), ({}, 1, 1), ({}, 7, 7)],
)  # fmt: skip
def test_devices_that_a_run_leaves_idle_split_the_runs(mesh: dict[str, int], runs: int, ways: int) -> None:
    assert run_ways(runs, MeshConfig(**mesh), 8) == ways


@pytest.mark.slow
def test_the_last_runs_go_on_in_a_smaller_program(make_run: MakeRun, tmp_path: Path) -> None:
    """Two of four members end early: the others move to two lanes, with their states."""
    runs = [make_run(f"name=r{steps}", steps=steps, seed=steps) for steps in (2, 3, 8, 9)]
    together = members(tmp_path / "stack", *runs)
    assert [outcome.line for outcome in stack(together)] == [None] * 4
    train(runs[3], tmp_path / "alone")
    close(metrics(together[3][1]), metrics(tmp_path / "alone"))
