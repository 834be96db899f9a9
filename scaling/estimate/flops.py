"""FLOPs of a model, counted matmul by matmul from its config alone. A multiply and an add are two."""

from typing import Literal

from scaling.config.model import DecoderConfig

AttentionConvention = Literal["causal", "full"]


def _keys_seen(length: int, band: int | None, convention: AttentionConvention) -> float:
    """Keys a query multiplies with on average: all in the window (`full`), or about half (`causal`)."""
    if convention == "full":
        return float(length)
    width = min(band or length, length)
    return width - width * width / (2 * length)


def forward_flops_per_token(
    model: DecoderConfig, length: int, convention: AttentionConvention = "causal"
) -> float:
    """FLOPs of a forward pass a token of a sequence of `length`.

    Every matmul of the layers and of the output head; embedding lookups, norms and activations are not
    matmuls and count nothing (Kaplan et al. 2020, table 1; Hoffmann et al. 2022, appendix F).
    """
    d, heads = model.d_model, model.n_heads * model.d_head
    projections = 2 * 4 * d * heads
    feed_forward = 2 * 2 * d * model.d_ff
    per_pattern = 0.0
    for kind in model.layer_pattern:
        band = model.band_width if kind == "banded" else None
        scores_and_values = 2 * 2 * heads * _keys_seen(length, band, convention)
        per_pattern += projections + feed_forward + scores_and_values
    return model.n_layers / len(model.layer_pattern) * per_pattern + 2 * d * model.vocab_size


def train_flops_per_token(
    model: DecoderConfig, length: int, convention: AttentionConvention = "causal"
) -> float:
    """FLOPs of forward and backward a token: the backward pass does each matmul twice."""
    return 3 * forward_flops_per_token(model, length, convention)
