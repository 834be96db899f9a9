"""The coordinate check tells a model whose changes go with its width from one whose do not."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scaling.cli import app
from scaling.config.load import dump_yaml
from scaling.runtime.errors import BadInputError
from scaling.train import coordinate_check
from scaling.train.coordinate_check import check_coordinates, slope
from tests.train.conftest import MakeRun

TINY = ["model.n_layers=1", "model.n_heads=1", "model.init=fan_in", "train.learning_rate=0.02"]


@pytest.mark.slow
def test_changes_are_flat_under_mup_and_grow_without_it(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(dump_yaml(make_run(*TINY)))
    given = ["check-mup", str(tmp_path / "run.yaml"), "--widths", "32,128", "--steps", "2", "--json"]
    result = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "check.svg")])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["base_width"] == 16
    assert document["verdict"]["mup"] == {"flat": True, "not_flat": []}
    standard = {row["layer"]: row for row in document["layers"] if row["parametrization"] == "standard"}
    assert {"feed-forward output", "residual stream", "head logits"} <= set(
        document["verdict"]["standard"]["not_flat"]
    )
    assert standard["embedding"]["verdict"] == "flat"
    assert standard["feed-forward output"]["slope"] > 0.5  # 1 in the limit
    assert (tmp_path / "check.svg").stat().st_size > 1000


@pytest.mark.slow
def test_a_missing_multiplier_is_found(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """muP whose hidden weights keep the base's learning rate."""
    from scaling.train import optimizers

    monkeypatch.setattr(optimizers, "learning_rate_multiplier", lambda *given: 1.0)
    monkeypatch.setattr(coordinate_check, "get_args", lambda of: ("mup",))
    check = check_coordinates(make_run(*TINY), (32, 128), 2)
    assert "feed-forward output" in check.not_flat("mup")


def test_slope_is_an_exponent() -> None:
    assert slope((16, 32, 128), [3 * width**0.5 for width in (16, 32, 128)]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("overrides", "widths", "message"),
    [
        ([], (20, 40), "width 20 does not divide into heads"),
        ([], (16,), "give at least two widths"),
        (["model={family: lstm, vocab_size: 257, max_length: 32, n_layers: 1, d_model: 16}"], (), "lstm"),
    ],
)
def test_bad_input(overrides: list[str], widths: tuple[int, ...], message: str, make_run: MakeRun) -> None:
    with pytest.raises(BadInputError, match=message):
        check_coordinates(make_run(*overrides), widths)
