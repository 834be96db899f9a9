"""FLOPs that the train step executes: rematerialisation, the blocks of attention, the recomputed scores of
its backward pass and the empty slots of experts included (Korthikanti et al. 2022, arXiv:2205.05198,
section 6).

For a family with a module they equal a count over the step's jaxpr (tests/estimate/test_flops.py).
"""

import math

from scaling.config.model import (
    BaselineConfig,
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    ModelConfig,
    TransformerConfig,
    TwoSidedConfig,
    network,
)
from scaling.config.tiling import attention_blocks, logits_chunk
from scaling.estimate.flops import feed_forward_flops, forward_flops, projection_flops
from scaling.estimate.parameters import head_width


def hardware_flops(
    model: ModelConfig,
    length: int,
    rows: int = 1,
    target_length: int | None = None,
    context: int = 1,
) -> float:
    """FLOPs that the train step executes for one of `rows` sequences, forward, backward and recomputed.

    `target_length` is an encoder-decoder's; where it is not given, both sides are as long. Where `context`
    devices share a sequence, all are counted as the last one, which sees all keys: the others wait for it.
    """
    model = network(model)
    match model:
        case DecoderConfig():
            return _decoder(model, length, rows, context)
        case EncoderConfig():
            return _encoder(model, length, rows)
        case EncoderDecoderConfig():
            return _encoder_decoder(model, length, target_length or length, rows, context)
        case BaselineConfig():
            flops = forward_flops(model, length, target_length=target_length)
            scored = (target_length or length) if isinstance(model, TwoSidedConfig) else length
            return 3 * (flops.linear + flops.pairs) + _head(scored, rows, head_width(model), model.vocab_size)


def _pairs(
    model: TransformerConfig,
    queries: int,
    keys: int,
    *,
    causal: bool,
    band: int | None = None,
    context: int = 1,
) -> float:
    """Scores and sums over values of one attention of a row: forward, backward and recomputed."""
    heads = model.n_heads * model.d_head
    if model.dropout > 0:  # dropout attends without blocks, differentiated as it stands
        forward, backward = 4.0 * heads * queries * keys, 8.0 * heads * queries * keys
    else:  # forward: scores and values; backward: scores again, and four products, and one dot a row
        seen = seeing = queries * keys
        if causal and context > 1 and queries % context == 0:
            piece = queries // context  # that of the last device: it sees every piece that a band reaches
            reached = context if band is None else min(context, 1 + -(-(band - 1) // piece))
            seen = seeing = queries * piece * reached
        elif causal:
            seen, seeing = _pairs_of_blocks(queries, band)
        forward, backward = 4.0 * heads * seen, 10.0 * heads * seeing + 2.0 * heads * queries
    return forward + backward + (0 if model.remat == "none" else forward)


def _pairs_of_blocks(length: int, band: int | None) -> tuple[int, int]:
    """(query, key) pairs that the blocks of attention form, forward and backward: diagonal blocks whole."""
    forward = backward = 0
    for start, stop in attention_blocks(length):
        forward += (stop - start) * (stop - (0 if band is None else max(0, start - band + 1)))
        backward += (stop - start) * ((length if band is None else min(length, stop + band - 1)) - start)
    return forward, backward


def _maps(model: TransformerConfig, forward: float) -> float:
    """Linear maps of layers: forward, backward twice, and again where all is recomputed."""
    return (4 if model.remat == "full" else 3) * forward


def feed_forwards(model: TransformerConfig, layers: int, length: int) -> float:
    """FLOPs that a row's feed-forwards in a stack execute: forward, backward and recomputed.

    An expert multiplies all of its slots, filled or not. The last product of a feed-forward is not needed
    again in a pre-norm layer: nothing but the residual reads it, and an expert's gate stands before it.
    """

    def executed(tokens: int, router: int) -> float:
        last = tokens * 2 * model.d_model * model.d_ff if model.norm == "pre" else 0
        forward = tokens * feed_forward_flops(model) + router
        return _maps(model, forward) - (last if model.remat == "full" else 0)

    dense, mixture = executed(length, 0), model.mixture
    if mixture is None:
        return layers * dense
    slots = mixture.slots(length)
    mixed = layers // mixture.every
    router = length * 2 * model.d_model * mixture.experts
    return (layers - mixed) * dense + mixed * executed(slots, router)


def _head(positions: int, rows: int, width: int, vocabulary: int) -> float:
    """The three products of a row's logits, whole chunks of them."""
    chunk = logits_chunk(rows, positions, vocabulary)
    return 6 * chunk * -(-positions // chunk) * width * vocabulary


def _decoder(model: DecoderConfig, length: int, rows: int, context: int) -> float:
    total = 0.0
    for kind in model.layer_pattern:
        band = model.band_width if kind == "banded" else None
        total += _pairs(model, length, length, causal=True, band=band, context=context)
    total *= model.n_layers / len(model.layer_pattern)
    total += model.n_layers * _maps(model, length * projection_flops(model, model.n_kv_heads))
    total += feed_forwards(model, model.n_layers, length)
    return total + _head(length, rows, model.d_model, model.vocab_size)


def _encoder(model: EncoderConfig, length: int, rows: int) -> float:
    d, width, n = model.d_model, model.embedding_size or model.d_model, model.n_layers
    total = n * _pairs(model, length, length, causal=False)
    total += n * _maps(model, length * projection_flops(model)) + feed_forwards(model, n, length)
    if model.projects_embedding:
        total += 3 * length * 2 * width * d
    if model.pooler:
        total += 3 * 2 * d * d  # of the first position alone
    if model.sentence_head:
        total += 3 * 2 * d * 2
    predicted = math.ceil(model.head_positions * length)
    if model.mlm_head:
        total += 3 * predicted * 2 * d * width
    return total + _head(predicted, rows, width, model.vocab_size)


def _encoder_decoder(model: EncoderDecoderConfig, source: int, target: int, rows: int, context: int) -> float:
    n, m = model.n_layers, model.decoder_layers
    projections = projection_flops(model)
    total = n * _pairs(model, source, source, causal=False) + n * _maps(model, source * projections)
    total += m * _pairs(model, target, target, causal=True, context=context)
    total += m * _maps(model, target * projections)
    # Cross-attention: queries and output of each target position, keys and values of each source position.
    total += m * _pairs(model, target, source, causal=False)
    total += m * _maps(model, (target + source) * projections / 2)
    total += feed_forwards(model, n, source) + feed_forwards(model, m, target)
    return total + _head(target, rows, model.d_model, model.vocab_size)
