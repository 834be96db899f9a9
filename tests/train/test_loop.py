"""The loop: exact resume, branches, failures, and what a run leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scaling.config.load import dump_yaml
from scaling.config.record import read_record
from scaling.parallel.processes import InterruptedRunError, RunFailedError
from scaling.runtime.errors import BadInputError
from scaling.train.loop import train
from scaling.train.progress import Silent, Status
from tests.faults.dying import At
from tests.parallel.clusters import ROOT
from tests.train.conftest import MakeRun, trunk_losses


class Breaks(Silent):
    """Raises, or sends this process a signal, once a run comes to a step."""

    def __init__(self, step: int, with_signal: int | None = None) -> None:
        self.step, self.with_signal, self.said = step, with_signal, list[str]()

    def advance(self, units: int, status: Status) -> None:
        if status.step == self.step:
            if self.with_signal is None:
                raise RuntimeError("the machine broke")
            os.kill(os.getpid(), self.with_signal)

    def message(self, text: str) -> None:
        self.said.append(text)


def test_a_run_learns_and_leaves_a_whole_record(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(eval_every=10)
    record = train(run, tmp_path / "run")
    losses = trunk_losses(tmp_path / "run")
    assert sorted(losses) == list(range(1, 25))
    assert losses[24] < losses[1] - 1.0
    assert record == read_record(tmp_path / "run")
    assert record.status == "finished" and record.id == run.id()
    assert record.tokens == 24 * 256 and record.flops == record.flops_per_token * record.tokens
    (point,) = record.points
    assert point.loss == record.validation_loss
    assert point.loss == pytest.approx(losses[24], abs=0.5)
    assert point.bits_per_byte == pytest.approx(point.loss / np.log(2), rel=0.01)  # a token is a byte
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoints", "config.yaml", "metrics.jsonl", "record.json", "run.lock", "tensorboard",
    ]  # fmt: skip
    again = train(run, tmp_path / "run")
    assert again == record, "a finished run is not trained again"


def test_killed_and_resumed_is_bit_for_bit_the_undisturbed_run(make_run: MakeRun, tmp_path: Path) -> None:
    """Killed while it saves, in a real process; dropout on, so that keys must agree too."""
    run = make_run("model.dropout=0.1", steps=40)
    (tmp_path / "run.yaml").write_text(dump_yaml(run))
    train(run, tmp_path / "whole")
    arguments = ["train", "run.yaml", "--out", "killed"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    dying = [*At("writing a checkpoint", 3, delay=0.002).program(), *arguments]
    died = subprocess.run(dying, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert died.returncode == -signal.SIGALRM, died.stderr
    command = [sys.executable, "-m", "scaling.cli", *arguments]
    killed = read_record(tmp_path / "killed")
    assert killed is not None and killed.status == "running", "killed without a word"
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    assert "resuming at step" in result.stderr
    assert trunk_losses(tmp_path / "killed") == trunk_losses(tmp_path / "whole")
    whole, resumed = read_record(tmp_path / "whole"), read_record(tmp_path / "killed")
    assert whole is not None and resumed is not None
    assert whole.points[0].loss == resumed.points[0].loss


@pytest.mark.slow
def test_a_run_resumes_onto_another_mesh(make_run: MakeRun, tmp_path: Path) -> None:
    train(make_run(), tmp_path / "whole")
    with pytest.raises(RuntimeError):
        train(make_run("mesh.fsdp=4", "mesh.tensor=2"), tmp_path / "moved", Breaks(13))
    assert read_record(tmp_path / "moved").status == "failed"  # type: ignore[union-attr]
    train(make_run("mesh.stage=2", "mesh.data=2"), tmp_path / "moved")
    whole, moved = trunk_losses(tmp_path / "whole"), trunk_losses(tmp_path / "moved")
    assert list(whole) == list(moved)
    np.testing.assert_allclose(list(moved.values()), list(whole.values()), atol=1e-5)


@pytest.mark.parametrize(
    "harm",
    ["flip", *(pytest.param(h, marks=pytest.mark.slow) for h in ("truncate", "delete", "half-written"))],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    harm: str, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    with pytest.raises(RuntimeError):
        train(run, tmp_path / "run", Breaks(13))
    checkpoints = tmp_path / "run/checkpoints"
    assert sorted(p.name for p in checkpoints.iterdir()) == ["10", "5"]
    files = [p for p in (checkpoints / "10/state").rglob("*") if p.is_file()]
    victim = max(files, key=lambda p: p.stat().st_size)
    content = victim.read_bytes()
    if harm == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        middle = len(content) // 2
        victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif harm == "delete":
        victim.unlink()
    else:  # what a process killed while writing leaves: no manifest, files cut short
        (checkpoints / "10/manifest.json").unlink()
        for path in files:
            path.write_bytes(path.read_bytes()[:10])
    listener = Breaks(-1)
    record = train(run, tmp_path / "run", listener)
    assert any("checkpoint 10 is damaged" in line for line in listener.said)
    assert any("resuming at step 5" in line for line in listener.said)
    train(run, tmp_path / "whole")
    assert trunk_losses(tmp_path / "run") == trunk_losses(tmp_path / "whole")
    assert record.status == "finished"


def test_sigterm_saves_and_ends_cleanly(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    with pytest.raises(InterruptedRunError, match="saved at step"):
        train(run, tmp_path / "run", Breaks(7, signal.SIGTERM))
    record = read_record(tmp_path / "run")
    assert record is not None and record.status == "interrupted"
    assert (tmp_path / "run/checkpoints" / str(record.step)).is_dir()
    assert record.step not in (5, 10), "it saved where it stood, not where it would have anyway"
    train(run, tmp_path / "run")
    train(run, tmp_path / "whole")
    assert trunk_losses(tmp_path / "run") == trunk_losses(tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_the_run(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(
        learning_rate=1e30, warmup_steps=0, clip_norm=None, schedule="constant", checkpoint_every=1
    )
    with pytest.raises(RunFailedError, match=r"is (nan|inf) at step \d+; the last good checkpoint is step 1"):
        train(run, tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert record is not None and record.status == "failed" and "at step" in (record.error or "")
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["1"]


@pytest.mark.slow
def test_a_branch_is_the_run_of_its_own_budget(make_run: MakeRun, tmp_path: Path) -> None:
    """One trunk with two cooldown branches gives, bit for bit, what three separate runs give."""
    budgets = (8 * 256, 16 * 256, 24 * 256)
    settings = {"steps": None, "schedule": "wsd", "cooldown_fraction": 0.25, "final_lr_fraction": 0.0}
    record = train(make_run(tokens=budgets[2], branches=budgets[:2], **settings), tmp_path / "trunk")
    assert [p.tokens for p in record.points] == list(budgets)
    for point in record.points:
        alone = train(make_run(tokens=point.tokens, **settings), tmp_path / str(point.tokens))
        assert alone.points[0].loss == point.loss
    lines = [json.loads(line) for line in (tmp_path / "trunk/metrics.jsonl").read_text().splitlines()]
    assert {line["branch"] for line in lines} == {None, *budgets[:2]}


@pytest.mark.parametrize("step", [7, *(pytest.param(s, marks=pytest.mark.slow) for s in (5, 15))])
def test_a_run_with_branches_resumes_exactly(step: int, make_run: MakeRun, tmp_path: Path) -> None:
    """Broken on the trunk, in the first branch, and after it."""
    run = make_run(
        steps=None, tokens=24 * 256, branches=[8 * 256, 16 * 256], schedule="wsd", cooldown_fraction=0.25
    )
    whole = train(run, tmp_path / "whole")
    with pytest.raises(RuntimeError):
        train(run, tmp_path / "broken", Breaks(step))
    broken = train(run, tmp_path / "broken")
    assert [(p.tokens, p.loss) for p in broken.points] == [(p.tokens, p.loss) for p in whole.points]

    def losses(name: str) -> list[tuple[int, float]]:
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [(line["step"], line["loss"]) for line in map(json.loads, lines) if "loss" in line]

    assert losses("broken") == losses("whole")


def test_a_directory_holds_one_run_and_one_process(make_run: MakeRun, tmp_path: Path) -> None:
    train(make_run(steps=3), tmp_path / "run")
    with pytest.raises(BadInputError, match=r"holds a run with another config.*--out"):
        train(make_run(steps=4), tmp_path / "run")
    import fcntl

    (tmp_path / "busy").mkdir()
    with (tmp_path / "busy/run.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BadInputError, match="another process"):
            train(make_run(steps=3), tmp_path / "busy")


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"model\.vocab_size=100 is smaller"):
        train(make_run("model.vocab_size=100"), tmp_path / "run")


@pytest.mark.slow
def test_batch_warmup_and_accumulation_train_on_the_tokens_they_say(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(batch_warmup_start=64, batch_warmup_tokens=512, steps=12, accumulation=2)
    record = train(run, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    tokens = [line["tokens"] for line in lines if "loss" in line]
    sizes = np.diff([0, *tokens]).tolist()
    assert sizes == [64] * 4 + [128] * 2 + [256] * 6
    assert record.tokens == tokens[-1]
