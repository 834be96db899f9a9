"""FLOPs of a model, counted matmul by matmul from its config alone. A multiply and an add are two.

These are `model FLOPs`, what the mathematics asks for, whatever the program does twice: utilisation (MFU) is
stated in them. What the train step executes is `scaling.estimate.executed`'s.
"""

import dataclasses
from typing import Literal

from scaling.config.model import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    FeedForwardLMConfig,
    LSTMConfig,
    ModelConfig,
    RNNEncoderDecoderConfig,
    TransformerConfig,
    network,
)
from scaling.config.run import RunConfig
from scaling.estimate.parameters import head_size

AttentionConvention = Literal["causal", "full"]


@dataclasses.dataclass(frozen=True)
class ForwardFlops:
    """FLOPs of one sequence's forward pass: of the layers' linear maps, of attention scores and values
    (`pairs`), and of what stands outside the layers (`head`)."""

    linear: float
    pairs: float
    head: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.linear + self.pairs + self.head


def _keys_seen(length: int, band: int | None, convention: AttentionConvention) -> float:
    """Keys a query multiplies with on average: all in the window (`full`), or about half (`causal`)."""
    if convention == "full":
        return float(length)
    width = min(band or length, length)
    return width - width * width / (2 * length)


def projection_flops(model: TransformerConfig, kv_heads: int | None = None) -> int:
    """A token's FLOPs through the query, key, value and output projections."""
    return 2 * model.d_model * model.d_head * 2 * (model.n_heads + (kv_heads or model.n_heads))


def feed_forward_flops(model: TransformerConfig) -> int:
    """A token's FLOPs through one dense feed-forward, or one expert."""
    return 2 * (3 if model.gated else 2) * model.d_model * model.d_ff


def _feed_forwards(model: TransformerConfig, layers: int) -> float:
    """A token's FLOPs through the feed-forwards of a stack, its routers and chosen experts included."""
    one, mixture = feed_forward_flops(model), model.mixture
    if mixture is None:
        return layers * one
    mixed = layers // mixture.every
    return (layers - mixed) * one + mixed * (mixture.top_k * one + 2 * model.d_model * mixture.experts)


def _decoder(model: DecoderConfig, length: int, convention: AttentionConvention) -> ForwardFlops:
    seen = 0.0
    for kind in model.layer_pattern:
        seen += _keys_seen(length, model.band_width if kind == "banded" else None, convention)
    seen *= model.n_layers / len(model.layer_pattern)
    linear = model.n_layers * projection_flops(model, model.n_kv_heads) + _feed_forwards(
        model, model.n_layers
    )
    return ForwardFlops(
        linear=length * linear,
        pairs=length * 4 * model.n_heads * model.d_head * seen,
        head=length * 2 * model.d_model * model.vocab_size,
    )


def _encoder(model: EncoderConfig, length: int) -> ForwardFlops:
    d, width = model.d_model, model.embedding_size or model.d_model
    layer = projection_flops(model) + feed_forward_flops(model)
    head = 0.0
    if model.projects_embedding:
        head += length * 2 * width * d
    if model.mlm_head:
        head += model.head_positions * length * (2 * d * width + 2 * width * model.vocab_size)
    if model.pooler:
        head += 2 * d * d  # of the first position alone
    if model.sentence_head:
        head += 2 * d * 2
    return ForwardFlops(
        linear=length * model.n_layers * layer,
        pairs=model.n_layers * 4 * model.n_heads * model.d_head * length * length,
        head=head,
    )


def _encoder_decoder(
    model: EncoderDecoderConfig, source: int, target: int, convention: AttentionConvention
) -> ForwardFlops:
    n, m, heads = model.n_layers, model.decoder_layers, model.n_heads * model.d_head
    encoder = source * (n * projection_flops(model) + _feed_forwards(model, n))
    decoder = target * (m * projection_flops(model) + _feed_forwards(model, m))
    # Cross-attention: queries and output of each target position, keys and values of each source position.
    cross = m * (target + source) * 2 * model.d_model * heads * 2
    pairs = n * source * source + m * target * (_keys_seen(target, None, convention) + source)
    return ForwardFlops(
        linear=encoder + decoder + cross,
        pairs=4 * heads * pairs,
        head=target * 2 * model.d_model * model.vocab_size,
    )


def _rnn_encoder_decoder(model: RNNEncoderDecoderConfig, source: int, target: int) -> ForwardFlops:
    d, e, a = model.d_model, model.d_embedding, model.d_attention
    unit = e * 3 * d + d * 3 * d
    encoder = source * (2 * unit + 2 * d * a)  # the keys of attention too
    decoder = target * (unit + d * a + 2 * d * 3 * d + (3 * d + e) * 2 * model.d_readout)
    return ForwardFlops(
        linear=2 * (encoder + decoder + d * d),  # one projection a sequence gives the decoder's first state
        pairs=2 * source * target * (a + 2 * d),
        head=target * 2 * head_size(model),
    )


def forward_flops(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> ForwardFlops:
    """FLOPs of a forward pass over one sequence of `length` (encoder-decoders: and `target_length`).

    Every matmul of the layers and of the heads; embedding lookups, norms and activations are not matmuls and
    count nothing (Kaplan et al. 2020, table 1; Hoffmann et al. 2022, appendix F). The convention concerns
    causal self-attention alone: attention over a whole sequence is `full` by its nature.

    Raises:
        BadInputError: an n-gram looks up, and multiplies nothing.
    """
    model = network(model)
    match model:
        case DecoderConfig():
            return _decoder(model, length, convention)
        case EncoderConfig():
            return _encoder(model, length)
        case EncoderDecoderConfig():
            return _encoder_decoder(model, length, target_length or length, convention)
        case LSTMConfig():
            layers = model.n_layers * 2 * 8 * model.d_model**2
            return ForwardFlops(length * layers, 0.0, length * 2 * head_size(model))
        case FeedForwardLMConfig():
            layers = 2 * model.d_model * (model.d_window + (model.n_layers - 1) * model.d_model)
            return ForwardFlops(length * layers, 0.0, length * 2 * head_size(model))
        case RNNEncoderDecoderConfig():
            return _rnn_encoder_decoder(model, length, target_length or length)


def forward_flops_per_token(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> float:
    """FLOPs of a forward pass a token of a sequence of `length`.

    Tokens are those that are read: an encoder-decoder's source (Raffel et al. 2019, section 3.1.2), whose
    share of the target's FLOPs they carry.
    """
    return forward_flops(model, length, convention, target_length).total / length


def run_flops_per_token(run: RunConfig) -> float:
    """Training FLOPs a token of a run, causal attention: what its budget is counted in."""
    return train_flops_per_token(run.model, run.data.sequence_length, target_length=run.target_length)


def train_flops_per_token(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> float:
    """Model FLOPs of forward and backward a token: the backward pass does each matmul twice."""
    return 3 * forward_flops_per_token(model, length, convention, target_length)
