"""Recurrent and feed-forward models give the same loss and gradients on eight devices as on one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.load import validate
from scaling.config.mesh import MeshConfig
from scaling.config.model import ModelConfig
from scaling.models.cross_entropy import cross_entropy
from scaling.models.feed_forward_lm import FeedForwardLM
from scaling.models.lstm import LSTM
from scaling.models.rnn_encoder_decoder import RNNEncoderDecoder
from scaling.parallel.mesh import batch_sharding, make_mesh, placed, shardings

SIZE = {"vocab_size": 64, "max_length": 16, "d_model": 16, "init_std": 0.2}
CASES: list[tuple[Any, dict[str, Any]]] = [
    (LSTM, SIZE | {"family": "lstm", "n_layers": 2}),
    (FeedForwardLM, SIZE | {"family": "feed_forward", "context": 3, "d_embedding": 8, "direct": True}),
    (
        RNNEncoderDecoder,
        SIZE | {"family": "rnn_encoder_decoder", "d_embedding": 8, "d_attention": 12, "d_readout": 8},
    ),
]


@pytest.mark.parametrize(
    ("module", "tree"),
    [*CASES[:2], pytest.param(*CASES[2], marks=pytest.mark.slow)],
    ids=["lstm", "feed_forward", "rnn_encoder_decoder"],
)
def test_eight_devices_give_the_gradients_of_one(module: Any, tree: dict[str, Any]) -> None:
    config = validate(ModelConfig, tree)
    model = jax.jit(lambda key: module(config, key))(jax.random.key(0))
    tokens = np.random.default_rng(0).integers(0, 64, (3, 8, 10), np.int32)
    segments = np.repeat(np.array([[1] * 4 + [2] * 5 + [0]], np.int32), 8, axis=0)
    batch = dict(zip(("inputs", "targets", "decoder_inputs"), tokens, strict=True)) | {
        "segment_ids": segments
    }

    def loss(model: Any, batch: dict[str, jax.Array]) -> jax.Array:
        terms = model.terms(batch)
        return cross_entropy(terms.x_BLD, model.head_VD(), terms.targets_BL)[0]

    want, want_gradient = jax.jit(jax.value_and_grad(loss))(model, jax.tree.map(jnp.array, batch))

    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    where = shardings(jax.eval_shape(lambda: model), mesh)

    def on_the_mesh(model: Any, batch: dict[str, jax.Array]) -> Any:
        with placed(mesh):
            return jax.value_and_grad(loss)(model, batch)

    rows = batch_sharding((8, 10), mesh)
    step = jax.jit(on_the_mesh, in_shardings=(where, rows), out_shardings=(None, where))
    got, gradient = step(jax.device_put(model, where), jax.device_put(batch, rows))
    assert float(got) == pytest.approx(float(want), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), gradient, want_gradient)
