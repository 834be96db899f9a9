"""The stacked LSTM language model (Zaremba et al. 2014, arXiv:1409.2329)."""

from collections.abc import Iterator

from scaling.config.baselines import LSTMConfig
from scaling.estimate.families.base import (
    AttentionConvention,
    Family,
    ForwardFlops,
    LayerActivations,
    LayerGroup,
    Tensor,
)
from scaling.estimate.layout import BYTES, Layout


class LSTMFamily(Family[LSTMConfig]):
    """Two matrices per layer, from input and state to the four gates."""

    @property
    def head_width(self) -> int:
        return self.config.d_model

    def tensors(self) -> Iterator[Tensor]:
        model, n, d = self.config, self.config.n_layers, self.config.d_model
        yield self.token_embedding(d)
        for name in ("input", "state"):  # the four gates side by side
            yield Tensor("lstm", f"layers.{name}", (n, d, 4 * d), ("layers", "embed", "mlp"))
        yield Tensor("lstm", "layers.bias", (n, 4 * d), ("layers", "mlp"))
        yield Tensor("head_bias", "head_bias", (model.vocab_size,), ("vocab",))
        yield from self.untied_head()

    def forward_flops(self, source: int, target: int, convention: AttentionConvention) -> ForwardFlops:
        layers = self.config.n_layers * 2 * 8 * self.config.d_model**2
        return ForwardFlops(source * layers, 0.0, self.head_flops(source, target))

    def activations(self, layout: Layout, platform: str) -> list[LayerGroup]:
        """The input, the four gates in the compute type, and the cell in float32.

        A rough count of what automatic differentiation keeps. Every device runs the complete recurrence of
        its rows, so `tensor` splits nothing.
        """
        width, d = BYTES[self.config.compute_dtype], self.config.d_model
        gates = 4 * width * d
        kept = LayerActivations(
            residual=width * d, matmul_outputs=gates, inputs=gates + 4 * d, attention=0.0, gradients=2 * gates
        )
        return [LayerGroup(self.config.n_layers, "source", kept)]
