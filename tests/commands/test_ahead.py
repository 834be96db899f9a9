"""Before training starts: the data, the time, the question about days, another run in the directory."""

import json
from pathlib import Path

import pytest
import typer

from scaling.api.runs import SweepPlan, sweep_config
from scaling.commands.runs import confirm_long
from scaling.runtime.errors import BadInputError
from scaling.sweep.run_cost import seconds_at_once
from tests.commands.conftest import RunCli

YEARS = "design: grid\nbase: {base: cpu, train: {tokens: 1000000000000}}\naxes: {train.seed: [1, 2]}\n"
DAY = 86400.0


def taking(seconds: float) -> SweepPlan:
    """A plan with so much left to train."""
    return SweepPlan(sweep_config("demo"), Path("x"), 1, "off", [], [], seconds, seconds, [])


def test_a_dry_run_tells_of_the_data(run_cli: RunCli) -> None:
    code, out, err = run_cli("train", "cpu", "--dry-run", "--json")
    data = json.loads(out)["data"]
    assert (code, err) == (0, "")
    assert data["source"] == "python-stdlib" and data["estimated"]
    assert data["epochs"] == pytest.approx(999_424 / data["tokens_per_epoch"])
    code, out, _ = run_cli("train", "cpu", "--dry-run")
    assert code == 0
    assert f"{data['epochs']:.2g} epochs. Split by document: 5% of the documents" in out


def test_a_dry_run_of_a_sweep_tells_of_each_corpus(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words of text\n" * 5_000)
    (tmp_path / "sweep.yaml").write_text(
        "design: grid\nbase: {base: cpu, data: {source: 'text:a.txt', max_epochs: 1}}\n"
        "axes: {train.tokens: [40960, 409600]}\n"
    )
    code, out, _ = run_cli("sweep", "sweep.yaml", "--dry-run")
    assert code == 0
    assert "budgets of 0.45 to 4.5 epochs. Split by position: the last 5% of a.txt" in out
    assert "More than data.max_epochs=1" in out
    (data,) = json.loads(run_cli("sweep", "sweep.yaml", "--dry-run", "--json")[1])["data"]
    assert data["epochs"] == pytest.approx(10 * data["epochs_of_smallest_budget"])


@pytest.mark.parametrize("command", ["train cpu", "sweep sweep.yaml"])
@pytest.mark.parametrize(
    ("source", "says"),
    [("text:none*.txt", "no file matches"), ("jsonl:bad.jsonl", "no field 'text'")],
)
def test_a_dry_run_misses_data_in_one_line(
    run_cli: RunCli, tmp_path: Path, command: str, source: str, says: str
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"body": "a"}\n')
    (tmp_path / "sweep.yaml").write_text("design: grid\nbase: {base: cpu}\naxes: {train.seed: [1, 2]}\n")
    key = "data.source" if command.startswith("train") else "base.data.source"
    code, out, err = run_cli(*command.split(), f"{key}={source}", "--dry-run")
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and says in err


def test_more_than_a_day_needs_yes_without_a_terminal(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(YEARS)
    code, _, err = run_cli("sweep", "sweep.yaml")
    assert code == 2
    assert len(err.strip().splitlines()) == 1 and "give --yes" in err and "on this machine" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("answer", [True, False])
def test_more_than_a_day_is_asked_at_a_terminal(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr(typer, "confirm", confirm)
    assert confirm_long(taking(0.9 * DAY), yes=False) and confirm_long(taking(99 * DAY), yes=True)
    assert not asked
    assert confirm_long(taking(36.6 * DAY), yes=False) is answer
    assert asked == ["Training takes about 36.6 days on this machine. Start it?"]


def test_the_time_of_several_workers() -> None:
    assert seconds_at_once([1, 2, 3, 6], 1) == 12
    assert seconds_at_once([1, 2, 3, 6], 2) == 6
    assert seconds_at_once([5, 5, 5], 2) == 10
    assert seconds_at_once([4], 3) == 4
    assert seconds_at_once([], 2) == 0


def test_forecasts_share_the_machine_among_workers(run_cli: RunCli) -> None:
    """Two workers are no faster than the machine: each run takes twice the time, less what starting takes."""
    alone, two = (
        json.loads(run_cli("sweep", "demo", "--dry-run", "--json", "--workers", workers)[1])
        for workers in ("1", "2")
    )
    for one, other in zip(alone["runs"], two["runs"], strict=True):
        assert other["seconds"] > one["seconds"]
    assert two["seconds"] >= max(run["seconds"] for run in two["runs"])
    assert two["seconds_left"] == two["seconds"]
    code, out, err = run_cli("sweep", "demo", "--dry-run", "--workers", "0")
    assert code == 2 and out == "" and "workers=0" in err


def test_another_config_in_the_directory_names_out(run_cli: RunCli, tmp_path: Path) -> None:
    small = [
        "model.n_layers=1",
        "model.d_model=16",
        "model.n_heads=1",
        "train.tokens=4096",
        "train.eval_tokens=512",
    ]
    code, _, err = run_cli("train", "cpu", *small)
    assert code == 0, err
    code, _, err = run_cli("train", "cpu", *small, "train.learning_rate=0.01")
    assert code == 2
    assert "runs/cpu: holds a run with another config" in err and "--out runs/cpu-" in err


def test_nobody_to_ask() -> None:
    with pytest.raises(BadInputError, match="give --yes"):
        confirm_long(taking(2 * DAY), yes=False)
