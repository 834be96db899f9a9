"""What the forward pass keeps for the backward pass, and what one layer holds while it is computed.

A layer is a list of the arrays that `scaling.models` gives its backward pass; the rematerialisation policy
says which of them are kept and which are computed again. Elements are counted a token, on one device.
"""

import dataclasses

from scaling.config.model import (
    DecoderConfig,
    EncoderDecoderConfig,
    LSTMConfig,
    ModelConfig,
    TransformerConfig,
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
) -> LayerArrays:
    """The arrays of one Transformer layer, split over `tensor` ways.

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
    # A TPU kernel reads heads one by one, each padded to whole lanes.
    head = -(-model.d_head // _LANES) * _LANES if platform == "tpu" else model.d_head
    times = 2 if cross else 1
    norms = times + 1
    projected = times * (heads + 2 * keys) * model.d_head
    return LayerArrays(
        carried=width * d,
        products=width * (projected + times * d + inward * ff) + router,
        inputs=width * ((2 * norms - 1 + taken) * d + times * heads * model.d_head + (inward + 1) * ff)
        + 2 * router,
        attention=times * (width * (2 * heads + 2 * keys) * head + 4 * heads),
        cotangents=width * ((2 + taken) * d + projected + (inward + 1) * ff) + router,
    )


def mixtures(model: ModelConfig, layout: Layout) -> list[tuple[int, float, str]]:
    """(layers, slots a token, side) of the layers that have a mixture; sides as in `stacks`."""
    mixture = None if isinstance(model, LSTMConfig) else model.mixture
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
    """(layers, arrays, side) of each kind of layer; sides are `source` and `target`."""
    mixed = {side: (layers, slots) for layers, slots, side in mixtures(model, layout)}

    def of(
        model: TransformerConfig, layers: int, side: str, cross: bool = False, kv_heads: int | None = None
    ) -> list[tuple[int, LayerArrays, str]]:
        with_experts, slots = mixed.get(side, (0, 0.0))
        kinds = ((layers - with_experts, None), (with_experts, slots))
        tensor = layout.tensor
        return [
            (n, layer_arrays(model, tensor, platform, cross=cross, kv_heads=kv_heads, slots=slots), side)
            for n, slots in kinds
            if n
        ]

    match model:
        case LSTMConfig():
            width = BYTES[model.compute_dtype] * model.d_model
            # Input, four gates, cell and hidden state of every step.
            arrays = LayerArrays(width, 4 * width, 7 * width, 0.0, 4 * width)
            return [(model.n_layers, arrays, "source")]
        case EncoderDecoderConfig():
            target = of(model, model.decoder_layers, "target", cross=True)
            return of(model, model.n_layers, "source") + target
        case DecoderConfig():
            return of(model, model.n_layers, "source", kv_heads=model.n_kv_heads)
        case _:
            return of(model, model.n_layers, "source")
