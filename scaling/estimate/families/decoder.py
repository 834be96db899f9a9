"""The decoder-only Transformer: GPT-1 to GPT-3, Chinchilla, LLaMA."""

from collections.abc import Iterator

from scaling.config.model import DecoderConfig
from scaling.estimate.families.base import Tensor
from scaling.estimate.families.transformer import AttentionLayers, LayerStack, TransformerFamily


class DecoderFamily(TransformerFamily[DecoderConfig]):
    """One stack with causal attention, dense or banded, and an output head at every position."""

    @property
    def kv_heads(self) -> int:
        return self.config.n_kv_heads or self.config.n_heads

    @property
    def stacks(self) -> list[LayerStack]:
        return [LayerStack(self.config.n_layers, "source")]

    def attentions(self, source: int, target: int) -> list[AttentionLayers]:
        model = self.config
        layers = model.n_layers // len(model.layer_pattern)
        bands = [model.band_width if kind == "banded" else None for kind in model.layer_pattern]
        return [AttentionLayers(layers, source, source, causal=True, band=band) for band in bands]

    def tensors(self) -> Iterator[Tensor]:
        model, d = self.config, self.config.d_model
        yield self.token_embedding(d)
        if model.positions == "learned":
            shape = (model.max_length, d)
            yield Tensor("position_embedding", "position_embedding", shape, ("position", "embed"))
        yield from self.layer_tensors(model.n_layers)
        yield from self.final_norm()
        yield from self.untied_head()
