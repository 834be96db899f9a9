"""FLOPs of a model, counted matmul by matmul from its config alone. A multiply and an add are two.

`model FLOPs` are what the mathematics asks for, whatever the program does twice: utilisation (MFU) is stated
in them. `hardware FLOPs` are what the train step executes: rematerialisation, the blocks of attention and the
recomputed scores of its backward pass included (Korthikanti et al. 2022, arXiv:2205.05198, section 6).
"""

import dataclasses
from typing import Literal

from scaling.config.model import (
    BaselineConfig,
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    FeedForwardLMConfig,
    LSTMConfig,
    ModelConfig,
    RNNEncoderDecoderConfig,
    TransformerConfig,
    TwoSidedConfig,
    network,
)
from scaling.config.tiling import attention_blocks, logits_chunk
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


def _projections(model: TransformerConfig, kv_heads: int | None = None) -> int:
    """A token's FLOPs through the query, key, value and output projections."""
    return 2 * model.d_model * model.d_head * 2 * (model.n_heads + (kv_heads or model.n_heads))


def _feed_forward(model: TransformerConfig) -> int:
    """A token's FLOPs through one dense feed-forward, or one expert."""
    return 2 * (3 if model.gated else 2) * model.d_model * model.d_ff


def _feed_forwards(model: TransformerConfig, layers: int) -> float:
    """A token's FLOPs through the feed-forwards of a stack, its routers and chosen experts included."""
    one, mixture = _feed_forward(model), model.mixture
    if mixture is None:
        return layers * one
    mixed = layers // mixture.every
    return (layers - mixed) * one + mixed * (mixture.top_k * one + 2 * model.d_model * mixture.experts)


def _decoder(model: DecoderConfig, length: int, convention: AttentionConvention) -> ForwardFlops:
    seen = 0.0
    for kind in model.layer_pattern:
        seen += _keys_seen(length, model.band_width if kind == "banded" else None, convention)
    seen *= model.n_layers / len(model.layer_pattern)
    linear = model.n_layers * _projections(model, model.n_kv_heads) + _feed_forwards(model, model.n_layers)
    return ForwardFlops(
        linear=length * linear,
        pairs=length * 4 * model.n_heads * model.d_head * seen,
        head=length * 2 * model.d_model * model.vocab_size,
    )


def _encoder(model: EncoderConfig, length: int) -> ForwardFlops:
    d, width = model.d_model, model.embedding_size or model.d_model
    layer = _projections(model) + _feed_forward(model)
    head = 0.0
    if width != d:
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
    encoder = source * (n * _projections(model) + _feed_forwards(model, n))
    decoder = target * (m * _projections(model) + _feed_forwards(model, m))
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


def tokens_a_sequence(model: ModelConfig, length: int, target_length: int | None = None) -> int:
    """Tokens that a sequence counts as: both sides of an encoder-decoder."""
    return length + (target_length or length) if isinstance(model, TwoSidedConfig) else length


def forward_flops_per_token(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> float:
    """FLOPs of a forward pass a token of a sequence of `length`."""
    sequence = forward_flops(model, length, convention, target_length).total
    return sequence / tokens_a_sequence(model, length, target_length)


def train_flops_per_token(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> float:
    """Model FLOPs of forward and backward a token: the backward pass does each matmul twice."""
    return 3 * forward_flops_per_token(model, length, convention, target_length)


def _pairs_of_blocks(length: int, band: int | None) -> tuple[int, int]:
    """(query, key) pairs that the blocks of attention form, forward and backward: diagonal blocks whole."""
    forward = backward = 0
    for start, stop in attention_blocks(length):
        forward += (stop - start) * (stop - (0 if band is None else max(0, start - band + 1)))
        backward += (stop - start) * ((length if band is None else min(length, stop + band - 1)) - start)
    return forward, backward


def hardware_flops(model: ModelConfig, length: int, rows: int = 1, target_length: int | None = None) -> float:
    """FLOPs that the train step executes for one of `rows` sequences, forward, backward and recomputed.

    For decoders, recurrent and feed-forward models it equals a count over the step's jaxpr. Families whose
    step is not here yet are counted as model FLOPs with whole attention, and one more forward pass of the
    layers where they are rematerialised.
    """
    if isinstance(model, DecoderConfig):
        return _decoder_hardware(model, length, rows)
    model = network(model)
    flops = forward_flops(model, length, "full", target_length)
    if isinstance(model, BaselineConfig):
        scored = (target_length or length) if isinstance(model, TwoSidedConfig) else length
        padded = _padded(rows, scored, model.vocab_size)
        return 3 * (flops.linear + flops.pairs) + 6 * padded * head_size(model)
    remat = model.remat
    again = {"none": 0.0, "dots": flops.pairs, "full": flops.linear + flops.pairs}[remat]
    return 3 * flops.total + again


def _padded(rows: int, length: int, vocab_size: int) -> int:
    """Positions whose logits the loss forms: whole chunks."""
    chunk = logits_chunk(rows, length, vocab_size)
    return chunk * -(-length // chunk)


def _decoder_hardware(model: DecoderConfig, length: int, rows: int) -> float:
    heads = model.n_heads * model.d_head
    total = 0.0
    for kind in model.layer_pattern:
        forward, backward = _pairs_of_blocks(length, model.band_width if kind == "banded" else None)
        if model.dropout > 0:  # dropout attends without blocks, differentiated as it stands
            pairs_forward, pairs_backward = 4.0 * heads * length**2, 8.0 * heads * length**2
        else:  # forward: scores and values; backward: scores again, and four products, and one dot a row
            pairs_forward = 4.0 * heads * forward
            pairs_backward = 10.0 * heads * backward + 2.0 * heads * length
        projections = length * _projections(model, model.n_kv_heads)
        layer = 3 * (projections + length * _feed_forward(model)) + pairs_forward + pairs_backward
        if model.remat != "none":
            layer += pairs_forward
        if model.remat == "full":
            # Of a pre-norm layer the last product is not needed again: nothing but the residual reads it.
            down = length * 2 * model.d_model * model.d_ff
            layer += projections + length * _feed_forward(model) - (down if model.norm == "pre" else 0)
        total += layer
    if model.mixture is not None:
        extra = _feed_forwards(model, model.n_layers) - model.n_layers * _feed_forward(model)
        total += 3 * length * extra * len(model.layer_pattern) / model.n_layers
    padded = _padded(rows, length, model.vocab_size)
    return model.n_layers / len(model.layer_pattern) * total + 6 * padded * model.d_model * model.vocab_size
