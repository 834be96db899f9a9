"""What a muP config needs, what it refuses in one line, and that runs without it keep their ids."""

from typing import Any

import pytest

from scaling.config.load import load_run, validate
from scaling.config.model import ModelConfig
from scaling.runtime.errors import BadInputError

MODEL = {"vocab_size": 32, "max_length": 16, "n_layers": 2, "d_model": 32, "n_heads": 4}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"parametrization": "mup"}, "needs base_width"),
        ({"base_width": 32}, "base_width=32 is read by parametrization=mup only"),
        ({"base_depth": 2}, "base_depth=2 is read by parametrization=mup only"),
        ({"parametrization": "sp"}, "'standard' or 'mup'"),
        ({"parametrization": "mup", "base_width": 0}, "base_width: 0 is not accepted"),
        ({"parametrization": "mup", "base_width": 8, "base_depth": 1, "norm": "post"}, "needs norm=pre"),
        (
            {"family": "encoder", "embedding_size": 8, "parametrization": "mup", "base_width": 8},
            "embedding_size=8 does not grow",
        ),
        ({"n_heads": None, "d_head": 5}, "d_model=32 does not divide by d_head=5"),
    ],
)
def test_bad_input_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        validate(ModelConfig, MODEL | given, "model")
    assert "\n" not in str(caught.value)


def test_baselines_refuse_it() -> None:
    lstm = {"family": "lstm", "vocab_size": 32, "max_length": 16, "n_layers": 1, "d_model": 32}
    with pytest.raises(BadInputError, match=r"parametrization: unknown field"):
        validate(ModelConfig, lstm | {"parametrization": "mup"})


def test_runs_keep_the_ids_that_they_had_before_there_was_a_choice() -> None:
    assert load_run("cpu").id() == "f7ab4fdc2546"
    assert load_run("cpu", ["model.parametrization=standard"]).id() == "f7ab4fdc2546"
    mup = ["model.parametrization=mup", "model.base_width=64"]
    ids = {load_run("cpu", [*mup, *more]).id() for more in ([], ["model.base_width=32"])}
    assert len(ids | {"f7ab4fdc2546"}) == 3


def test_heads_follow_from_their_width() -> None:
    model: Any = validate(ModelConfig, MODEL | {"n_heads": None, "d_head": 8})
    assert model.n_heads == 4
