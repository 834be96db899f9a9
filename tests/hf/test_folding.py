"""muP's multipliers folded into weights: the standard model then gives the same logits."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.load import validate
from scaling.config.model import ModelConfig
from scaling.hf.convert import export_run, fold, import_run, standard
from scaling.models.build import new_model
from scaling.models.score import score
from scaling.train.loop import train
from scaling.train.trained import load_trained
from tests.models.named import named_parameters
from tests.train.conftest import MakeRun

SMALL = {"vocab_size": 32, "max_length": 16, "n_layers": 2, "d_model": 32, "n_heads": 4}
MUP = {"parametrization": "mup", "base_width": 8, "base_d_head": 2}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"base_depth": 1},
    "gpt1": {"norm": "post"},
    "llama": {"base_depth": 1, "positions": "rotary", "norm_kind": "rms", "gated": True, "bias": False}
    | {"n_kv_heads": 2, "tie_embeddings": False},
    "qwen3": {"positions": "rotary", "norm_kind": "rms", "bias": False, "qk_norm": True},
    "bert": {"family": "encoder"},
    "t5": {"family": "encoder_decoder", "norm_kind": "rms", "bias": False, "scale_attention": False},
    "switch": {"base_depth": 1, "mixture": {"experts": 4}},
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "gpt2")) for n in MODELS])
def test_folded_weights_give_the_same_logits(name: str) -> None:
    config = validate(ModelConfig, SMALL | MUP | MODELS[name])
    model = jax.jit(lambda: new_model(config, jax.random.key(0)))()
    noise = np.random.default_rng(0)  # biases and scales would fold into anything while they are 0 and 1
    for parameter in named_parameters(model).values():
        value = parameter.get_value()
        parameter.set_value(value + 0.1 * jnp.asarray(noise.normal(size=value.shape), value.dtype))
    arrays = {path: np.asarray(p.get_value()) for path, p in named_parameters(model).items()}
    other = jax.jit(lambda: new_model(standard(config), jax.random.key(1)))()
    for path, array in fold(config, arrays).items():
        named_parameters(other)[path].set_value(jnp.asarray(array))
    ids = noise.integers(0, 32, (2, 12)).tolist()
    pair = ids if name == "t5" else None
    mine, theirs = (score(m, ids, pair, keep_logits=True).logits_BLV for m in (model, other))
    assert mine is not None and theirs is not None
    assert mine.std() > 0.05
    np.testing.assert_allclose(theirs, mine, atol=2e-5)


@pytest.mark.slow
def test_an_exported_run_comes_back_with_its_logits(make_run: MakeRun, tmp_path: Path) -> None:
    given = ["model.parametrization=mup", "model.base_width=8", "model.base_depth=1", "train.steps=2"]
    run = make_run(*given)
    train(run, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    import_run(tmp_path / "out", tmp_path / "back")
    ids = np.random.default_rng(0).integers(0, run.model.vocab_size, (2, 12)).tolist()
    both = [load_trained(tmp_path / at, lambda text: None) for at in ("run", "back")]
    assert getattr(both[1].run.model, "parametrization", None) == "standard"
    mine, theirs = (score(one.model, ids, keep_logits=True).logits_BLV for one in both)
    assert mine is not None and theirs is not None
    np.testing.assert_allclose(theirs, mine, atol=1e-5)
