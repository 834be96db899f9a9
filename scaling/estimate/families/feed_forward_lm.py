"""The neural probabilistic language model (Bengio et al. 2003, JMLR 3:1137-1155)."""

from collections.abc import Iterator

from scaling.config.baselines import FeedForwardLMConfig
from scaling.estimate.families.base import (
    AttentionConvention,
    Family,
    ForwardFlops,
    LayerActivations,
    LayerGroup,
    Tensor,
)
from scaling.estimate.layout import BYTES, Layout


class FeedForwardLMFamily(Family[FeedForwardLMConfig]):
    """Hidden layers over the embeddings of a window of tokens."""

    @property
    def head_width(self) -> int:
        """The last hidden layer, and the window too with direct connections."""
        return self.config.d_model + (self.config.d_window if self.config.direct else 0)

    def tensors(self) -> Iterator[Tensor]:
        model, d, deeper = self.config, self.config.d_model, self.config.n_layers - 1
        yield self.token_embedding(model.d_embedding)
        yield Tensor("feed_forward", "window", (model.d_window, d), ("embed", "mlp"))
        yield Tensor("feed_forward", "window_bias", (d,), ("mlp",))
        if deeper:
            yield Tensor("feed_forward", "hidden.kernel", (deeper, d, d), ("layers", "embed", "mlp"))
            yield Tensor("feed_forward", "hidden.bias", (deeper, d), ("layers", "mlp"))
        yield Tensor("head_bias", "head_bias", (model.vocab_size,), ("vocab",))
        yield from self.untied_head()

    def forward_flops(self, source: int, target: int, convention: AttentionConvention) -> ForwardFlops:
        d = self.config.d_model
        layers = 2 * d * (self.config.d_window + (self.config.n_layers - 1) * d)
        return ForwardFlops(source * layers, 0.0, self.head_flops(source, target))

    def activations(self, layout: Layout, platform: str) -> list[LayerGroup]:
        """What a hidden layer multiplies with, on average over the layers, and its result."""
        width, d, n = BYTES[self.config.compute_dtype], self.config.d_model, self.config.n_layers
        into = (self.config.d_window + (n - 1) * d) / n
        kept = LayerActivations(
            residual=width * into,
            matmul_outputs=width * d,
            inputs=width * d,
            attention=0.0,
            gradients=width * (into + d),
        )
        return [LayerGroup(n, "source", kept)]
