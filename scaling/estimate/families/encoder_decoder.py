"""The encoder-decoder Transformer: Vaswani et al. 2017, T5, Switch."""

from collections.abc import Iterator

from scaling.config.model import EncoderDecoderConfig
from scaling.estimate.families.base import Tensor
from scaling.estimate.families.transformer import AttentionLayers, LayerStack, TransformerFamily, prefixed


class EncoderDecoderFamily(TransformerFamily[EncoderDecoderConfig]):
    """An encoder over the source and a decoder over the target that attends to both."""

    @property
    def biased(self) -> bool:
        return self.config.positions == "relative"

    @property
    def stacks(self) -> list[LayerStack]:
        return [
            LayerStack(self.config.n_layers, "source"),
            LayerStack(self.config.decoder_layers, "target", cross=True),
        ]

    def attentions(self, source: int, target: int) -> list[AttentionLayers]:
        encoder, decoder = self.config.n_layers, self.config.decoder_layers
        return [
            AttentionLayers(encoder, source, source),
            AttentionLayers(decoder, target, target, causal=True),
            AttentionLayers(decoder, target, source),
        ]

    def tensors(self) -> Iterator[Tensor]:
        model = self.config

        def side(name: str, stack: LayerStack) -> Iterator[Tensor]:
            yield from self.layer_tensors(stack.layers, f"{name}_attention", stack.cross)
            if model.positions == "relative":
                shape = (model.relative_buckets, model.n_heads)
                yield Tensor("relative_bias", "relative_bias", shape, ("position", "heads"))
            yield from self.final_norm()

        yield self.token_embedding(model.d_model)
        for name, stack in zip(("encoder", "decoder"), self.stacks, strict=True):
            yield from prefixed(name, side(name, stack))
        yield from self.untied_head()
