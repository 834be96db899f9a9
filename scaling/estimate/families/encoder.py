"""The Transformer encoder: BERT, RoBERTa, ALBERT."""

import math
from collections.abc import Iterator

from scaling.config.model import EncoderConfig
from scaling.estimate.families.base import Tensor
from scaling.estimate.families.transformer import AttentionLayers, LayerStack, TransformerFamily


class EncoderFamily(TransformerFamily[EncoderConfig]):
    """One stack that attends in both directions, a pooler, and two heads that a model may leave out."""

    @property
    def head_width(self) -> int:
        """The embedding's width, to which the masked head projects."""
        return self.config.embedding_size or self.config.d_model

    @property
    def head_size(self) -> int:
        return super().head_size if self.config.mlm_head else 0

    def head_ways(self, tensor: int) -> tuple[int, int]:
        """The masked head's projection leaves its width split; so is the head where the vocabulary is not."""
        ways, logits = super().head_ways(tensor)
        by_width = ways < tensor and self.config.mlm_head and self.head_width % tensor == 0
        return (tensor if by_width else ways), logits

    @property
    def stacks(self) -> list[LayerStack]:
        return [LayerStack(self.config.n_layers, "source")]

    def attentions(self, source: int, target: int) -> list[AttentionLayers]:
        return [AttentionLayers(self.config.n_layers, source, source)]

    def _projection_and_pooler(self, source: int) -> float:
        """Model FLOPs outside the layers and the masked head; the pooler reads the first position alone."""
        model, d = self.config, self.config.d_model
        flops = source * 2 * self.head_width * d if model.projects_embedding else 0
        return flops + (2 * d * d if model.pooler else 0) + (2 * d * 2 if model.sentence_head else 0)

    def head_flops(self, source: int, target: int) -> float:
        model, width = self.config, self.head_width
        flops = float(self._projection_and_pooler(source))
        if model.mlm_head:
            per_position = 2 * model.d_model * width + 2 * width * model.vocab_size
            flops += model.head_positions * source * per_position
        return flops

    def predicted_positions(self, source: int, target: int) -> int:
        return math.ceil(self.config.head_positions * source)

    def head_executed(self, source: int, target: int, rows: int) -> float:
        flops = 3.0 * self._projection_and_pooler(source)
        if self.config.mlm_head:
            predicted = self.predicted_positions(source, target)
            flops += 3 * predicted * 2 * self.config.d_model * self.head_width
        return flops + self.logits_executed(source, target, rows)

    def tensors(self) -> Iterator[Tensor]:
        model, d, width = self.config, self.config.d_model, self.head_width

        def table(name: str, rows: int) -> Tensor:
            return Tensor(name, name, (rows, width), ("position", "embed"))

        def linear(component: str, into: int, out: int, axis: str | None = "mlp") -> Iterator[Tensor]:
            yield Tensor(component, f"{component}.kernel", (into, out), ("embed", axis))
            if model.bias:
                yield Tensor(component, f"{component}.bias", (out,), ("norm",))

        yield self.token_embedding(width)
        yield table("position_embedding", model.max_length)
        if model.token_types:
            yield table("type_embedding", model.token_types)
        yield from self.norm("embedding_norm", width)
        if model.projects_embedding:
            yield from linear("embedding_projection", width, d)
        yield from self.layer_tensors(None if model.share_layers else model.n_layers)
        yield from self.final_norm()
        if model.pooler:
            yield from linear("pooler", d, d)
        if model.sentence_head:
            yield from linear("sentence_head", d, 2, None)
        if model.mlm_head:
            yield from linear("mlm_head", d, width)
            yield from self.norm("mlm_norm", width, component="mlm_head")
            if model.bias:
                yield Tensor("mlm_head", "vocabulary_bias", (model.vocab_size,), ("vocab",))
            yield from self.untied_head()
