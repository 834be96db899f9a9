"""The coordinate check tells a model whose activations depend on its width from one whose do not."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from typer.testing import CliRunner

from scaling.cli import app
from scaling.config.load import dump_yaml
from scaling.config.model import TransformerConfig
from scaling.models.build import new_model
from scaling.runtime.errors import BadInputError
from scaling.train import coordinate_check
from scaling.train.activation_sizes import Place, Sizes, _activations, _sizes
from scaling.train.coordinate_check import (
    GROWTHS,
    CoordinateCheck,
    Measured,
    Row,
    check_coordinates,
    slope,
)
from tests.train.conftest import MakeRun

TINY = ["model.n_layers=1", "model.n_heads=1", "model.init=fan_in", "train.learning_rate=0.02"]
LEARNED = ["model.n_layers=1", "model.n_heads=2", "model.init=fan_in", "train.learning_rate=0.01"]


@pytest.fixture
def mup_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check trains muP alone, in half the time."""
    monkeypatch.setattr(coordinate_check, "get_args", lambda of: ("mup",))


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
    assert {row["growth"] for row in document["layers"]} == set(GROWTHS)
    assert document["seeds"] == 4
    largest = document["largest"]["mup"]
    assert abs(largest["slope"]) == max(
        abs(row["slope"]) for row in document["layers"] if row["parametrization"] == "mup"
    )
    assert (tmp_path / "check.svg").stat().st_size > 1000


@pytest.mark.slow
def test_a_missing_multiplier_is_found(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, mup_only: None
) -> None:
    """muP whose hidden weights keep the base's learning rate."""
    from scaling.train import optimizers

    monkeypatch.setattr(optimizers, "learning_rate_multiplier", lambda *given: 1.0)
    check = check_coordinates(make_run(*TINY), (32, 128), 2)
    assert "feed-forward output" in check.not_flat("mup")


@pytest.mark.slow
def test_a_missing_attention_multiplier_is_found_where_heads_grow(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, mup_only: None
) -> None:
    """1 / sqrt(d_head) in place of 1 / d_head: the logits of wider heads grow with sqrt(d_head), whereas the
    number of heads cannot show it."""
    monkeypatch.setattr(TransformerConfig, "score_scale", property(lambda self: None))
    check = check_coordinates(make_run(*TINY), (32, 128), 2)  # flat with it, by the first test
    assert check.not_flat("mup") == ["attention logits"]
    by_growth = {row.growth: row for row in check.of("mup", "attention logits")}
    assert by_growth["heads"].verdict(check.tolerance) == "flat"
    assert by_growth["d_head"].slope == pytest.approx(0.5, abs=0.15)
    assert check.largest("mup") is by_growth["d_head"]


@pytest.mark.parametrize(
    ("scale", "exponent"), [pytest.param("kept", 0.0, marks=pytest.mark.slow), ("removed", 0.5)]
)
def test_the_attention_multiplier_shows_before_training(
    scale: str, exponent: float, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attention logits of heads four times as wide, as if aligned; unaligned ones are flat without it."""
    if scale == "removed":
        monkeypatch.setattr(TransformerConfig, "score_scale", property(lambda self: None))
    batch = {name: jax.numpy.arange(32).reshape(1, 32) for name in ("inputs", "targets")}
    aligned, raw = [], []
    for width in (32, 128):
        config = coordinate_check._at(make_run(*LEARNED), "mup", "d_head", width, 16).model
        found = _activations(new_model(config, jax.random.key(0)), batch)
        sizes = _sizes(*[found[Place("", 1, "attention logits")]] * 2)
        aligned.append(float(sizes[0]))
        raw.append(float(sizes[2]))
    assert slope((32, 128), aligned) == pytest.approx(exponent, abs=0.1)
    assert slope((32, 128), raw) == pytest.approx(exponent - 0.5, abs=0.15)


@pytest.mark.slow
def test_a_missing_initial_scale_is_found(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, mup_only: None
) -> None:
    """Hidden weights that start as at the base width: it shows before the first step."""
    from scaling.models import layers

    monkeypatch.setattr(layers, "fan_in", lambda config, std, *inputs: config.base_width**-0.5)
    check = check_coordinates(make_run(*LEARNED), (16, 64), 1, seeds=2, grow=("heads",))
    assert {"attention logits", "attention output", "feed-forward output"} <= set(check.not_flat("mup"))
    start = next(row for row in check.of("mup", "attention output")).steps[0].judged
    assert start is not None
    assert start.value > 0.4


@pytest.mark.slow
def test_layers_of_an_encoder_decoder_are_named(make_run: MakeRun, mup_only: None) -> None:
    run = make_run(
        "model={family: encoder_decoder, vocab_size: 300, max_length: 32, n_layers: 1, n_decoder_layers: 2, "
        "d_model: 16, n_heads: 2}",
        "objective={name: spans}",
    )
    check = check_coordinates(run, (16, 32), 1, seeds=2, grow=("heads",))
    places = {str(row.place) for row in check.rows}
    assert {
        "embedding, encoder",
        "embedding, decoder",
        "attention logits, encoder layer 1",
        "attention logits, decoder layer 2",
        "cross-attention logits, decoder layer 2",
        "cross-attention output, decoder layer 1",
        "head logits",
    } <= places
    assert "cross-attention logits, encoder layer 1" not in places
    assert "attention logits, encoder layer 2" not in places


WIDTHS = (16, 32, 64)


def measured(step: int, *exponents: float) -> Measured:
    """Sizes that scale with width ** exponent, one exponent per seed."""
    powers = [[2.0 * width**exponent for exponent in exponents] for width in WIDTHS]
    return Measured(step, WIDTHS, tuple(tuple(Sizes(size, size) for size in sizes) for sizes in powers))


def row(*steps: tuple[float, ...], depth: int = 1) -> Row:
    """A row whose first step is the start."""
    place = Place("", depth, "feed-forward output")
    return Row("mup", "heads", place, tuple(measured(i, *each) for i, each in enumerate(steps)))


FLAT = (0.0, 0.0)
UP, DOWN = (0.51, 0.51), (-0.5, -0.5)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([row(FLAT, FLAT, FLAT)], "flat"),
        ([row(FLAT, UP, DOWN)], "grows"),
        ([row(FLAT, DOWN, FLAT)], "shrinks"),
        ([row(UP, FLAT, FLAT)], "grows"),
        ([row(FLAT, UP, UP, depth=1), row(FLAT, DOWN, DOWN, depth=2)], "grows"),
        ([row(FLAT, FLAT, FLAT, depth=1), row(FLAT, FLAT, DOWN, depth=2)], "shrinks"),
        ([row(FLAT, (0.5, -0.5), FLAT)], "unclear"),
        ([row(FLAT, (0.1, 0.15), FLAT)], "flat"),
    ],
)
def test_opposite_slopes_do_not_cancel(rows: list[Row], verdict: str) -> None:
    """+.5 and -.5 over steps, layers or seeds is not flat."""
    check = CoordinateCheck(16, WIDTHS, 2, 0.2, tuple(rows))
    assert check.verdict("mup", "feed-forward output") == verdict
    assert check.not_flat("mup") == ([] if verdict == "flat" else ["feed-forward output"])
    assert check.as_dict()["verdict"]["mup"]["flat"] == (verdict == "flat")


def test_the_largest_slope_and_its_place() -> None:
    check = CoordinateCheck(
        16, WIDTHS, 2, 0.2, (row(FLAT, (0.1, 0.3), FLAT), row(FLAT, FLAT, (-0.4, -0.2), depth=2))
    )
    largest = check.as_dict()["largest"]["mup"]
    assert largest == {
        "layer": "feed-forward output",
        "stack": None,
        "depth": 2,
        "growth": "heads",
        "slope": pytest.approx(-0.3),
        "standard_error": pytest.approx(math.sqrt(0.1**2 * 2 / 1 / 2)),
        "step": 2,
    }
    assert str(check.largest("mup")) == "feed-forward output, layer 2, heads growing, step 2"


def test_what_training_does_not_change_is_not_called_flat() -> None:
    still = replace(row(FLAT), steps=(measured(0, *FLAT), Measured(1, WIDTHS, ((Sizes(1.0, 0.0),) * 2,) * 3)))
    assert still.verdict(0.2) == "unchanged"
    assert still.steps[1].as_dict()["change_slope"] is None


def test_slope_is_an_exponent() -> None:
    assert slope((16, 32, 128), [3 * width**0.5 for width in (16, 32, 128)]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("overrides", "widths", "message"),
    [
        ([], (20, 40), "width 20 does not divide into heads"),
        ([], (16,), "give at least two widths"),
        (["model.d_model=12", "model.n_heads=4"], (12, 18, 21), "width 18: heads of 4.5 features"),
        (["model={family: lstm, vocab_size: 257, max_length: 32, n_layers: 1, d_model: 16}"], (), "lstm"),
    ],
)
def test_bad_input(overrides: list[str], widths: tuple[int, ...], message: str, make_run: MakeRun) -> None:
    with pytest.raises(BadInputError, match=message):
        check_coordinates(make_run(*overrides), widths)


def test_one_seed_has_no_error(make_run: MakeRun) -> None:
    with pytest.raises(BadInputError, match="--seeds 1: give at least 2"):
        check_coordinates(make_run(), seeds=1)


def test_heads_grow_in_two_ways(make_run: MakeRun) -> None:
    """From the base of a wide run; features of all heads keep their ratio to the width."""
    at: Callable[..., TransformerConfig] = lambda *given: coordinate_check._at(run, *given).model  # noqa: E731
    run = make_run("model.d_model=64", "model.n_heads=4", "model.n_kv_heads=2")
    more, wider = at("mup", "heads", 128, 64), at("mup", "d_head", 128, 64)
    assert (more.n_heads, more.d_head, more.n_kv_heads) == (8, 16, 4)  # type: ignore[attr-defined]
    assert (wider.n_heads, wider.d_head, wider.n_kv_heads) == (4, 32, 2)  # type: ignore[attr-defined]
    assert more.score_scale is None
    assert wider.score_scale == 16**0.5 / 32
    assert at("standard", "d_head", 128, 64).score_scale is None
    mup = ["model.parametrization=mup", "model.base_width=16", "model.base_d_head=4"]
    run = make_run("model.d_model=64", "model.n_heads=4", *mup)
    more, wider = at("mup", "heads", 32, 16), at("mup", "d_head", 32, 16)
    assert (more.n_heads, more.d_head) == (8, 4)
    assert (wider.n_heads, wider.d_head) == (4, 8)
