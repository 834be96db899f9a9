"""muP's initial weights and learning rates, tensor by tensor, against table 8 of Yang et al. 2022."""

from typing import Any

import jax
import numpy as np
import pytest

from scaling.config.load import load_run, merge, validate
from scaling.config.model import ModelConfig
from scaling.models.build import new_model
from scaling.parallel.mesh import make_mesh
from scaling.train.optimizers import learning_rate_multiplier
from scaling.train.step import TrainStep
from tests.models.named import named_parameters

M = 4.0  # the width over the base's
SMALL = {"vocab_size": 32, "max_length": 16, "n_layers": 2, "d_model": 32, "n_heads": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt": {"tie_embeddings": False},
    "llama": {"positions": "rotary", "norm_kind": "rms", "gated": True, "n_kv_heads": 2, "bias": False},
    "qwen": {"positions": "rotary", "norm_kind": "rms", "bias": False, "qkv_bias": True, "qk_norm": True},
    "bert": {"family": "encoder"},
    "t5": {"family": "encoder_decoder", "init": "fan_in", "scale_attention": False, "tie_embeddings": False},
    "switch": {"mixture": {"experts": 4}, "gated": True},
}
HIDDEN = ("query", "key", "value", "out", "up", "gate", "down", "pooler.kernel", "mlm_head.kernel")
AT_BASE = ("untied_head", "relative_bias", "router")  # where fan_in says 1 / sqrt(width): of the base's width


def _models(name: str) -> tuple[Any, Any]:
    given = SMALL | FAMILIES[name]
    mup = given | {"parametrization": "mup", "base_width": 8}
    configs = [validate(ModelConfig, tree) for tree in (given, mup)]
    return jax.jit(lambda: tuple(new_model(config, jax.random.key(0)) for config in configs))()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("bert", "switch"))) for n in FAMILIES]
)
def test_initial_weights_and_learning_rates_are_those_of_table_8(name: str) -> None:
    """The draws are the same, so that a tensor is the standard one times a factor.

    Hidden weights shrink by sqrt(m), which 1 / sqrt(fan_in) has built in; everything else starts as it does
    at the base width. Adam's rate of hidden weights is 1 / m, Muon's 1 / sqrt(m), of all others 1.
    """
    standard, mup = map(named_parameters, _models(name))
    assert standard.keys() == mup.keys()
    by_fan_in = FAMILIES[name].get("init") == "fan_in"
    for path, parameter in mup.items():
        hidden = path.endswith(HIDDEN)
        factor = M**-0.5 if hidden and not by_fan_in else 1.0
        if by_fan_in and path.endswith(AT_BASE):
            factor = M**0.5
        want = factor * np.asarray(standard[path].get_value())
        np.testing.assert_allclose(parameter.get_value(), want, rtol=1e-6, err_msg=path)
        for optimizer, rate in (("adamw", 1 / M), ("lion", 1 / M), ("adafactor", 1 / M), ("muon", M**-0.5)):
            found = learning_rate_multiplier(optimizer, M, parameter)  # type: ignore[arg-type]
            assert found == (rate if hidden else 1.0), (path, optimizer)
    assert sum(path.endswith(HIDDEN) for path in mup) >= 6


BATCH = {"name": "m", "data": {"sequence_length": 16}, "train": {"batch_tokens": 64, "steps": 3}}


def losses(model: dict[str, Any], optimizer: str) -> list[float]:
    """Of three steps on random ids."""
    train = {"optimizer": optimizer, "learning_rate": 1e-2}
    run = load_run(merge(BATCH, {"model": SMALL | model, "train": train}))
    functions = TrainStep(run, make_mesh(run.mesh))
    state, seen, rng = functions.init(0), [], np.random.default_rng(0)
    for number in range(3):
        batch = {
            name: rng.integers(0, 2 if name in ("segment_ids", "weights", "token_types") else 32, shape)
            for name, (shape, _) in run.batch_arrays().items()
        }
        typed = {name: batch[name].astype(kind) for name, (_, kind) in run.batch_arrays().items()}
        state, metrics = functions.step(state, functions.place(typed), np.float32(1e-2), np.int32(number))
        seen.append(float(metrics["loss"]))
    return seen


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("gpt", "adamw"),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in (("bert", "lion"), ("t5", "adafactor"))),
        pytest.param("switch", "muon", marks=pytest.mark.slow),
    ],
)
def test_at_the_base_it_is_the_standard_parametrisation(name: str, optimizer: str) -> None:
    depth = {} if name == "bert" else {"base_depth": 2}
    base = {"parametrization": "mup", "base_width": 32, "base_d_head": 8, **depth}
    want = losses(FAMILIES[name], optimizer)
    np.testing.assert_allclose(losses(FAMILIES[name] | base, optimizer), want, rtol=0, atol=1e-6)
    assert want[0] != want[-1]


def test_multipliers_of_the_forward_pass() -> None:
    wide = {"parametrization": "mup", "base_width": 8, "base_d_head": 2, "base_depth": 1}
    model: Any = validate(ModelConfig, SMALL | wide)
    assert model.output_multiplier == 1 / 4
    assert model.residual_multiplier == 1 / 2
    assert model.score_scale == 2**0.5 / 8  # 1 / E, and 1 / sqrt(E) at the base
