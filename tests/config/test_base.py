"""Ids of runs outlive the configs that they were computed from."""

import pytest
from pydantic import create_model

from scaling.config.base import identity
from scaling.config.load import load_run
from scaling.config.model import DecoderConfig, Mixture
from scaling.config.train import TrainConfig

# Computed before these fields were listed.
IDS = {
    "": "f7ab4fdc2546",
    "objective=masked model=bert-base": "4f6e9bca77a0",
    "train.spikes={}": "c794dc0c103f",
    "data.tasks.names=[copy8]": "93a7cacd330a",
    "model=switch-base-8": "fffb03da4ba5",
    "model=t5-small": "ce33c6b1af3d",
    "model.parametrization=mup model.base_width=32": "55618d8a0b10",
    "model=albert-base": "f33dcee0b8bd",
    "train.spikes.window=50": "c285e73dffab",
}


@pytest.mark.parametrize("overrides", IDS)
def test_ids_of_earlier_versions(overrides: str) -> None:
    assert load_run("cpu", overrides.replace(": [", ":[").split()).id() == IDS[overrides]


def test_a_field_that_is_added_with_a_default_changes_no_id() -> None:
    later = create_model("TrainConfig", __base__=TrainConfig, momentum=(float, 0.5))
    settings = {"tokens": 1e6, "batch_tokens": 512, "learning_rate": 1e-3}
    before = identity(TrainConfig(**settings))
    assert identity(later(**settings)) == identity(later(**settings, momentum=0.5)) == before
    assert identity(later(**settings, momentum=0.9)) == before | {"momentum": 0.9}


def test_nor_does_one_of_a_nested_config() -> None:
    later = create_model("Mixture", __base__=Mixture, noise=(float, 0.0))
    model = {"vocab_size": 9, "max_length": 4, "n_layers": 2, "d_model": 4, "n_heads": 1}
    before = DecoderConfig(**model, mixture=Mixture(experts=4))
    assert identity(before)["mixture"] == Mixture(experts=4).model_dump()
    assert identity(before.model_copy(update={"mixture": later(experts=4)})) == identity(before)
    assert identity(before.model_copy(update={"mixture": later(experts=4, noise=0.1)})) != identity(before)


def test_every_setting_that_is_not_a_default_is_in_it() -> None:
    one, other = load_run("cpu"), load_run("cpu", ["model.parametrization=mup", "model.base_width=32"])
    assert set(identity(other.model)) - set(identity(one.model)) == {"parametrization", "base_width"}
