"""Counts of the baselines from the config equal their modules' own, and their papers' closed forms."""

from typing import Any

import jax
import pytest
from flax import nnx

from scaling.config.load import load_model, validate
from scaling.config.model import ModelConfig
from scaling.estimate.counts import count_parameters, head_size, tensors
from scaling.models.feed_forward_lm import FeedForwardLM
from scaling.models.lstm import LSTM
from scaling.models.rnn_encoder_decoder import RNNEncoderDecoder
from scaling.parallel.mesh import logical_axes
from scaling.runtime.errors import BadInputError

MODULES: dict[str, Any] = {
    "lstm": LSTM,
    "feed_forward": FeedForwardLM,
    "rnn_encoder_decoder": RNNEncoderDecoder,
}
FEED_FORWARD = {
    "family": "feed_forward",
    "vocab_size": 37,
    "max_length": 16,
    "context": 3,
    "d_embedding": 6,
    "d_model": 10,
}
RNN = {
    "family": "rnn_encoder_decoder",
    "vocab_size": 37,
    "max_length": 16,
    "d_embedding": 6,
    "d_model": 10,
    "d_attention": 7,
    "d_readout": 8,
}
LSTM_ = {"family": "lstm", "vocab_size": 37, "max_length": 16, "n_layers": 3, "d_model": 10}
CASES = [
    LSTM_,
    LSTM_ | {"tie_embeddings": True},
    FEED_FORWARD,
    FEED_FORWARD | {"direct": True},
    FEED_FORWARD | {"n_layers": 3},
    FEED_FORWARD | {"tie_embeddings": True, "d_embedding": 10},
    RNN,
    RNN | {"share_embeddings": True},
    RNN | {"tie_embeddings": True, "d_readout": 6},
    "lstm-large",
    "nplm-mlp1",
    "nplm-ap",
    "rnnsearch-50",
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tensors_equal_the_module(case: Any) -> None:
    config = load_model(case) if isinstance(case, str) else validate(ModelConfig, case)
    tree = jax.eval_shape(lambda: MODULES[config.family](config, jax.random.key(0)))
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: isinstance(node, nnx.Variable))
    module = {
        jax.tree_util.keystr(path, simple=True, separator="."): (node.get_value().shape, logical_axes(node))
        for path, node in leaves[0]
        if isinstance(node, nnx.Variable)
    }
    assert {tensor.name: (tensor.shape, tensor.axes) for tensor in tensors(config)} == module
    counts = count_parameters(config)
    assert counts.total == sum(counts.by_component.values()) == counts.active
    # The head is what `head_VD` multiplies with, whatever it is called.
    assert jax.eval_shape(lambda m: m.head_VD(), tree).size == head_size(config)
    assert counts.non_embedding_with_head - counts.non_embedding == head_size(config)


@pytest.mark.parametrize("name", ["nplm-mlp1", "nplm-mlp5", "nplm-mlp7", "nplm-mlp9", "nplm-ap"])
def test_bengio_closed_form(name: str) -> None:
    """Bengio et al. 2003, section 2: |V| (1 + n m + h) + h (1 + (n - 1) m) with direct connections."""
    c = load_model(name)
    n, m, h, v = c.context + 1, c.d_embedding, c.d_model, c.vocab_size
    want = v * (1 + n * m + h) + h * (1 + (n - 1) * m)
    if not c.direct:
        want -= v * (n - 1) * m
    assert count_parameters(c).total == want


def test_rnnsearch_by_hand() -> None:
    """Bahdanau et al. 2014, appendix A, with a bias where an affine map ends."""
    n, m, a, r, v = 1000, 620, 1000, 500, 30000
    unit = 3 * (m * n + n * n + n)
    decoder = unit + 3 * 2 * n * n + n * n + n
    attention = a * n + a * 2 * n + a + a
    readout = 2 * r * (n + m + 2 * n) + 2 * r
    head = v * r + v
    counts = count_parameters(load_model("rnnsearch-50"))
    assert counts.total == 2 * v * m + 2 * unit + decoder + attention + readout + head


@pytest.mark.parametrize(
    ("case", "field"),
    [
        (FEED_FORWARD | {"tie_embeddings": True}, "d_embedding=6"),
        (FEED_FORWARD | {"tie_embeddings": True, "d_embedding": 10, "direct": True}, "direct=false"),
        (RNN | {"tie_embeddings": True}, "d_readout=8"),
        (RNN | {"n_layers": 2}, "n_layers"),
        (FEED_FORWARD | {"context": 0}, "context"),
        ({"family": "ngram", "vocab_size": 9, "max_length": 8, "order": 17}, "order"),
    ],
)
def test_bad_configs_name_the_field(case: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInputError, match=field):
        validate(ModelConfig, case)


def test_an_ngram_has_no_counts_to_estimate() -> None:
    config = validate(ModelConfig, {"family": "ngram", "vocab_size": 9, "max_length": 8, "order": 3})
    with pytest.raises(BadInputError, match="follow from the text"):
        count_parameters(config)
