"""Counts of the families against the peer's own modules, which are built without memory."""

import pytest

from scaling.config.load import load_model, model_names
from scaling.config.model import EncoderDecoderConfig
from scaling.estimate.counts import count_parameters, head_size

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def peer(name: str):
    """The peer's pre-training module of a named model."""
    c = load_model(name)
    family = name.split("-")[0]
    if family in ("bert", "roberta", "albert"):
        keys = {
            "vocab_size": c.vocab_size,
            "hidden_size": c.d_model,
            "num_hidden_layers": c.n_layers,
            "num_attention_heads": c.n_heads,
            "intermediate_size": c.d_ff,
            "max_position_embeddings": c.max_length,
        }
        if family == "bert":
            return transformers.BertForPreTraining, transformers.BertConfig(**keys)
        if family == "roberta":
            return transformers.RobertaForMaskedLM, transformers.RobertaConfig(**keys, type_vocab_size=1)
        config = transformers.AlbertConfig(**keys, embedding_size=c.embedding_size)
        return transformers.AlbertForPreTraining, config
    if family == "llama":
        config = transformers.LlamaConfig(
            vocab_size=c.vocab_size,
            hidden_size=c.d_model,
            intermediate_size=c.d_ff,
            num_hidden_layers=c.n_layers,
            num_attention_heads=c.n_heads,
        )
        return transformers.LlamaForCausalLM, config
    keys = {
        "vocab_size": c.vocab_size,
        "d_model": c.d_model,
        "d_kv": c.d_head,
        "d_ff": c.d_ff,
        "num_layers": c.n_layers,
        "num_heads": c.n_heads,
    }
    if family == "switch":
        mixed = c.n_layers // c.mixture.every
        config = transformers.SwitchTransformersConfig(
            **keys,
            num_decoder_layers=c.n_layers,
            num_experts=c.mixture.experts,
            num_sparse_encoder_layers=mixed,
            num_sparse_decoder_layers=mixed,
        )
        return transformers.SwitchTransformersForConditionalGeneration, config
    config = transformers.T5Config(**keys, feed_forward_proj="gated-gelu" if c.gated else "relu")
    return transformers.T5ForConditionalGeneration, config


FAMILIES = ("bert", "roberta", "albert", "t5", "t5v11", "llama", "switch")


@pytest.mark.parametrize("name", [n for n in model_names() if n.split("-")[0] in FAMILIES])
def test_counts_equal_the_peer(name: str) -> None:
    module, config = peer(name)
    with torch.device("meta"):
        built = module(config)
    size = sum(parameter.numel() for parameter in built.parameters())
    model = load_model(name)
    if isinstance(model, EncoderDecoderConfig) and not model.tie_embeddings:
        size += head_size(model)  # the peer's config ties them, whatever it is told
    assert count_parameters(model).total == size


def test_a_mixture_uses_one_expert_a_token() -> None:
    counts, dense = count_parameters(load_model("switch-base-128")), count_parameters(load_model("t5-base"))
    router = counts.by_component["router"]
    assert counts.active == dense.total + router
    assert counts.total == counts.active + 127 * dense.by_component["feed_forward"] // 2


def test_lstm_by_hand() -> None:
    # Gal and Ghahramani 2016, table 1, print 66M for it.
    d, v = 1500, 10000
    assert count_parameters(load_model("lstm-large")).total == 2 * v * d + v + 2 * (8 * d * d + 4 * d)
