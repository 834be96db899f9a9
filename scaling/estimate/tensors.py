"""Every parameter tensor of a model, from its config alone: shape, logical axes, and what it belongs to.

One list serves the counts, the sharded bytes and the optimizer's state; for a family whose module exists it
equals the module's own tree, tensor by tensor.
"""

import dataclasses
import math
from collections.abc import Iterator

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
    network,
)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One parameter tensor. Stacked layers lead with the axis `layers`.

    `used` is the share of it that one token multiplies with: less than 1 for experts.
    """

    component: str
    name: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    used: float = 1.0

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it multiplies the width: weights and embeddings, not biases or norm scales."""
        return len(self.axes) - ("layers" in self.axes) >= 2 and "embed" in self.axes

    @property
    def is_expert(self) -> bool:
        """Whether it is split by experts: they and their router."""
        return "expert" in self.axes


def _stacked(layers: int | None, tensors: Iterator[Tensor]) -> Iterator[Tensor]:
    for tensor in tensors:
        if layers is None:
            yield tensor
        else:
            yield dataclasses.replace(tensor, shape=(layers, *tensor.shape), axes=("layers", *tensor.axes))


def _norm(model: TransformerConfig, name: str, width: int | None = None) -> Iterator[Tensor]:
    width = model.d_model if width is None else width
    yield Tensor("norms", f"{name}.scale", (width,), ("norm",))
    if model.bias and model.norm_kind == "layer":
        yield Tensor("norms", f"{name}.bias", (width,), ("norm",))


def _attention(
    model: TransformerConfig,
    component: str = "attention",
    kv_heads: int | None = None,
    name: str = "attention",
) -> Iterator[Tensor]:
    d, heads, head = model.d_model, model.n_heads, model.d_head
    keys = kv_heads or heads
    for part, count in (("query", heads), ("key", keys), ("value", keys)):
        yield Tensor(component, f"{name}.{part}", (d, count, head), ("embed", "heads", "head"))
    yield Tensor(component, f"{name}.out", (heads, head, d), ("heads", "head", "embed"))
    if model.bias:
        for part, count in (("query", heads), ("key", keys), ("value", keys)):
            yield Tensor(component, f"{name}.{part}_bias", (count, head), ("heads", "head"))
        yield Tensor(component, f"{name}.out_bias", (d,), ("norm",))


def _feed_forward(model: TransformerConfig) -> Iterator[Tensor]:
    d, ff = model.d_model, model.d_ff
    inward = ("gate", "up") if model.gated else ("up",)
    for name in inward:
        yield Tensor("feed_forward", f"feed_forward.{name}", (d, ff), ("embed", "mlp"))
    yield Tensor("feed_forward", "feed_forward.down", (ff, d), ("mlp", "embed"))
    if model.bias:
        for name in inward:
            yield Tensor("feed_forward", f"feed_forward.{name}_bias", (ff,), ("mlp",))
        yield Tensor("feed_forward", "feed_forward.down_bias", (d,), ("norm",))


def _experts(model: TransformerConfig) -> Iterator[Tensor]:
    """The router and the experts that stand in place of a feed-forward."""
    mixture = model.mixture
    assert mixture is not None
    yield Tensor("router", "mixture.router", (model.d_model, mixture.experts), ("embed", "expert"))
    for tensor in _feed_forward(model):
        yield dataclasses.replace(
            tensor,
            name=tensor.name.replace("feed_forward", "mixture"),
            shape=(mixture.experts, *tensor.shape),
            axes=("expert", *tensor.axes),
            used=mixture.top_k / mixture.experts,
        )


def _feed_forwards(model: TransformerConfig, layers: int) -> Iterator[Tensor]:
    """The feed-forwards of a stack, dense ones and mixtures stacked apart."""
    if model.mixture is None:
        yield from _stacked(layers, _feed_forward(model))
        return
    mixed = layers // model.mixture.every
    if layers > mixed:
        yield from _stacked(layers - mixed, _feed_forward(model))
    yield from _stacked(mixed, _experts(model))


def _prefixed(prefix: str, tensors: Iterator[Tensor]) -> Iterator[Tensor]:
    for tensor in tensors:
        yield dataclasses.replace(tensor, name=f"{prefix}.{tensor.name}")


def _vocabulary(model: TransformerConfig | BaselineConfig, width: int) -> Iterator[Tensor]:
    yield Tensor("token_embedding", "token_embedding", (model.vocab_size, width), ("vocab", "embed"))


def _untied_head(model: TransformerConfig | BaselineConfig, width: int) -> Iterator[Tensor]:
    if not model.tie_embeddings:
        yield Tensor("head", "untied_head", (model.vocab_size, width), ("vocab", "embed"))


def _decoder(model: DecoderConfig) -> Iterator[Tensor]:
    d, n = model.d_model, model.n_layers
    yield from _vocabulary(model, d)
    if model.positions == "learned":
        yield Tensor("position_embedding", "position_embedding", (model.max_length, d), ("position", "embed"))

    def layers() -> Iterator[Tensor]:
        yield from _stacked(n, _norm(model, "attention_norm"))
        yield from _stacked(n, _attention(model, kv_heads=model.n_kv_heads))
        yield from _stacked(n, _norm(model, "feed_forward_norm"))
        yield from _feed_forwards(model, n)

    yield from _prefixed("layers", layers())
    if model.norm == "pre":
        yield from _norm(model, "final_norm")
    yield from _untied_head(model, d)


def _encoder(model: EncoderConfig) -> Iterator[Tensor]:
    d, width = model.d_model, model.embedding_size or model.d_model
    stack = None if model.share_layers else model.n_layers
    yield from _vocabulary(model, width)
    yield Tensor("position_embedding", "position_embedding", (model.max_length, width), ("position", "embed"))
    if model.token_types:
        yield Tensor("type_embedding", "type_embedding", (model.token_types, width), ("position", "embed"))
    yield from _norm(model, "embedding_norm", width)

    def linear(component: str, into: int, out: int, axis: str | None = "mlp") -> Iterator[Tensor]:
        yield Tensor(component, f"{component}.kernel", (into, out), ("embed", axis))
        if model.bias:
            yield Tensor(component, f"{component}.bias", (out,), ("norm",))

    def layers() -> Iterator[Tensor]:
        yield from _stacked(stack, _norm(model, "attention_norm"))
        yield from _stacked(stack, _attention(model))
        yield from _stacked(stack, _norm(model, "feed_forward_norm"))
        yield from _stacked(stack, _feed_forward(model))

    if model.projects_embedding:
        yield from linear("embedding_projection", width, d)
    yield from _prefixed("layers", layers())
    if model.norm == "pre":
        yield from _norm(model, "final_norm")
    if model.pooler:
        yield from linear("pooler", d, d)
    if model.sentence_head:
        yield from linear("sentence_head", d, 2, None)
    if model.mlm_head:
        yield from linear("mlm_head", d, width)
        for tensor in _norm(model, "mlm_norm", width):
            yield dataclasses.replace(tensor, component="mlm_head")
        if model.bias:
            yield Tensor("mlm_head", "vocabulary_bias", (model.vocab_size,), ("vocab",))
        yield from _untied_head(model, width)


def _encoder_decoder(model: EncoderDecoderConfig) -> Iterator[Tensor]:
    d = model.d_model
    yield from _vocabulary(model, d)

    def layers(name: str, count: int, cross: bool) -> Iterator[Tensor]:
        yield from _stacked(count, _norm(model, "attention_norm"))
        yield from _stacked(count, _attention(model, f"{name}_attention"))
        if cross:
            yield from _stacked(count, _norm(model, "cross_norm"))
            yield from _stacked(count, _attention(model, "cross_attention", name="cross_attention"))
        yield from _stacked(count, _norm(model, "feed_forward_norm"))
        yield from _feed_forwards(model, count)

    def side(name: str, count: int, cross: bool) -> Iterator[Tensor]:
        yield from _prefixed("layers", layers(name, count, cross))
        if model.positions == "relative":
            shape = (model.relative_buckets, model.n_heads)
            yield Tensor("relative_bias", "relative_bias", shape, ("position", "heads"))
        if model.norm == "pre":
            yield from _norm(model, "final_norm")

    yield from _prefixed("encoder", side("encoder", model.n_layers, cross=False))
    yield from _prefixed("decoder", side("decoder", model.decoder_layers, cross=True))
    yield from _untied_head(model, d)


def _lstm(model: LSTMConfig) -> Iterator[Tensor]:
    d = model.d_model
    yield from _vocabulary(model, d)
    for side in ("input", "state"):  # the four gates side by side
        shape = (model.n_layers, d, 4 * d)
        yield Tensor("lstm", f"layers.{side}", shape, ("layers", "embed", "mlp"))
    yield Tensor("lstm", "layers.bias", (model.n_layers, 4 * d), ("layers", "mlp"))
    yield Tensor("head_bias", "head_bias", (model.vocab_size,), ("vocab",))
    yield from _untied_head(model, d)


def _feed_forward_lm(model: FeedForwardLMConfig) -> Iterator[Tensor]:
    d = model.d_model
    yield from _vocabulary(model, model.d_embedding)
    yield Tensor("feed_forward", "window", (model.d_window, d), ("embed", "mlp"))
    yield Tensor("feed_forward", "window_bias", (d,), ("mlp",))
    if model.n_layers > 1:
        yield Tensor("feed_forward", "hidden.kernel", (model.n_layers - 1, d, d), ("layers", "embed", "mlp"))
        yield Tensor("feed_forward", "hidden.bias", (model.n_layers - 1, d), ("layers", "mlp"))
    yield Tensor("head_bias", "head_bias", (model.vocab_size,), ("vocab",))
    yield from _untied_head(model, d + (model.d_window if model.direct else 0))


def _gru(component: str, name: str, into: int, width: int) -> Iterator[Tensor]:
    yield Tensor(component, f"{name}.input", (into, 3 * width), ("embed", "mlp"))  # three parts side by side
    yield Tensor(component, f"{name}.state", (width, 3 * width), ("embed", "mlp"))
    yield Tensor(component, f"{name}.bias", (3 * width,), ("mlp",))


def _rnn_encoder_decoder(model: RNNEncoderDecoderConfig) -> Iterator[Tensor]:
    d, e, a, readout = model.d_model, model.d_embedding, model.d_attention, model.d_readout
    for name in ("token",) if model.share_embeddings else ("source", "target"):
        yield Tensor("token_embedding", f"{name}_embedding", (model.vocab_size, e), ("vocab", "embed"))
    yield from _gru("encoder", "forwards", e, d)
    yield from _gru("encoder", "backwards", e, d)
    yield Tensor("attention", "attention.query", (d, a), ("embed", "mlp"))
    yield Tensor("attention", "attention.key", (2 * d, a), ("embed", "mlp"))
    yield Tensor("attention", "attention.bias", (a,), ("mlp",))
    yield Tensor("attention", "attention.score", (a,), ("mlp",))
    yield Tensor("decoder", "start", (d, d), ("embed", "mlp"))
    yield Tensor("decoder", "start_bias", (d,), ("mlp",))
    yield from _gru("decoder", "decoder", e, d)
    yield Tensor("decoder", "context", (2 * d, 3 * d), ("embed", "mlp"))
    yield Tensor("readout", "readout", (d + e + 2 * d, 2 * readout), ("embed", "mlp"))
    yield Tensor("readout", "readout_bias", (2 * readout,), ("mlp",))
    yield Tensor("head_bias", "head_bias", (model.vocab_size,), ("vocab",))
    yield from _untied_head(model, readout)


def tensors(model: ModelConfig) -> list[Tensor]:
    """All parameter tensors of a model.

    Raises:
        BadInputError: an n-gram's numbers follow from the text it is fitted to.
    """
    model = network(model)
    match model:
        case DecoderConfig():
            return list(_decoder(model))
        case EncoderConfig():
            return list(_encoder(model))
        case EncoderDecoderConfig():
            return list(_encoder_decoder(model))
        case LSTMConfig():
            return list(_lstm(model))
        case FeedForwardLMConfig():
            return list(_feed_forward_lm(model))
        case RNNEncoderDecoderConfig():
            return list(_rnn_encoder_decoder(model))
