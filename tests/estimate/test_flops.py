"""FLOPs of the estimator against the train step's own jaxpr, closed forms and published figures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.load import load_model, load_run
from scaling.estimate.counts import count_parameters, forward_flops, hardware_flops, train_flops_per_token

SMALL = {"vocab_size": 521, "max_length": 512, "n_layers": 4, "d_model": 64, "n_heads": 4}
CASES = {
    "plain": {},
    "one block": {"max_length": 96},
    "odd length": {"max_length": 300},
    "banded": {"layer_pattern": ["dense", "banded"], "band_width": 150},
    "dots": {"remat": "dots"},
    "full": {"remat": "full"},
    "full, scanned": {"remat": "full", "scan_layers": True},
    "full, banded": {"remat": "full", "layer_pattern": ["dense", "banded"], "band_width": 150},
    "post-norm, full": {"norm": "post", "remat": "full"},
    "wide heads": {"d_head": 48, "d_ff": 160},
    "dropout": {"dropout": 0.1},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_executed_flops_equal_the_jaxpr(case, accumulation):
    from scaling.train.dry_run import step_flops

    model = SMALL | CASES[case]
    length, rows = model["max_length"], 4
    run = load_run(
        {
            "model": model,
            "data": {"sequence_length": length},
            "train": {
                "steps": 1,
                "batch_tokens": rows * length,
                "learning_rate": 1e-3,
                "accumulation": accumulation,
            },
        }
    )
    counted = step_flops(run)
    assert rows * hardware_flops(run.model, length, rows // accumulation) == pytest.approx(counted, rel=1e-3)


ENCODER = {"family": "encoder", "residual_init_scaling": False}
SEQ2SEQ = {"family": "encoder_decoder", "norm_kind": "rms", "bias": False, "n_decoder_layers": 2}
FAMILIES = {
    "encoder": ENCODER,
    "encoder, full, scanned": ENCODER | {"remat": "full", "scan_layers": True},
    "encoder, few positions": ENCODER | {"head_positions": 0.15, "remat": "dots"},
    "encoder, shared and factorised": ENCODER | {"share_layers": True, "embedding_size": 16, "remat": "full"},
    "encoder-decoder": SEQ2SEQ,
    "encoder-decoder, full, scanned": SEQ2SEQ | {"remat": "full", "scan_layers": True},
    "encoder-decoder, dots, post-norm": SEQ2SEQ | {"remat": "dots", "norm": "post"},
    "encoder-decoder, dropout": SEQ2SEQ | {"dropout": 0.1},
    "mixture": SEQ2SEQ | {"mixture": {"experts": 4}, "remat": "full", "n_decoder_layers": 4},
    "mixture, scanned": {"mixture": {"experts": 4, "top_k": 2}, "scan_layers": True},
    "LLaMA": {
        "positions": "rotary",
        "n_kv_heads": 2,
        "norm_kind": "rms",
        "gated": True,
        "activation": "silu",
        "bias": False,
        "remat": "full",
    },
    "QK norm": {"positions": "rotary", "n_kv_heads": 2, "bias": False, "qkv_bias": True, "qk_norm": True},
    "encoder-decoder, QK norm": SEQ2SEQ | {"qk_norm": True, "qkv_bias": True, "remat": "full"},
}


@pytest.mark.parametrize("case", FAMILIES)
def test_every_family_executes_what_is_counted(case):
    from scaling.train.dry_run import step_flops

    model = SMALL | FAMILIES[case] | {"max_length": 256}
    sentences = {"name": "masked", "sentences": "next"} if model.get("family") == "encoder" else None
    run = load_run(
        {
            "model": model,
            "objective": sentences,
            "data": {"sequence_length": 256},
            "train": {"steps": 1, "batch_tokens": 1024, "learning_rate": 1e-3},
        }
    )
    counted = step_flops(run)
    assert 4 * hardware_flops(run.model, 256, 4, run.target_length) == pytest.approx(counted, rel=1e-3)


def test_forward_by_hand():
    model = load_model("gpt2-124m")
    d, L, V = 768, 1024, 50257
    flops = forward_flops(model, L, "full")
    assert flops.linear == L * 12 * 2 * (4 * d * d + 8 * d * d)
    assert flops.pairs == 12 * 2 * 2 * L * L * d
    assert flops.head == L * 2 * d * V


# Narayanan et al. 2021, arXiv:2104.04473, equation 3 without its recomputed forward pass (72 for 96).
@pytest.mark.parametrize("name", ["gpt3-13b", "gpt3-175b"])
def test_narayanan(name):
    model = load_model(name, ["layer_pattern=[dense]"])
    h, n, s, v = model.d_model, model.n_layers, 2048, model.vocab_size
    want = 72 * n * h * h * (1 + s / (6 * h) + v / (12 * h * n))
    assert train_flops_per_token(model, s, "full") == pytest.approx(want, rel=1e-9)


def test_cross_attention_counts_both_lengths():
    model = load_model("t5-base")
    source, target = 512, 114
    flops = forward_flops(model, source, "full", target)
    d, n, ff, heads = 768, 12, 3072, 768
    encoder = source * n * 2 * (4 * d * heads + 2 * d * ff)
    decoder = target * n * 2 * (4 * d * heads + 2 * d * ff) + n * 2 * 2 * d * heads * (source + target)
    assert flops.linear == encoder + decoder
    assert flops.pairs == 4 * n * heads * (source * source + target * target + target * source)
    assert flops.head == target * 2 * d * model.vocab_size


def test_a_masked_head_counts_the_masked_positions():
    whole = forward_flops(load_model("bert-base"), 512)
    some = forward_flops(load_model("bert-base", ["head_positions=0.15"]), 512)
    pooled = 2 * 768 * 768 + 2 * 768 * 2
    assert (some.head - pooled) / (whole.head - pooled) == pytest.approx(0.15)


def test_switch_costs_what_its_dense_twin_costs_and_the_router():
    switch, dense = (forward_flops(load_model(name), 512) for name in ("switch-base-8", "t5-base"))
    assert switch.linear - dense.linear == 2 * 512 * 6 * 2 * 768 * 8  # both sides, six mixtures each


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["gpt2-124m", "bert-base", "t5-small", "llama-7b", "lstm-large"]), st.integers(2, 512))
def test_six_n_d_is_a_lower_bound_that_short_sequences_approach(name, length):
    model = load_model(name)
    if model.family in ("encoder_decoder", "encoder"):
        return  # their tokens use a part of the parameters each
    shorthand = 6 * sum(
        size
        for component, size in count_parameters(model).by_component.items()
        if component in ("attention", "feed_forward", "lstm")
    )
    assert train_flops_per_token(model, length) > 0.99 * shorthand
