"""The optimal learning rate of a width: the minimum of a parabola, and the rates that bracket it."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scaling.cli import app
from scaling.config.load import dump_yaml, load_run
from scaling.config.record import ParameterCounts, Point, RunRecord
from scaling.laws.learning_rates import Bowl, read_bowls, shift
from scaling.runtime.errors import BadInputError

RATES = tuple(2.0**power for power in range(-8, -1))


def _bowl(kind: str, width: int, lowest: float) -> Bowl:
    losses = tuple(2 + 0.1 * (math.log2(rate) - lowest) ** 2 for rate in RATES)
    return Bowl(kind, width, RATES, losses, None)  # type: ignore[arg-type]


def test_a_parabola_gives_its_minimum() -> None:
    bowl = _bowl("mup", 64, -4.8)
    assert bowl.optimum() == pytest.approx(-4.8)
    assert bowl.interval() == (-6, -4)


def test_an_optimum_at_the_edge_is_said_to_be_open() -> None:
    bowl = _bowl("standard", 64, -11)
    assert (bowl.bracketed, bowl.optimum(), bowl.interval()) == (False, -8, (None, -7))


def test_the_shift_is_from_the_narrowest_to_the_widest() -> None:
    bowls = [_bowl("standard", width, -4 - math.log2(width / 16)) for width in (64, 16, 32)]
    assert shift(bowls, "standard") == pytest.approx(-2)
    assert shift(bowls, "mup") is None


def _write(directory: Path, width: int, rate: float, loss: float, kind: str) -> None:
    model = {"vocab_size": 32, "max_length": 16, "n_layers": 1, "d_model": width, "n_heads": 1}
    if kind == "mup":
        model |= {"parametrization": "mup", "base_width": 16}
    train = {"batch_tokens": 64, "steps": 4, "learning_rate": rate}
    run = load_run({"name": "r", "model": model, "data": {"sequence_length": 16}, "train": train})
    params = ParameterCounts(
        total=9, embedding=3, non_embedding=5, non_embedding_with_head=7, by_component={"layers": 9}
    )
    end = Point(
        tokens=256,
        flops=1.0,
        flops_6nd=1.0,
        step=4,
        loss=loss,
        bits_per_byte=None,
        train_loss=loss,
        seconds=1,
    )
    record = RunRecord(
        id=run.id(), name="r", family="decoder", status="finished", params=params, flops_per_token=1.0,
        budget_tokens=256, tokens=256, flops=1.0, step=4, points=(end,),
    )  # fmt: skip
    home = directory / f"{kind}-{width}-{rate}"
    home.mkdir(parents=True)
    (home / "config.yaml").write_text(dump_yaml(run))
    (home / "record.json").write_text(record.model_dump_json())


def test_a_sweep_is_read_and_drawn(tmp_path: Path) -> None:
    for kind, lowest in (("standard", {16: -4.0, 64: -6.0}), ("mup", {16: -4.0, 64: -4.2})):
        for width, at in lowest.items():
            for rate, loss in zip(RATES, _bowl(kind, width, at).losses, strict=True):
                _write(tmp_path / "sweep", width, rate, loss, kind)
    out = tmp_path / "bowls.svg"
    result = CliRunner().invoke(
        app, ["plot", "lr-bowls", str(tmp_path / "sweep"), "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["shift_log2"] == {"standard": pytest.approx(-2), "mup": pytest.approx(-0.2)}
    assert {(b["parametrization"], b["width"]) for b in found["bowls"]} == {
        (kind, width) for kind in ("standard", "mup") for width in (16, 64)
    }
    assert out.read_text().startswith("<?xml")


def test_what_has_no_bowls_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "sweep", 16, 0.01, 2.0, "mup")
    with pytest.raises(BadInputError, match="three learning rates"):
        read_bowls(tmp_path / "sweep")
    with pytest.raises(BadInputError, match="not a sweep directory"):
        read_bowls(tmp_path / "points.csv")
