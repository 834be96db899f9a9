"""What the Transformer families share: the tensors, FLOPs and activations of attention and feed-forward.

A Transformer family declares its attention layers and its stacks as data (`attentions`, `stacks`) and adds
what it has outside its layers.
"""

import abc
import dataclasses
from collections.abc import Iterable, Iterator
from typing import TypeVar

from scaling.config.mesh import attention_blocks
from scaling.config.model import TransformerConfig
from scaling.estimate.families.base import (
    AttentionConvention,
    AttentionCost,
    Family,
    ForwardFlops,
    LayerActivations,
    LayerGroup,
    Side,
    Tensor,
)
from scaling.estimate.layout import BYTES, Layout

T = TypeVar("T", bound=TransformerConfig)
_LANES = 128  # of a TPU's vector registers
# Bytes of a score that is not in a fused kernel: written and read in float32 by the product, the softmax (its
# maximum, then its exponentials) and the product with the values; backward, both gradients too.
_SCORE_FORWARD, _SCORE_BACKWARD = 16, 32


@dataclasses.dataclass(frozen=True)
class AttentionLayers:
    """Equal attention layers over one sequence of queries and one of keys."""

    layers: int
    queries: int
    keys: int
    causal: bool = False
    band: int | None = None  # positions that a query sees, its own the last

    def keys_per_query(self, convention: AttentionConvention) -> float:
        """Average number of keys: about half of causal attention's, or all under `full`."""
        if not self.causal or convention == "full":
            return float(self.keys)
        width = min(self.band or self.keys, self.keys)
        return width - width * width / (2 * self.keys)

    def executed_pairs(self, context: int) -> tuple[int, int]:
        """(query, key) pairs that the forward and the backward pass compute: diagonal blocks in full."""
        length, band = self.queries, self.band
        if not self.causal:
            return length * self.keys, length * self.keys
        if context > 1 and length % context == 0:
            piece = length // context  # the last device's: it sees every piece that the band reaches
            reached = context if band is None else min(context, 1 + -(-(band - 1) // piece))
            return length * piece * reached, length * piece * reached
        forward = backward = 0
        for start, stop in attention_blocks(length):
            forward += (stop - start) * (stop - (0 if band is None else max(0, start - band + 1)))
            backward += (stop - start) * ((length if band is None else min(length, stop + band - 1)) - start)
        return forward, backward


@dataclasses.dataclass(frozen=True)
class LayerStack:
    """The layers of one side; with `cross` each attends to the other side too."""

    layers: int
    side: Side
    cross: bool = False


class TransformerFamily(Family[T], abc.ABC):
    """A model of Transformer layers; `stacks` and `attentions` say which."""

    @property
    @abc.abstractmethod
    def stacks(self) -> list[LayerStack]:
        """The stacks of layers, source side first."""

    @abc.abstractmethod
    def attentions(self, source: int, target: int) -> list[AttentionLayers]:
        """The attention layers over sequences of these lengths."""

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.config.n_heads

    @property
    def biased(self) -> bool:
        """Whether self-attention adds biases to its scores, which the kernel of a TPU does not."""
        return False

    @property
    def head_width(self) -> int:
        return self.config.d_model

    @property
    def hidden_width(self) -> int:
        return self.config.d_model

    @property
    def kv_width(self) -> int:
        return 2 * self.kv_heads * self.config.d_head

    # Tensors

    def norm(self, name: str, width: int | None = None, component: str = "norms") -> Iterator[Tensor]:
        """A norm's scale, and its bias where it has one."""
        shape = (self.config.d_model if width is None else width,)
        yield Tensor(component, f"{name}.scale", shape, ("norm",))
        if self.config.bias and self.config.norm_kind == "layer":
            yield Tensor(component, f"{name}.bias", shape, ("norm",))

    def final_norm(self) -> Iterator[Tensor]:
        """The norm after the last layer of a pre-norm stack."""
        if self.config.norm == "pre":
            yield from self.norm("final_norm")

    def layer_tensors(
        self, layers: int | None, attention: str = "attention", cross: bool = False
    ) -> Iterator[Tensor]:
        """The tensors of a stack; `layers` None is one layer whose parameters every depth shares."""

        def own() -> Iterator[Tensor]:
            yield from self.norm("attention_norm")
            yield from self._attention(attention, "attention")
            if cross:
                yield from self.norm("cross_norm")
                yield from self._attention("cross_attention", "cross_attention")
            yield from self.norm("feed_forward_norm")

        yield from prefixed("layers", stacked(layers, own()))
        dense, mixed = (None, 0) if layers is None else self._dense_and_mixed(layers)
        if dense != 0:
            yield from prefixed("layers", stacked(dense, self._feed_forward()))
        if mixed:
            yield from prefixed("layers", stacked(mixed, self._experts()))

    def _dense_and_mixed(self, layers: int) -> tuple[int, int]:
        """Layers of a stack with a dense feed-forward, and with a mixture of experts."""
        mixed = 0 if self.config.mixture is None else layers // self.config.mixture.every
        return layers - mixed, mixed

    def _attention(self, component: str, name: str) -> Iterator[Tensor]:
        d, heads, head = self.config.d_model, self.config.n_heads, self.config.d_head
        counts = (("query", heads), ("key", self.kv_heads), ("value", self.kv_heads))
        for part, count in counts:
            yield Tensor(component, f"{name}.{part}", (d, count, head), ("embed", "heads", "head"))
        yield Tensor(component, f"{name}.out", (heads, head, d), ("heads", "head", "embed"))
        if self.config.bias or self.config.qkv_bias:
            for part, count in counts:
                yield Tensor(component, f"{name}.{part}_bias", (count, head), ("heads", "head"))
        if self.config.bias:
            yield Tensor(component, f"{name}.out_bias", (d,), ("norm",))
        if self.config.qk_norm:
            for part in ("query", "key"):
                yield from self.norm(f"{name}.{part}_norm", head)

    def _feed_forward(self) -> Iterator[Tensor]:
        d, ff = self.config.d_model, self.config.d_ff
        inward = ("gate", "up") if self.config.gated else ("up",)
        for name in inward:
            yield Tensor("feed_forward", f"feed_forward.{name}", (d, ff), ("embed", "mlp"))
        yield Tensor("feed_forward", "feed_forward.down", (ff, d), ("mlp", "embed"))
        if self.config.bias:
            for name in inward:
                yield Tensor("feed_forward", f"feed_forward.{name}_bias", (ff,), ("mlp",))
            yield Tensor("feed_forward", "feed_forward.down_bias", (d,), ("norm",))

    def _experts(self) -> Iterator[Tensor]:
        """The router and the experts that replace a feed-forward."""
        mixture = self.config.mixture
        assert mixture is not None
        shape = (self.config.d_model, mixture.experts)
        yield Tensor("router", "mixture.router", shape, ("embed", "expert"))
        for tensor in self._feed_forward():
            yield dataclasses.replace(
                tensor,
                name=tensor.name.replace("feed_forward", "mixture"),
                shape=(mixture.experts, *tensor.shape),
                axes=("expert", *tensor.axes),
                used=mixture.top_k / mixture.experts,
            )

    # FLOPs

    def forward_flops(self, source: int, target: int, convention: AttentionConvention) -> ForwardFlops:
        pairs = linear = 0.0
        for one in self.attentions(source, target):
            pairs += one.layers * one.queries * one.keys_per_query(convention)
            linear += one.layers * self._projections(one)
        lengths = {"source": source, "target": target}
        for stack in self.stacks:
            linear += lengths[stack.side] * self._feed_forwards(stack.layers)
        return ForwardFlops(
            linear=linear,
            pairs=4 * self.config.n_heads * self.config.d_head * pairs,
            head=self.head_flops(source, target),
        )

    def executed_flops(self, source: int, target: int, rows: int, context: int) -> float:
        """Korthikanti et al. 2022, arXiv:2205.05198, section 6: recomputation, blocks, empty expert slots."""
        total = sum(cost.flops for cost in self.attention_costs(source, target, context))
        for one in self.attentions(source, target):
            total += one.layers * self._matmul_passes * self._projections(one)
        lengths = {"source": source, "target": target}
        for stack in self.stacks:
            total += self._executed_feed_forwards(stack.layers, lengths[stack.side])
        return total + self.head_executed(source, target, rows)

    def attention_costs(self, source: int, target: int, context: int) -> list[AttentionCost]:
        model, costs = self.config, []
        fused = not self.biased and model.dropout == 0
        for one in self.attentions(source, target):
            seen, seeing = one.executed_pairs(context)
            recomputed = 0 if model.remat == "none" else _SCORE_FORWARD
            score_bytes = (_SCORE_FORWARD + recomputed) * seen + _SCORE_BACKWARD * seeing
            costs.append(
                AttentionCost(
                    flops=one.layers * self._executed_pairs(one, context),
                    head=model.d_head,
                    keys=min(one.band or one.keys, one.keys),
                    unfused_bytes=0.0 if fused else one.layers * model.n_heads * score_bytes,
                )
            )
        return costs

    @property
    def _matmul_passes(self) -> int:
        """Times that a layer's linear map runs: forward, backward twice, and again under remat `full`."""
        return 4 if self.config.remat == "full" else 3

    def _projections(self, attention: AttentionLayers) -> int:
        """FLOPs of query and output projections over the queries, of key and value over the keys."""
        per_head = 2 * 2 * self.config.d_model * self.config.d_head
        return per_head * (self.config.n_heads * attention.queries + self.kv_heads * attention.keys)

    def _feed_forward_flops(self) -> int:
        """FLOPs per token of one dense feed-forward, or of one expert."""
        return 2 * (3 if self.config.gated else 2) * self.config.d_model * self.config.d_ff

    def _feed_forwards(self, layers: int) -> float:
        """FLOPs per token of a stack's feed-forwards: its routers and the experts chosen."""
        one, mixture = self._feed_forward_flops(), self.config.mixture
        dense, mixed = self._dense_and_mixed(layers)
        if mixture is None:
            return dense * one
        return dense * one + mixed * (mixture.top_k * one + 2 * self.config.d_model * mixture.experts)

    def _executed_pairs(self, attention: AttentionLayers, context: int) -> float:
        """FLOPs of scores and weighted values of one layer: forward, backward and recomputed."""
        heads = self.config.n_heads * self.config.d_head
        if self.config.dropout > 0:  # attention with dropout has no blocks and no custom backward pass
            pairs = attention.queries * attention.keys
            forward, backward = 4.0 * heads * pairs, 8.0 * heads * pairs
        else:  # backward: scores again, four products, and one dot product per query
            seen, seeing = attention.executed_pairs(context)
            forward, backward = 4.0 * heads * seen, 10.0 * heads * seeing + 2.0 * heads * attention.queries
        return forward + backward + (0 if self.config.remat == "none" else forward)

    def _executed_feed_forwards(self, layers: int, length: int) -> float:
        """FLOPs of a stack's feed-forwards for one row: an expert multiplies all of its slots, filled or not.

        The last product of a feed-forward is not recomputed in a pre-norm layer: only the residual stream
        reads it, and an expert's gate is applied before it.
        """
        model = self.config

        def executed(tokens: int, router: int) -> float:
            last = tokens * 2 * model.d_model * model.d_ff if model.norm == "pre" else 0
            forward = tokens * self._feed_forward_flops() + router
            return self._matmul_passes * forward - (last if model.remat == "full" else 0)

        dense, mixed = self._dense_and_mixed(layers)
        total = dense * executed(length, 0)
        if model.mixture is not None:
            router = length * 2 * model.d_model * model.mixture.experts
            total += mixed * executed(model.mixture.slots(length), router)
        return total

    # Activations

    def activations(self, layout: Layout, platform: str) -> list[LayerGroup]:
        groups = []
        lengths, mixture = layout.length_by_side, self.config.mixture
        for stack in self.stacks:
            length = lengths[stack.side]
            kinds = [self._attention_kind(layout, platform, length, length, self.biased)]
            if stack.cross:
                kinds.append(self._attention_kind(layout, platform, length, lengths["source"], False))
            slots = None if mixture is None else mixture.slots(length) / length
            for layers, own in zip(self._dense_and_mixed(stack.layers), (None, slots), strict=True):
                if layers:
                    kept = self._layer_activations(layout.tensor, platform, kinds, own)
                    groups.append(LayerGroup(layers, stack.side, kept, own))
        return groups

    def _attention_kind(
        self, layout: Layout, platform: str, queries: int, keys: int, biased: bool
    ) -> "_AttentionKind":
        """How a device computes an attention over sequences of these lengths."""
        model = self.config
        split = layout.context if queries % layout.context == keys % layout.context == 0 else 1
        plain = model.dropout > 0
        if platform == "tpu":
            plain |= biased or (split > 1 and queries // split % _LANES > 0)
            return _AttentionKind(queries, keys, None if plain else split, 0.0)
        # CUDA's kernel takes no float32, no split sequence and no soft cap. Its compiler holds the scores of
        # plain blocks, and around a ring the scores of a piece and their gradients.
        plain |= model.compute_dtype == "float32" or queries % 2 + keys % 2 > 0
        plain |= getattr(model, "attention_soft_cap", None) is not None
        scores = 0.0
        if platform == "gpu" and (plain or split > 1):
            scores = keys if split == 1 else 2 * keys / split
        return _AttentionKind(queries, keys, None, scores)

    def _layer_activations(
        self, tensor: int, platform: str, attentions: "list[_AttentionKind]", slots: float | None
    ) -> LayerActivations:
        """The arrays of one layer, split over `tensor` devices, per position of its own sequence.

        These are the residuals that differentiation keeps (tests/estimate/test_residuals.py traces them). An
        attention keeps queries, keys, values, outputs, which the kernel of a TPU pads to complete lanes, and
        one log-sum per query. With dropout it keeps no outputs, but probabilities in float32, the mask, and
        the result in the compute type (and, except by the TPU compiler, gradients in float32); the masks of
        residual branches are kept too. A mixture layer with `slots` per token keeps the inputs of its
        experts, not their outputs, and the router's logits and probabilities in float32.
        """
        model, width = self.config, BYTES[self.config.compute_dtype]
        d, inward, dropout = model.d_model, 2 if model.gated else 1, model.dropout > 0
        heads, keys, ff = model.n_heads / tensor, self.kv_heads / tensor, model.d_ff / tensor
        router = taken = 0.0
        if slots is not None and model.mixture is not None:
            ff, taken, router = slots * ff, slots, 4.0 * model.mixture.experts
        branches = len(attentions) + 1  # with a norm and a residual each
        # Only a norm that follows a branch needs the output of the last.
        summed = len(attentions) + (0 if model.norm == "pre" else 1)
        projected = inputs = attention = gradients = dropped = 0.0
        for one in attentions:
            own, other = heads * model.d_head, 2 * keys * model.d_head * one.keys / one.queries
            projected += own + other
            inputs += own + (own + other / 2 if model.qk_norm else 0)
            pairs = heads * one.keys if dropout else 0.0
            if dropout:
                attention += width * (own + other) + 8 * heads + (4 + 1 + width) * pairs
                gradients += (0 if platform == "tpu" else 4) * pairs
                dropped += width * pairs
                continue
            held, long, wide = one.gathered or 1, 1.0, 1.0
            if one.gathered is not None:
                wide = _padded(model.d_head) / model.d_head
                long = _padded(one.queries // held) * held / one.queries
                other *= _padded(one.keys) / one.keys
            attention += width * wide * (2 * long * own + held * other) + 4 * heads
            gradients += width * wide * (held - 1) * other
            gradients += 4 * heads * one.scores
        return LayerActivations(
            residual=width * d,
            matmul_outputs=width * (projected + summed * d + inward * ff) + router,
            inputs=width * ((2 * branches - 1 + taken) * d + inputs + 2 * inward * ff)
            + (branches * d if dropout else 0)
            + 2 * router,
            attention=attention,
            gradients=width * ((2 + taken) * d + projected + (inward + 1) * ff) + router + gradients,
            dropped=dropped,
        )


@dataclasses.dataclass(frozen=True)
class _AttentionKind:
    """An attention of a layer, as one device computes it."""

    queries: int  # positions of its own sequence
    keys: int  # and of the one that it attends to
    gathered: int | None  # parts of a split sequence's keys that a TPU's kernel holds; None without one
    scores: float  # keys whose scores each query holds in float32 during the backward pass


def _padded(size: int) -> int:
    """A size rounded up to complete lanes, as the kernel of a TPU takes it."""
    return -(-size // _LANES) * _LANES


def stacked(layers: int | None, tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Tensors of one layer as those of a stack; None leaves them as they are."""
    for tensor in tensors:
        if layers is None:
            yield tensor
        else:
            yield dataclasses.replace(tensor, shape=(layers, *tensor.shape), axes=("layers", *tensor.axes))


def prefixed(prefix: str, tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Tensors under a module's name."""
    for tensor in tensors:
        yield dataclasses.replace(tensor, name=f"{prefix}.{tensor.name}")
