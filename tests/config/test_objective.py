"""Objectives in a run: defaults by family, round trips, and one clear line for a wrong pair."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from scaling.config.load import dump_yaml, load_run
from scaling.config.model import FAMILIES
from scaling.config.objective import OBJECTIVES, default_objective, objective_name, with_default_objective
from scaling.runtime.errors import BadInputError

DEFAULTS = {
    "decoder": "causal",
    "lstm": "causal",
    "feed_forward": "causal",
    "encoder": "masked",
    "encoder_decoder": "spans",
    "rnn_encoder_decoder": "spans",
}


@pytest.mark.parametrize(("family", "name"), DEFAULTS.items())
def test_the_default_is_of_the_family(family, name):
    assert default_objective(family) == name
    assert FAMILIES[family].objectives[0] == name and name in {objective_name(kind) for kind in OBJECTIVES}
    for model in ({"family": family}, SimpleNamespace(family=family)):
        assert with_default_objective({"model": model})["objective"] == {"name": name}


@pytest.mark.parametrize(
    ("model", "overrides", "name"),
    [
        ("cpu-213k", [], "causal"),
        ("cpu-213k", ["objective=prefix"], "prefix"),
        ("bert-tiny", [], "masked"),
        ("bert-tiny", ["objective.sentences=next"], "masked"),
        ("t5-small", [], "spans"),
        ("t5-small", ["objective.iid=true"], "spans"),
        ("t5-small", ["objective.name=denoising"], "denoising"),
        ("t5-small", ["objective.name=denoising", "objective.mixture=[{rate: 0.3}]"], "denoising"),
        ("t5-small", ["objective.name=continuation", "objective.target_length=64"], "continuation"),
        ("lstm-small", ["model.max_length=128"], "causal"),
    ],
)
def test_resolved_runs_survive_their_own_yaml(model, overrides, name, tmp_path):
    run = load_run("cpu", [f"model={model}", *overrides])
    assert run.objective.name == name and run.objective.token_of_loss
    (tmp_path / "cpu.yaml").write_text(dump_yaml(run))
    again = load_run(str(tmp_path / "cpu.yaml"))
    assert again == run and again.id() == run.id()
    with pytest.raises(ValueError, match="frozen"):
        run.objective.name = "causal"


def test_the_objective_is_part_of_a_runs_identity():
    runs = [load_run("cpu", ["model=t5-small", f"objective.rate={rate}"]) for rate in (0.15, 0.3)]
    assert runs[0].id() != runs[1].id()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["objective.name=masked"],
            "objective: masked trains an encoder, the model is a decoder; "
            "give objective.name=causal or prefix",
        ),
        (["model=bert-tiny", "objective=spans"], "the model is an encoder; give objective.name=masked"),
        (["model=lstm-small", "objective=prefix"], "prefix trains a decoder, the model is an lstm"),
        (["objective=none"], "objective.name: known: causal, prefix, masked, spans"),
        (["objective=3"], "objective: 3 is not accepted"),
        (["model=bert-tiny", "objective.rat=0.2"], "objective.rat: unknown field; did you mean rate"),
        (["model=bert-tiny", "objective.rate=1.5"], "objective.rate: 1.5 is not accepted: .* less than 1"),
        (["model=bert-tiny", "objective.mask=0.95"], "mask=0.95 and random=0.1 are shares"),
        (["model=t5-small", "data.sequence_length=2"], "sequence_length=2: span corruption needs at least 3"),
        (
            ["model=bert-tiny", "objective.sentences=next", "data.sequence_length=4"],
            "sequence_length=4: objective.sentences=next needs at least 5",
        ),
        (
            ["model=roberta-base", "objective.sentences=order"],
            "objective.sentences=order needs model.sentence_head=true",
        ),
        (
            ["model=bert-tiny", "model.token_types=1", "objective.sentences=next"],
            "needs model.token_types of at least 2, it is 1",
        ),
        (
            ["model=bert-tiny", "model.head_positions=0.1"],
            "model.head_positions=0.1 computes the head at 13 of 128 positions, objective.rate=0.15 masks "
            "up to 19",
        ),
        (
            ["model=t5-small", "objective.name=continuation", "objective.target_length=600"],
            "continuation has targets of 600 tokens .* more than the positions",
        ),
    ],
)
def test_runs_that_are_refused(overrides, says):
    with pytest.raises(BadInputError, match=says) as error:
        load_run("cpu", overrides)
    assert "\n" not in str(error.value)


def test_configs_need_no_numpy():
    code = "import sys, scaling.config.run; assert not {'numpy', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
