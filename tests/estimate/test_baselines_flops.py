"""FLOPs of the baselines against the jaxpr of their own loss and gradient, and by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from scaling.config.load import load_model, load_run, validate
from scaling.config.model import ModelConfig
from scaling.estimate.counts import forward_flops, hardware_flops
from scaling.estimate.estimate import model_part, on_devices
from scaling.models.cross_entropy import cross_entropy
from scaling.models.feed_forward_lm import FeedForwardLM
from scaling.models.lstm import LSTM
from scaling.models.rnn_encoder_decoder import RNNEncoderDecoder
from scaling.parallel.program_costs import matmul_flops

MODULES: dict[str, Any] = {
    "lstm": LSTM,
    "feed_forward": FeedForwardLM,
    "rnn_encoder_decoder": RNNEncoderDecoder,
}
SIZE = {"vocab_size": 131, "max_length": 64}
LSTM_ = SIZE | {"family": "lstm", "n_layers": 2, "d_model": 24}
FEED_FORWARD = SIZE | {"family": "feed_forward", "context": 3, "d_embedding": 10, "d_model": 24}
RNN = SIZE | {
    "family": "rnn_encoder_decoder",
    "d_embedding": 12,
    "d_model": 24,
    "d_attention": 20,
    "d_readout": 16,
}
CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    "lstm": (LSTM_, 40, 40),
    "lstm, dropout, tied": (LSTM_ | {"dropout": 0.1, "tie_embeddings": True}, 17, 17),
    "feed-forward": (FEED_FORWARD, 40, 40),
    "feed-forward, direct, deep": (FEED_FORWARD | {"direct": True, "n_layers": 3}, 40, 40),
    "rnn": (RNN, 30, 30),
    "rnn, two lengths": (RNN | {"dropout": 0.1}, 30, 11),
    "rnn, large vocabulary": (RNN | {"vocab_size": 2**19}, 9, 70),  # logits in chunks, the last one padded
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("segments", [False, True])
def test_executed_flops_equal_the_jaxpr(case: str, segments: bool) -> None:
    tree, source, target = CASES[case]
    config = validate(ModelConfig, tree)
    rows = 4
    model = jax.eval_shape(lambda: MODULES[config.family](config, jax.random.key(0)))
    batch = {"inputs": (rows, source), "targets": (rows, target)}
    if config.family == "rnn_encoder_decoder":
        batch["decoder_inputs"] = (rows, target)
    if segments:
        batch["segment_ids"] = (rows, source)
    shapes = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in batch.items()}

    def loss(model: Any, batch: Any) -> jax.Array:
        terms = model.terms(batch, jax.random.key(0) if config.dropout else None)
        return cross_entropy(terms.x_BLD, model.head_VD(), terms.targets_BL)[0]

    counted = matmul_flops(jax.make_jaxpr(jax.grad(loss))(model, shapes))
    assert rows * hardware_flops(config, source, rows, target) == counted


def test_lstm_and_feed_forward_by_hand() -> None:
    flops = forward_flops(load_model("lstm-medium"), 35)
    assert flops.linear == 35 * 2 * 2 * (650 * 4 * 650 + 650 * 4 * 650)
    assert flops.head == 35 * 2 * 650 * 10000
    flops = forward_flops(load_model("nplm-mlp1"), 100)
    assert flops.linear == 100 * 2 * (4 * 60) * 50
    assert flops.head == 100 * 2 * 16383 * (50 + 4 * 60)


def test_attention_of_the_rnn_looks_at_every_pair() -> None:
    model = load_model("rnnsearch-50")
    assert forward_flops(model, 30, "causal", 50).pairs == 2 * 30 * 50 * (1000 + 2 * 1000)
    assert forward_flops(model, 30, "causal", 50) == forward_flops(model, 30, "full", 50)


@pytest.mark.parametrize("name", ["lstm-medium", "nplm-mlp1", "rnnsearch-50"])
def test_every_part_of_an_estimate_is_there(name: str) -> None:
    from scaling.config.devices import parse_devices

    run = load_run(
        {
            "model": name,
            "data": {"sequence_length": 16},
            "train": {"steps": 1, "batch_tokens": 64, "learning_rate": 1e-3},
        }
    )
    part = model_part(run.model, 16, 8)
    two_sided = run.model.family == "rnn_encoder_decoder"
    assert part["flops_per_token"]["target_length"] == (8 if two_sided else None)
    hardware, train = (part["flops_per_token"][key] for key in ("hardware", "train"))
    assert hardware == pytest.approx(train, rel=1e-12)  # nothing is computed twice
    found = on_devices(run, parse_devices("h100-sxm:1"), 1e6, target_length=8)
    assert 0 < found.memory.total < 2**33 and found.time.seconds > 0
