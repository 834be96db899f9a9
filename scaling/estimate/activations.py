"""What the forward pass keeps for the backward pass, and what one layer holds while it is computed.

A layer is a list of the arrays that `scaling.models` gives its backward pass; the rematerialisation policy
says which of them are kept and which are computed again. Elements are counted a token, on one device.
"""

import dataclasses

from scaling.config.model import (
    DecoderConfig,
    EncoderDecoderConfig,
    FeedForwardLMConfig,
    LSTMConfig,
    ModelConfig,
    NetworkConfig,
    RNNEncoderDecoderConfig,
    TransformerConfig,
    network,
)
from scaling.estimate.layout import Layout
from scaling.estimate.sharded import BYTES

_LANES = 128


@dataclasses.dataclass(frozen=True)
class LayerArrays:
    """Bytes a token on one device, of one layer."""

    carried: float  # the residual stream that enters the layer: kept under every policy
    products: float  # results of linear maps: kept by `dots`
    inputs: float  # inputs of norms, linear maps and activations: kept by `none`
    attention: float  # queries, keys, values, output and log-sums of the attention kernel: kept by `none`
    cotangents: float  # what the backward pass of the layer holds of gradients of its own arrays

    def kept(self, remat: str) -> float:
        """Bytes a token that outlive the layer's forward pass."""
        if remat == "full":
            return self.carried
        if remat == "dots":
            return self.carried + self.products
        return self.carried + self.inputs + self.attention

    @property
    def working(self) -> float:
        """Bytes a token that are there while the layer's backward pass runs."""
        return self.inputs + self.attention + self.cotangents


def layer_arrays(
    model: TransformerConfig,
    tensor: int,
    platform: str,
    *,
    cross: bool = False,
    kv_heads: int | None = None,
    slots: float | None = None,
    keys_seen: int = 0,
) -> LayerArrays:
    """The arrays of one Transformer layer, split over `tensor` ways.

    With dropout the probabilities of `keys_seen` keys lie in memory for each query: in float32, which of them
    are dropped, and what is left in the compute type; and, not by TPU's compiler, their gradients in float32.

    With `cross` the layer has a second attention, to another sequence; what that sequence's keys and values
    take is counted to this layer's tokens, as if both were as long. With so many `slots` a token the
    feed-forward is a mixture: it keeps what its experts take, not what they give, and the router's logits and
    probabilities in float32.
    """
    width = BYTES[model.compute_dtype]
    d, inward = model.d_model, 2 if model.gated else 1
    heads, keys = model.n_heads / tensor, (kv_heads or model.n_heads) / tensor
    ff = model.d_ff / tensor
    router = taken = 0.0
    if slots is not None and model.mixture is not None:
        ff, taken, router = slots * ff, slots, 4.0 * model.mixture.experts
    # A TPU kernel reads heads one by one, each padded to whole lanes; it takes no relative biases.
    kernel = platform == "tpu" and getattr(model, "positions", None) != "relative"
    head = -(-model.d_head // _LANES) * _LANES if kernel else model.d_head
    pairs = heads * keys_seen if model.dropout > 0 else 0.0
    times = 2 if cross else 1
    norms = times + 1
    projected = times * (heads + 2 * keys) * model.d_head
    return LayerArrays(
        carried=width * d,
        products=width * (projected + times * d + inward * ff) + router,
        inputs=width * ((2 * norms - 1 + taken) * d + times * heads * model.d_head + (inward + 1) * ff)
        + 2 * router,
        attention=times * (width * (2 * heads + 2 * keys) * head + 4 * heads) + (4 + 1 + width) * pairs,
        cotangents=width * ((2 + taken) * d + projected + (inward + 1) * ff)
        + router
        + (0 if platform == "tpu" else 4) * pairs,
    )


def _lstm_arrays(model: LSTMConfig) -> LayerArrays:
    """Of one layer: what enters, the four gates in the compute type, the cell in float32.

    Every device runs the recurrence of its rows whole, so nothing is split over `tensor`.
    """
    width, d = BYTES[model.compute_dtype], model.d_model
    gates = 4 * width * d
    return LayerArrays(
        carried=width * d, products=gates, inputs=gates + 4 * d, attention=0.0, cotangents=2 * gates
    )


def _feed_forward_lm_arrays(model: FeedForwardLMConfig) -> LayerArrays:
    """Of one of the hidden layers: what it multiplies with, on average over them, and what it gives."""
    width, d = BYTES[model.compute_dtype], model.d_model
    into = (model.d_window + (model.n_layers - 1) * d) / model.n_layers
    return LayerArrays(
        carried=width * into,
        products=width * d,
        inputs=width * d,
        attention=0.0,
        cotangents=width * (into + d),
    )


def _rnn_arrays(model: RNNEncoderDecoderConfig) -> tuple[LayerArrays, LayerArrays]:
    """Of the encoder and of the decoder, at equal lengths of source and target.

    A unit keeps its gates, candidate and states, in float32 where autodiff does, about eight widths a step.
    The decoder keeps one row of attention a position, which is as long as the source: `max_length` here.
    """
    width, d, e = BYTES[model.compute_dtype], model.d_model, model.d_embedding
    unit = 8 * 4 * d
    source = LayerArrays(
        carried=width * e,
        products=width * (6 * d + model.d_attention),
        inputs=2 * unit + width * (2 * d + model.d_attention),
        attention=0.0,
        cotangents=width * (6 * d + e) + 4 * (2 * d + model.d_attention),
    )
    target = LayerArrays(
        carried=width * e,
        products=width * (3 * d + model.d_attention + 2 * model.d_readout),
        inputs=unit + width * (5 * d + model.d_attention + e + 2 * model.d_readout),
        attention=3 * 4 * model.max_length,
        cotangents=width * (6 * d + model.d_attention + e + 2 * model.d_readout),
    )
    return source, target


def mixtures(model: NetworkConfig, layout: Layout) -> list[tuple[int, float, str]]:
    """(layers, slots a token, side) of the layers that have a mixture; sides as in `stacks`."""
    mixture = getattr(model, "mixture", None)
    if mixture is None:
        return []
    depths = {"source": model.n_layers}
    if isinstance(model, EncoderDecoderConfig):
        depths["target"] = model.decoder_layers
    lengths = layout.length_by_side
    return [
        (layers // mixture.every, mixture.slots(lengths[side]) / lengths[side], side)
        for side, layers in depths.items()
    ]


def stacks(model: ModelConfig, layout: Layout, platform: str) -> list[tuple[int, LayerArrays, str]]:
    """(layers, arrays, side) of each kind of layer; sides are `source` and `target`.

    The arrays of recurrent and feed-forward models are rough: nobody chose what autodiff keeps there.

    Raises:
        BadInputError: an n-gram keeps nothing.
    """
    model = network(model)
    mixed = {side: (layers, slots) for layers, slots, side in mixtures(model, layout)}

    def of(
        model: TransformerConfig, layers: int, side: str, cross: bool = False, kv_heads: int | None = None
    ) -> list[tuple[int, LayerArrays, str]]:
        with_experts, slots = mixed.get(side, (0, 0.0))
        kinds = ((layers - with_experts, None), (with_experts, slots))
        lengths = layout.length_by_side
        keys_seen = lengths[side] + (lengths["source"] if cross else 0)

        def arrays(slots: float | None) -> LayerArrays:
            return layer_arrays(
                model,
                layout.tensor,
                platform,
                cross=cross,
                kv_heads=kv_heads,
                slots=slots,
                keys_seen=keys_seen,
            )

        return [(n, arrays(slots), side) for n, slots in kinds if n]

    match model:
        case LSTMConfig():
            return [(model.n_layers, _lstm_arrays(model), "source")]
        case FeedForwardLMConfig():
            return [(model.n_layers, _feed_forward_lm_arrays(model), "source")]
        case RNNEncoderDecoderConfig():
            sides = zip(_rnn_arrays(model), ("source", "target"), strict=True)
            return [(1, arrays, side) for arrays, side in sides]
        case EncoderDecoderConfig():
            target = of(model, model.decoder_layers, "target", cross=True)
            return of(model, model.n_layers, "source") + target
        case DecoderConfig():
            return of(model, model.n_layers, "source", kv_heads=model.n_kv_heads)
        case _:
            return of(model, model.n_layers, "source")
