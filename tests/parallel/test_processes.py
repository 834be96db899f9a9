"""Real processes on loopback give the losses of one device, also when their number changes on the way."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from scaling.config.load import load_run, merge
from scaling.parallel.mesh import share_of
from scaling.parallel.processes import everywhere, from_first, joined, vote
from scaling.runtime.errors import BadInputError
from scaling.train.loop import train as train_here
from tests.parallel.clusters import Processes, curves, tiny_run, train, until

# Long enough to be stopped on the way, and short enough that training does not amplify the rounding of other
# orders of sums beyond 1e-5.
LONG = {"train": {"steps": 60, "batch_tokens": 4096, "checkpoint_every": 5, "eval_every": None}}
MIXTURE = {"model": {"mixture": {"experts": 4, "every": 1, "capacity_factor": 0.75}, "d_ff": 32}}


def alone(run: dict[str, Any], directory: Path) -> tuple[list[int], list[float]]:
    """The same run by one device of this process."""
    train_here(load_run(run | {"mesh": {}}), directory)
    return curves(directory)


def check(found: tuple[list[int], list[float]], expected: tuple[list[int], list[float]]) -> None:
    assert found[0] == expected[0]
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


@pytest.mark.cluster
def test_two_processes_give_the_losses_of_one_device(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "corpus", fsdp=2)
    train(2, tmp_path, run)
    check(curves(tmp_path / "run"), alone(run, tmp_path / "alone"))
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert (
        record["status"] == "finished" and record["device"]["hosts"] == 2 and record["device"]["count"] == 2
    )
    said = (tmp_path / "2-0.log").read_text(), (tmp_path / "2-1.log").read_text()
    assert "nats per token" in said[0] and "nats per token" not in said[1], "the first process alone reports"


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("count", "mesh", "changes"),
    [
        (2, {"data": 2}, {}),
        (2, {"tensor": 2}, {}),
        (2, {"expert": 2}, MIXTURE),
        (2, {"context": 2}, {}),
        (2, {"stage": 2}, {}),
        (4, {"data": 4}, {}),
        (4, {"stage": 2, "context": 2}, {}),
        (4, {"fsdp": 2, "tensor": 2}, {}),
        (4, {"data": 2, "fsdp": 2}, {"train": {"accumulation": 2}}),
        (4, {"fsdp": 2, "expert": 2}, MIXTURE),
        (4, {"tensor": 4}, {"model": {"dropout": 0.1}}),
    ],
    ids=str,
)
def test_every_axis(count: int, mesh: dict[str, int], changes: dict[str, Any], tmp_path: Path) -> None:
    run = merge(tiny_run(tmp_path / "corpus", **mesh), changes)
    train(count, tmp_path, run)
    check(curves(tmp_path / "run"), alone(run, tmp_path / "alone"))


@pytest.mark.cluster
def test_a_run_goes_on_with_other_numbers_of_processes(tmp_path: Path) -> None:
    """Two processes, SIGTERM to one; one process, SIGKILL; four to the end: the losses of one device."""
    run = merge(tiny_run(tmp_path / "corpus", fsdp=2), LONG)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    arguments = ("train", "run.yaml", "--out", "run")
    checkpoints = tmp_path / "run/checkpoints"
    two = Processes(2, tmp_path, *arguments)
    until(lambda: (checkpoints / "10").is_dir(), 400, two.running)
    two.running[1].send_signal(signal.SIGTERM)
    assert two.wait() == [128 + signal.SIGTERM] * 2, two.said()
    assert "SIGTERM at step" in two.said()
    saved = max(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit())
    assert f"at step {saved}, saved at step {saved}" in two.said(), "all stopped at one step, and saved it"

    one = Processes(1, tmp_path, *arguments, "mesh.fsdp=1")
    until(lambda: any((checkpoints / str(step)).is_dir() for step in range(saved + 1, saved + 11)), 400)
    one.kill()

    train(4, tmp_path, merge(run, {"mesh": {"fsdp": 4}}))
    assert "resuming at step" in (tmp_path / "4-0.log").read_text()
    steps, losses = curves(tmp_path / "run")
    assert steps[:60] == list(range(1, 61)), "no step lost, none taken twice"
    check((steps, losses), alone(run, tmp_path / "alone"))


@pytest.mark.cluster
def test_a_lost_process_ends_the_others_and_the_run_goes_on(tmp_path: Path) -> None:
    run = merge(tiny_run(tmp_path / "corpus", data=2), LONG)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    two = Processes(2, tmp_path, "train", "run.yaml", "--out", "run")
    until(lambda: (tmp_path / "run/checkpoints/10").is_dir(), 400, two.running)
    two.running[1].kill()
    codes = two.wait(150)
    assert codes[1] == -signal.SIGKILL and codes[0] != 0, "it does not wait for ever"
    train(2, tmp_path, run)
    check(curves(tmp_path / "run"), alone(run, tmp_path / "alone"))


@pytest.mark.cluster
def test_what_one_process_refuses_all_refuse(tmp_path: Path) -> None:
    """A corpus that one of the hosts does not have; a mesh that leaves a process out."""
    run = tiny_run(tmp_path / "corpus", data=2)
    elsewhere = merge(run, {"data": {"source": f"text:{tmp_path}/nowhere/*.txt"}})
    alone = merge(run, {"mesh": {"data": 1}})
    for trees, words in (((run, elsewhere), "nowhere"), ((alone, alone), "leaves processes out")):
        for number, tree in enumerate(trees):
            (tmp_path / f"run{number}.yaml").write_text(yaml.safe_dump(tree))
        processes = Processes(2, tmp_path, "train", "run{}.yaml", "--out", "refused")
        assert processes.wait() == [2, 2], processes.said()
        lines = [line for line in processes.said().splitlines() if words in line]
        assert len(lines) == 2 and "Traceback" not in processes.said()
    assert not (tmp_path / "refused").exists()


def test_one_process_needs_nobody() -> None:
    with joined(environment={"SCALING_PROCESSES": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}):
        assert everywhere(lambda: 3) == 3 and from_first(lambda: [1]) == [1]
        assert vote(signal.SIGTERM)() == signal.SIGTERM and vote(None)() is None


@pytest.mark.parametrize(
    ("given", "environment", "words"),
    [
        ((None, 2, None), {}, "--coordinator: missing"),
        (("a:1", 2, None), {}, "--process-id: missing"),
        (("a:1", 2, 2), {}, "--process-id 2: give a number from 0 to 1"),
        (("a", 2, 0), {}, "--coordinator a: give HOST:PORT"),
        ((None, 0, None), {}, "--processes 0"),
        ((None, None, None), {"SCALING_PROCESSES": "two"}, "SCALING_PROCESSES='two'"),
        ((None, None, None), {"SCALING_COORDINATOR": "a:1"}, "--processes: missing"),
    ],
)
def test_contradictions_are_refused(
    given: tuple[Any, Any, Any], environment: dict[str, str], words: str
) -> None:
    with pytest.raises(BadInputError, match="^" + words), joined(*given, environment=environment):
        pass


def test_shares_of_a_batch() -> None:
    # Two hosts of four devices: fsdp=8; data=2 x tensor=4; tensor=8; devices that alternate.
    assert [share_of({0: {0, 1, 2, 3}, 1: {4, 5, 6, 7}}, p, 8) for p in (0, 1)] == [(0, 2), (1, 2)]
    assert [share_of({0: {0}, 1: {1}}, p, 2) for p in (0, 1)] == [(0, 2), (1, 2)]
    assert [share_of({0: {0}, 1: {0}}, p, 1) for p in (0, 1)] == [(0, 1), (0, 1)]
    assert [share_of({0: {1, 3}, 1: {0, 2}}, p, 4) for p in (0, 1)] == [(1, 2), (0, 2)]
    assert [share_of({0: {0}, 1: {0}, 2: {1}, 3: {1}}, p, 2)[0] for p in range(4)] == [0, 0, 1, 1]
    for uneven in ({0: {0, 1}, 1: {2}}, {0: {0, 1}, 1: {1, 2}}):
        with pytest.raises(BadInputError, match="unevenly"):
            share_of(uneven, 0, 3)
