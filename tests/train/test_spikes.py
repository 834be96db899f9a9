"""Loss spikes: what is one, where a run goes back to, and that nothing of it depends on being stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.load import dump_yaml
from scaling.config.record import RunRecord, read_record
from scaling.config.run import RunConfig
from scaling.config.train import SpikesConfig
from scaling.parallel.processes import RunFailedError
from scaling.runtime.errors import BadInputError
from scaling.train.loop import train
from scaling.train.run_directory import RunDirectory
from scaling.train.spikes import NAME, Rewinds, SpikeDetector, goal
from scaling.train.trained import load_trained
from tests.train import bad_rows
from tests.train.conftest import MakeRun, trunk_losses
from tests.train.test_loop import Breaks

SPIKES = {"window": 8, "rewind_steps": 4, "skip_batches": 7, "deviations": 3}
BAD = (13 * 8, 14 * 8)  # the rows of the 14th step, of 8 rows each


@pytest.fixture
def spiky(make_run: MakeRun) -> RunConfig:
    return make_run(spikes=SPIKES, learning_rate=2e-2, steps=24)


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> None:
    bad_rows.put(monkeypatch.setattr, *BAD)


@pytest.fixture
def whole(spiky: RunConfig, bad: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with a spike that nothing disturbed, trained once."""
    path = tmp_path_factory.getbasetemp() / "whole-with-a-spike"
    if not path.is_dir():
        train(spiky, path)
    return path


def notes(path: Path) -> list[str]:
    """The lines of metrics.jsonl that tell of rewinds."""
    return [line for line in (path / "metrics.jsonl").read_text().splitlines() if "rewind" in line]


def spiked(path: Path) -> RunRecord:
    record = read_record(path)
    assert record is not None
    return record


def weights(path: Path) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_trained(path, print).model)]


def test_a_spike_is_undone_and_its_batches_are_skipped(spiky: RunConfig, bad: None, tmp_path: Path) -> None:
    listener = Breaks(-1)
    record = train(spiky, tmp_path / "run", listener)
    (rewind,) = record.rewinds
    assert rewind.spike_step == 14 and "robust deviations above the median" in rewind.reason
    assert rewind.step == 5, "step 9, where the skipped batches begin, has no checkpoint"
    assert rewind.skipped_batches == (9, 16) and rewind.skipped_rows == (9 * 8, 16 * 8)
    assert rewind.seconds > 0 and record.seconds["lost"] >= rewind.seconds - 1e-3
    assert any("rewinding to step 5, skipping 7 batches from step 9" in line for line in listener.said)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (noted,) = [line for line in lines if "rewind" in line]
    assert noted["step"] == 5 and noted["rewind"]["skipped_batches"] == [9, 16]
    losses = trunk_losses(tmp_path / "run")
    assert sorted(losses) == list(range(1, 25))
    assert max(losses[step] for step in range(12, 25)) < losses[5], "the bad batch was never trained on"
    assert record.status == "finished" and record.step == 24
    assert record.tokens == 24 * 256, "skipped tokens were not trained on"


def test_it_is_the_run_that_never_saw_them(
    spiky: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit a run from which the same rows are kept from the start."""
    rows = [spiked(whole).rewinds[0].skipped_rows]
    monkeypatch.setattr(Rewinds, "skipped_rows", rows)
    monkeypatch.setattr(Rewinds, "done", property(lambda self: (None,)))
    monkeypatch.setattr(Rewinds, "seconds_since", lambda self, count: 0.0)
    monkeypatch.setattr("scaling.train.record.make_record", _without_rewinds())
    train(spiky, tmp_path / "clean")
    assert trunk_losses(tmp_path / "clean") == trunk_losses(whole)


def _without_rewinds():  # type: ignore[no-untyped-def]
    from scaling.train.record import make_record

    return lambda *args, **kwargs: make_record(*args, **{**kwargs, "rewinds": ()})


@pytest.mark.parametrize(
    "where",
    [
        "half undone",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("decided", "undone", "later", "much later")),
    ],
)
def test_died_while_going_back_or_after_it_resumes_to_the_same_bits(
    where: str, spiky: RunConfig, bad: None, whole: Path, tmp_path: Path
) -> None:

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("the machine broke")

    reporter = Breaks({"later": 8, "much later": 17}.get(where, -1))
    with pytest.MonkeyPatch.context() as patch:
        if where == "decided":
            patch.setattr("scaling.train.checkpoints.Checkpoints.drop_after", dies)
        elif where == "half undone":
            patch.setattr(RunDirectory, "rewind_metrics", _dies_when_noting())
        elif where == "undone":
            patch.setattr(Rewinds, "finish", dies)
        with pytest.raises(RuntimeError, match="broke"):
            train(spiky, tmp_path / "broken", _AfterRewind(reporter.step))
    record = train(spiky, tmp_path / "broken")
    assert len(record.rewinds) == 1
    assert trunk_losses(tmp_path / "broken") == trunk_losses(whole)
    for ours, theirs in zip(weights(tmp_path / "broken"), weights(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert notes(tmp_path / "broken") == notes(whole) and len(notes(whole)) == 1


class _AfterRewind(Breaks):
    """Breaks at a step of the second pass."""

    gone_back = False

    def advance(self, units, status):  # type: ignore[no-untyped-def]
        if self.gone_back:
            super().advance(units, status)

    def message(self, text: str) -> None:
        self.gone_back |= "rewinding to step" in text


def _dies_when_noting():  # type: ignore[no-untyped-def]
    whole = RunDirectory.rewind_metrics

    def rewind(self, step, branches, note=None):  # type: ignore[no-untyped-def]
        if note is not None:
            raise RuntimeError("the machine broke")
        return whole(self, step, branches)

    return rewind


@pytest.mark.slow
def test_killed_after_a_rewind_in_a_process_of_its_own(
    spiky: RunConfig, bad: None, whole: Path, tmp_path: Path
) -> None:
    """SIGKILL, before the first checkpoint after the rewind."""
    (tmp_path / "run.yaml").write_text(dump_yaml(spiky))
    command = [sys.executable, "-m", "tests.train.bad_rows", *map(str, BAD), str(tmp_path / "run.yaml")]
    root = Path(__file__).parents[2]
    out = str(tmp_path / "killed")
    killed = subprocess.run([*command, out, "7"], cwd=root, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [p.name for p in (tmp_path / "killed/checkpoints").iterdir()] == ["5"]
    result = subprocess.run([*command, out, "-1"], cwd=root, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert trunk_losses(tmp_path / "killed") == trunk_losses(whole)
    record = spiked(tmp_path / "killed")
    assert record.rewinds[0].skipped_rows == spiked(whole).rewinds[0].skipped_rows
    assert record.seconds["lost"] > record.rewinds[0].seconds > 0, "steps of the killed process were lost too"


def test_rewinds_are_bounded(make_run: MakeRun, tmp_path: Path) -> None:
    """A run that diverges by its learning rate is not helped by other batches."""
    run = make_run(
        spikes={**SPIKES, "max_rewinds": 2},
        learning_rate=1e30, warmup_steps=0, clip_norm=None, schedule="constant",
    )  # fmt: skip
    with pytest.raises(RunFailedError, match=r"is (nan|inf) at step \d+, after 2 rewinds .*max_rewinds"):
        train(run, tmp_path / "run")
    record = spiked(tmp_path / "run")
    assert record.status == "failed" and len(record.rewinds) == 2
    assert [rewind.step for rewind in record.rewinds] == [0, 0], "no checkpoint is good: back to the start"


@pytest.mark.slow
def test_a_journal_that_is_gone_or_damaged_is_refused(spiky: RunConfig, bad: None, tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(RuntimeError, match="broke"):
        train(spiky, path, _AfterRewind(17))
    journal = (path / NAME).read_text()
    (path / NAME).write_text(journal[: len(journal) // 2])
    with pytest.raises(BadInputError, match=r"rewinds\.json: cannot be read"):
        train(spiky, path)
    (path / NAME).unlink()
    with pytest.raises(BadInputError, match=r"holds 0 rewinds, the checkpoint was saved after 1"):
        train(spiky, path)
    (path / NAME).write_text(journal)
    assert train(spiky, path).status == "finished"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"spikes": {"skip_batches": 100}, "checkpoint_every": 100}, "would not skip the spike's own batch"),
        ({"spikes": True, "checkpoint_every": None}, "give checkpoint_every"),
        ({"spikes": True, "checkpoint_every": 10}, "keep at least 11"),
        ({"spikes": {"window": 4}}, "spikes.window"),
    ],
)
def test_settings_that_cannot_work_are_refused(make_run: MakeRun, settings: dict, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        make_run(**settings)


def test_spikes_are_off_and_leave_ids_alone(make_run: MakeRun) -> None:
    assert make_run().train.spikes is None
    assert make_run().id() == make_run(spikes=False).id()
    on = make_run(spikes=True, checkpoint_every=100)
    assert on.id() != make_run(checkpoint_every=100).id()
    assert make_run("tracking.wandb=me", "profile.steps=2:4").id() == make_run().id()


# -- what is a spike -------------------------------------------------------------------------------------


def test_noise_and_a_falling_loss_are_no_spikes() -> None:
    """100,000 losses of a run with normal noise; ten deviations are as rare as they should be."""
    draws = np.random.default_rng(0)
    detector = SpikeDetector(SpikesConfig(window=128))
    steps = np.arange(20_000)
    losses = 2.0 + 8.0 / (1 + steps / 50) ** 0.5 + draws.normal(0, 0.05, len(steps))
    assert not [reason for loss in losses if (reason := detector.judge({"loss": loss}))]
    assert detector.judge({"loss": losses[-1] + 1.0}) is not None
    assert "grad_norm is inf" in str(detector.judge({"loss": 2.0, "grad_norm": np.inf}))


def test_a_loss_that_does_not_vary_has_a_deviation_all_the_same() -> None:
    detector = SpikeDetector(SpikesConfig(window=8), [2.0] * 8)
    assert detector.judge({"loss": 2.0 + 1e-6}) is None
    assert detector.judge({"loss": 2.1}) is not None


def test_losses_of_zero_have_no_spread_and_no_size() -> None:
    detector = SpikeDetector(SpikesConfig(window=8), [0.0] * 8)
    assert detector.judge({"loss": 0.0}) is None
    assert detector.judge({"loss": 1e-7}) is None
    assert "above the median 0.0000" in str(detector.judge({"loss": 0.1}))


@given(st.lists(st.floats(0, 20), min_size=20, max_size=60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_resumed_detector_judges_as_the_first(losses: list[float], at: int) -> None:
    config = SpikesConfig(window=8, deviations=3)
    whole, broken = SpikeDetector(config), SpikeDetector(config)
    for step, loss in enumerate(losses):
        if step == at:
            broken = SpikeDetector(config, json.loads(json.dumps(broken.state())))
        assert whole.judge({"loss": loss}) == broken.judge({"loss": loss})


@pytest.mark.parametrize(
    ("first", "spike", "kept", "to"),
    [
        (9, 14, [5, 10], 5),
        (10, 15, [5, 10], 10),
        (3, 8, [5], 0),  # before the first checkpoint: the start
        (9, 14, [10, 12], 10),  # 5 was pushed out: the oldest before the spike
        (9, 14, [8, 12], 8),  # 5 is gone, the one of a stopped run is before the skipped batches
        (9, 14, [], 0),
    ],
)
def test_the_checkpoint_to_go_back_to(first: int, spike: int, kept: list[int], to: int) -> None:
    assert goal(first, spike, kept, every=5) == to
