"""The feed-forward model against its paper's equation, written out position by position in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.load import validate
from scaling.config.model import ModelConfig
from scaling.models.feed_forward_lm import FeedForwardLM
from scaling.models.language_model import logits

TREE = {
    "family": "feed_forward",
    "vocab_size": 23,
    "max_length": 16,
    "context": 3,
    "d_embedding": 5,
    "d_model": 7,
    "init_std": 0.4,
}


def new(**changes: Any) -> FeedForwardLM:
    return FeedForwardLM(validate(ModelConfig, TREE | changes), jax.random.key(1))


def reference(model: FeedForwardLM, tokens: list[int]) -> np.ndarray:
    """Logits after `tokens` of one document: b + U tanh(d + H x) + W x."""
    config = model.config
    table = np.asarray(model.token_embedding[...], np.float64)
    last = list(reversed(tokens[-config.context :]))
    x = np.concatenate([table[t] for t in last] + [np.zeros(5)] * (config.context - len(last)))
    hidden = np.tanh(np.asarray(model.window[...]).T @ x + np.asarray(model.window_bias[...]))
    if model.hidden is not None:
        for kernel, bias in zip(model.hidden.kernel[...], model.hidden.bias[...], strict=True):
            hidden = np.tanh(np.asarray(kernel).T @ hidden + np.asarray(bias))
    head = np.asarray(model.head_VD(), np.float64)
    y = np.asarray(model.head_bias[...]) + head[:, : config.d_model] @ hidden
    return y + head[:, config.d_model :] @ x if config.direct else y


@pytest.mark.parametrize(
    "changes",
    [{}, {"direct": True}, {"n_layers": 3}, {"context": 1}, {"context": 9, "direct": True}],
    ids=str,
)
@pytest.mark.parametrize("packed", [False, True])
def test_logits_equal_the_equation(changes: dict[str, Any], packed: bool) -> None:
    model = new(**changes)
    model.head_bias = model.head_bias.replace(jax.random.normal(jax.random.key(2), (23,)))
    tokens = np.random.default_rng(0).integers(0, 23, (2, 8), np.int32)
    segments = np.array([[1, 1, 1, 2, 2, 3, 3, 3], [1] * 8])
    batch = {"inputs": jnp.array(tokens)}
    if packed:
        batch["segment_ids"] = jnp.array(segments)
    got = jax.jit(lambda model, batch: logits(model, model.states(batch)))(model, batch)
    for row in range(2):
        for t in range(8):
            start = list(segments[row]).index(segments[row, t]) if packed else 0
            want = reference(model, tokens[row, start : t + 1].tolist())
            np.testing.assert_allclose(got[row, t], want, atol=1e-5)


def test_tied_head_is_the_embedding() -> None:
    model = new(tie_embeddings=True, d_embedding=7)
    np.testing.assert_array_equal(model.head_VD(), model.token_embedding[...])


@pytest.mark.slow
def test_relu_and_dropout() -> None:
    model = new(activation="relu", dropout=0.25, d_model=400)
    batch = {"inputs": jnp.array(np.random.default_rng(0).integers(0, 23, (8, 16), np.int32))}
    plain, dropped = model.states(batch), model.states(batch, jax.random.key(0))
    assert (plain >= 0).all()
    alive = float((dropped > 0).mean() / (plain > 0).mean())
    assert 0.65 < alive < 0.85
    assert not (plain == dropped).all()
