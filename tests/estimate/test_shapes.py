"""Layer shapes against the published families, and their counts against the one way to count."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.load import load_model
from scaling.config.model import DecoderConfig
from scaling.estimate.counts import count_parameters
from scaling.estimate.shapes import (
    DecoderShape,
    Sizing,
    aspect,
    decoder,
    padded_vocabulary,
    shape_for,
    size_of,
    smallest,
)

SIZING = Sizing(50304, 2048)


@pytest.mark.parametrize("name", ["gpt3-125m", "gpt3-1.3b", "gpt3-6.7b", "gpt3-13b", "gpt3-175b"])
def test_the_sizes_of_gpt3_get_the_shapes_of_gpt3(name: str) -> None:
    """Brown et al. 2020, Table 2.1: the rule was read off two of these; the others follow."""
    theirs = load_model(name)
    assert isinstance(theirs, DecoderConfig)
    shape = shape_for(count_parameters(theirs).non_embedding_with_head, SIZING)
    assert (shape.width, shape.depth, shape.heads) == (theirs.d_model, theirs.n_layers, theirs.n_heads)


# Widths go in steps: without embeddings a step is worth more. Over 4,000 sizes at most 4.2, else 3.1%.
@settings(max_examples=60, deadline=None)
@given(st.floats(7.7, 13.0), st.sampled_from(["total", "non_embedding", "non_embedding_with_head"]))
def test_counts_are_near_and_exact(log_params: float, counts: str) -> None:
    params = 10**log_params
    sizing = Sizing(50304, 2048, counts)  # type: ignore[arg-type]
    shape = shape_for(params, sizing)
    assert size_of(shape, sizing) == getattr(count_parameters(decoder(shape, sizing)), counts)
    assert abs(size_of(shape, sizing) / params - 1) < (0.045 if counts == "non_embedding" else 0.032)
    assert 0.45 < shape.width / shape.depth / aspect(params) < 2.2
    assert shape.width % 128 == 0 and shape.width % shape.heads == 0
    assert shape.width // shape.heads in (64, 128)


def test_small_targets_get_the_smallest_shape() -> None:
    assert shape_for(1, SIZING) == DecoderShape(128, 2)
    assert smallest(SIZING) == size_of(DecoderShape(128, 2), SIZING)
    sizes = [size_of(shape_for(10 ** (6 + place / 20), SIZING), SIZING) for place in range(140)]
    assert all(later >= 0.94 * earlier for earlier, later in itertools.pairwise(sizes))


def test_the_model_is_one_that_devices_like() -> None:
    model = decoder(DecoderShape(2048, 24), SIZING)
    assert padded_vocabulary(50257) == model.vocab_size == 50304 and padded_vocabulary(50304) == 50304
    assert model.scan_layers and model.compute_dtype == "bfloat16" and model.dropout == 0
    assert model.positions == "learned" and model.max_length == 2048 and model.d_ff == 8192
