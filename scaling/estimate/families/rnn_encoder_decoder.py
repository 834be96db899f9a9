"""The recurrent encoder-decoder with additive attention (Bahdanau et al. 2014, arXiv:1409.0473)."""

from collections.abc import Iterator

from scaling.config.baselines import RNNEncoderDecoderConfig
from scaling.estimate.families.base import (
    AttentionConvention,
    Family,
    ForwardFlops,
    LayerActivations,
    LayerGroup,
    Tensor,
)
from scaling.estimate.layout import BYTES, Layout


def _gru(component: str, name: str, into: int, width: int) -> Iterator[Tensor]:
    """One gated recurrent unit: its two gates and its candidate side by side."""
    yield Tensor(component, f"{name}.input", (into, 3 * width), ("embed", "mlp"))
    yield Tensor(component, f"{name}.state", (width, 3 * width), ("embed", "mlp"))
    yield Tensor(component, f"{name}.bias", (3 * width,), ("mlp",))


class RNNEncoderDecoderFamily(Family[RNNEncoderDecoderConfig]):
    """A bidirectional encoder and an attending decoder, one layer each."""

    @property
    def head_width(self) -> int:
        return self.config.d_readout

    def tensors(self) -> Iterator[Tensor]:
        model = self.config
        d, e, a, readout = model.d_model, model.d_embedding, model.d_attention, model.d_readout
        for name in ("token",) if model.share_embeddings else ("source", "target"):
            yield self.token_embedding(e, f"{name}_embedding")
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
        yield from self.untied_head()

    def forward_flops(self, source: int, target: int, convention: AttentionConvention) -> ForwardFlops:
        d, e, a = self.config.d_model, self.config.d_embedding, self.config.d_attention
        unit = e * 3 * d + d * 3 * d
        encoder = source * (2 * unit + 2 * d * a)  # the keys of attention too
        decoder = target * (unit + d * a + 2 * d * 3 * d + (3 * d + e) * 2 * self.config.d_readout)
        return ForwardFlops(
            linear=2 * (encoder + decoder + d * d),  # one projection per sequence: the decoder's first state
            pairs=2 * source * target * (a + 2 * d),
            head=self.head_flops(source, target),
        )

    def activations(self, layout: Layout, platform: str) -> list[LayerGroup]:
        """Encoder and decoder, at equal lengths of source and target.

        A unit keeps its gates, candidate and states, in float32 where automatic differentiation does: about
        eight widths per step. The decoder keeps one row of attention per position, as long as the source
        (`max_length` here).
        """
        model, width = self.config, BYTES[self.config.compute_dtype]
        d, e, a, readout = model.d_model, model.d_embedding, model.d_attention, model.d_readout
        unit = 8 * 4 * d
        source = LayerActivations(
            residual=width * e,
            matmul_outputs=width * (6 * d + a),
            inputs=2 * unit + width * (2 * d + a),
            attention=0.0,
            gradients=width * (6 * d + e) + 4 * (2 * d + a),
        )
        target = LayerActivations(
            residual=width * e,
            matmul_outputs=width * (3 * d + a + 2 * readout),
            inputs=unit + width * (5 * d + a + e + 2 * readout),
            attention=3 * 4 * model.max_length,
            gradients=width * (6 * d + a + e + 2 * readout),
        )
        return [LayerGroup(1, "source", source), LayerGroup(1, "target", target)]
