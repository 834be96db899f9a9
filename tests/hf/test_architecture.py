"""The tables of names: every number of a model has one place, and comes back from it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.load import load_model, model_names, validate
from scaling.config.model import DecoderConfig, ModelConfig
from scaling.estimate.counts import count_parameters, tensors
from scaling.hf.architecture import pieces, place, to_ours, to_theirs
from scaling.hf.settings import architecture_for
from scaling.runtime.errors import BadInputError

LAYOUT_OF = {
    "gpt1": "openai-gpt",
    "gpt2": "gpt2",
    "bert": "bert",
    "roberta": "roberta",
    "albert": "albert",
    "t5": "t5",
    "t5v11": "t5",
    "llama": "llama",
}
NAMED = [name for name in model_names() if name.split("-")[0] in LAYOUT_OF]


@pytest.mark.parametrize("name", NAMED)
def test_every_number_of_a_named_model_has_one_place(name: str) -> None:
    model = load_model(name)
    layout = architecture_for(model)
    assert layout.model_type == LAYOUT_OF[name.split("-")[0]]
    placed, unplaced = place(layout, model)
    names = [one for part in placed for one in part.names]
    assert not unplaced and len(names) == len(set(names))
    held = sum(len(part.names) * int(np.prod(part.shape)) for part in placed)
    blank = sum(part.rule.blank_rows * part.shape[-1] for part in placed)
    assert held - blank == count_parameters(model).total


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["gpt1", "gpt2-124m", "bert-tiny", "roberta-base", "albert-base", "t5-small",
                          "t5v11-small", "llama-7b", "qwen2", "qwen3"]),
    layers=st.integers(1, 3),
    heads=st.sampled_from([2, 3]),
    head=st.sampled_from([2, 4]),
    tied=st.booleans(),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_our_tensors_come_back_from_theirs(
    name: str, layers: int, heads: int, head: int, tied: bool, seed: int
) -> None:
    width = heads * head
    changes = {"n_layers": layers, "n_heads": heads, "d_head": head, "d_model": width, "d_ff": 4 * width}
    changes |= {"vocab_size": 7, "max_length": 5, "tie_embeddings": str(tied).lower()}
    changes |= {"embedding_size": 3} if name == "albert-base" else {}
    if name.startswith("qwen"):
        changes |= {"qkv_bias" if name == "qwen2" else "qk_norm": "true"}
        name = "llama-7b"
    model = load_model(name, [f"{key}={value}" for key, value in changes.items()])
    draw = np.random.default_rng(seed)
    ours = {tensor.name: draw.normal(size=tensor.shape).astype(np.float32) for tensor in tensors(model)}
    for placed in place(architecture_for(model), model)[0]:
        arrays = [ours.pop(tensor.name) for tensor in placed.tensors]
        for piece in pieces(placed):
            parts = [array[piece.index] for array in arrays]
            theirs = to_theirs(placed, parts)
            assert placed.by_rows or theirs.shape == placed.shape
            for back, part in zip(to_ours(placed, theirs), parts, strict=True):
                np.testing.assert_array_equal(back, part)
    assert not ours


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer_pattern": ["dense", "banded"], "band_width": 8}, "layer_pattern=['dense', 'banded']"),
        ({"mixture": {"experts": 2}}, "mixture="),
        ({"bias": False}, "bias=false"),
        ({"positions": "rotary"}, "positions=rotary"),
        ({"gated": True}, "gated=true"),
        ({"n_kv_heads": 2}, "n_kv_heads=2"),
        ({"attention_soft_cap": 50.0}, "attention_soft_cap=50.0"),
        ({"d_head": 16}, "d_head=16"),
    ],
)
def test_models_without_a_layout_say_why(changes: dict[str, Any], said: str) -> None:
    fields = {"vocab_size": 64, "max_length": 16, "n_layers": 2, "d_model": 32, "n_heads": 4}
    with pytest.raises(BadInputError) as error:
        architecture_for(validate(DecoderConfig, fields | changes))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_families_and_heads_without_a_layout() -> None:
    encoder = {"family": "encoder", "vocab_size": 64, "max_length": 16, "n_layers": 2, "d_model": 32,
               "n_heads": 4}  # fmt: skip
    cases = [
        ({"family": "lstm", "vocab_size": 9, "max_length": 9, "n_layers": 1, "d_model": 8}, "family=lstm"),
        (encoder | {"token_types": 0}, "token_types=0"),
        (encoder | {"norm": "pre"}, "norm=pre"),
        (encoder | {"qk_norm": True}, "qk_norm=true"),
        (encoder | {"share_layers": True}, "embedding_size=None"),
        (encoder | {"share_layers": True, "embedding_size": 8, "mlm_head": False}, "sentence_head alone"),
        ({**encoder, "family": "encoder_decoder", "positions": "sinusoidal"}, "norm_kind=layer"),
    ]
    for tree, said in cases:
        with pytest.raises(BadInputError) as error:
            architecture_for(validate(ModelConfig, tree))
        assert said in str(error.value)
