"""What one train step does on any device: FLOPs, bytes through memory, bytes through networks."""

import dataclasses
import math
from typing import Any, Literal

from scaling.config.run import RunConfig
from scaling.estimate.families import family_of
from scaling.estimate.families.base import AttentionCost, Family, LayerGroup, Tensor
from scaling.estimate.layout import BYTES, Layout
from scaling.estimate.optimizers import state_size, update_flops

CollectiveKind = Literal["all_gather", "reduce_scatter", "all_reduce", "all_to_all", "permute"]

_FORWARD, _BACKWARD = 2, 3  # times that an array of a layer passes through memory


@dataclasses.dataclass(frozen=True)
class Traffic:
    """`count` collectives along a mesh axis, each over an array of `size` bytes before it is sharded."""

    axis: str
    kind: CollectiveKind
    size: float
    count: float = 1


@dataclasses.dataclass(frozen=True)
class Work:
    """One optimizer step: FLOPs over all devices; bytes, collectives and layers of one device."""

    model_flops: float
    matmul_flops: float  # of linear maps, head and update
    attention: tuple[AttentionCost, ...]  # of all sequences over all devices
    elementwise_bytes: float  # of norms, activations, residuals and casts, each array counted once per pass
    weight_bytes: float  # of weights read by matrix products
    logit_bytes: float  # of the logits of every predicted position, in float32, once
    update_bytes: float  # of parameters, gradients and the optimizer's state
    layer_passes: float  # layers that run, one microbatch each
    width: float  # of the narrowest matrix that `fsdp` or `context` splits along it; infinite where none does
    shard_width: float  # what one device holds of that
    exposed: tuple[Traffic, ...]  # the computation waits for them
    overlapped: tuple[Traffic, ...]  # run while something else is computed

    @property
    def attention_flops(self) -> float:
        """FLOPs of attention scores and weighted values over all devices."""
        return sum(cost.flops for cost in self.attention)

    @property
    def hardware_flops(self) -> float:
        """Every executed FLOP over all devices."""
        return self.matmul_flops + self.attention_flops


def work_of(run: RunConfig, layout: Layout, platform: str) -> Work:
    """What a step of `run` does, laid out as `layout`."""
    return _Step(run, layout, platform).work()


class _Step:
    """One step of a run on a layout, with what the terms of its work share."""

    def __init__(self, run: RunConfig, layout: Layout, platform: str) -> None:
        self.run, self.layout = run, layout
        self.family: Family[Any] = family_of(run.model)
        self.parts: list[Tensor] = list(self.family.tensors())
        self.groups: list[LayerGroup] = self.family.activations(layout, platform)
        self.remat: str = self.family.config.remat
        self.width = BYTES[run.model.compute_dtype]
        self.tokens = layout.tokens_by_side
        # Numbers in the matrices that a device multiplies with, gathered over all but `tensor` and `expert`.
        self.weights = self._per_device([t for t in self.parts if t.is_matrix]) / layout.tensor

    def work(self) -> Work:
        layout = self.layout
        source, target = layout.length_by_side.values()
        flops = self.family.forward_flops(source, target, "causal").total
        executed = self.family.executed_flops(source, target, layout.rows_on_a_device, layout.context)
        attention = tuple(
            dataclasses.replace(
                cost, flops=layout.rows * cost.flops, unfused_bytes=layout.rows * cost.unfused_bytes
            )
            for cost in self.family.attention_costs(source, target, layout.context)
        )
        scored = sum(cost.flops for cost in attention)
        layers = sum(group.layers for group in self.groups) / layout.stages
        return Work(
            model_flops=3 * layout.rows * flops,
            matmul_flops=layout.rows * executed - scored + self._update_flops(),
            attention=attention,
            elementwise_bytes=layout.passes * self._elementwise_bytes(),
            weight_bytes=layout.passes * self._weight_passes * self.weights * self.width,
            logit_bytes=self._logit_bytes(source, target),
            update_bytes=self._update_bytes(),
            layer_passes=layout.passes * layers,
            width=self._sharded_width(),
            shard_width=self._sharded_width() / (layout.fsdp * layout.context),
            exposed=(*self._tensor_sums(), *self._expert_exchanges(), *self._stage_transfers()),
            overlapped=(*self._sharded_weights(), *self._split_sequences()),
        )

    @property
    def _shards(self) -> int:
        """Ways that every parameter is split."""
        return self.layout.fsdp * self.layout.context * self.layout.tensor

    def _own_ways(self, tensor: Tensor) -> int:
        """Ways that a tensor is split over experts or stages."""
        experts = self.layout.expert if tensor.is_expert else 1
        return experts * (self.layout.stages if tensor.is_stacked else 1)

    def _per_device(self, tensors: list[Tensor]) -> float:
        return sum(t.size / self._own_ways(t) for t in tensors)

    def _sharded_width(self) -> float:
        sides = [
            size
            for tensor in self.parts
            if tensor.is_matrix and "vocab" not in tensor.axes
            for axis, size in zip(tensor.axes, tensor.shape, strict=True)
            if axis == "embed"
        ]
        whole = self.layout.fsdp * self.layout.context == 1
        return math.inf if whole or not sides else min(sides)

    def _elementwise_bytes(self) -> float:
        """Bytes that norms, activations, residuals and casts move for one microbatch on one device.

        What is rematerialised passes forward twice.
        """
        passes = _FORWARD + _BACKWARD + {"none": 0, "dots": 1, "full": _FORWARD}[self.remat]
        total = 0.0
        for group in self.groups:
            moved = group.activations.inputs + group.activations.residual
            total += group.layers / self.layout.stages * passes * moved * self.tokens[group.side]
        return total

    @property
    def _weight_passes(self) -> int:
        """Times that a microbatch reads the weights, however few its tokens: forward, twice backward, remat.

        A recurrence reads its weights at every step, which is not counted: small ones stay in cache.
        """
        return 4 if self.remat == "full" else 3

    def _logit_bytes(self, source: int, target: int) -> float:
        """Bytes of a device's logits in float32, once: what the executed FLOPs of the head compute."""
        layout, family = self.layout, self.family
        if not family.head_size:
            return 0.0
        positions = family.logit_positions(source, target, layout.rows_on_a_device)
        split = layout.tensor if self.run.model.vocab_size % layout.tensor == 0 else 1
        shards = layout.devices / layout.tensor * split
        return 4.0 * layout.rows * positions * self.run.model.vocab_size / shards

    def _update_bytes(self) -> float:
        """Bytes that the optimizer moves: gradient in; parameter and state in and out; all of one shard."""
        optimizer, parameter = self.run.train.optimizer, BYTES[self.run.model.param_dtype]
        moved = sum(
            (t.size * (4 + 2 * parameter) + 2 * 4 * state_size(optimizer, t)) / self._own_ways(t)
            for t in self.parts
        )
        return moved / self._shards

    def _update_flops(self) -> float:
        """FLOPs of the optimizer over all devices: every replica of a shard computes its update."""
        optimizer = self.run.train.optimizer
        flops = sum(update_flops(optimizer, t) / self._own_ways(t) for t in self.parts)
        return flops / self._shards * self.layout.devices

    def _tensor_sums(self) -> list[Traffic]:
        """Two sums over `tensor` per layer, each way (Shoeybi et al. 2019); remat `full` repeats one.

        Those after experts are over all of their slots.
        """
        layout = self.layout
        if layout.tensor == 1:
            return []
        sums = 4 + (1 if self.remat == "full" else 0)
        size = self.width * self.family.hidden_width
        traffic = []
        for group in self.groups:
            each = sums * 1.5 if group.side == "target" else sums
            count = layout.passes * group.layers / layout.stages * each
            traffic.append(Traffic("tensor", "all_reduce", size * self.tokens[group.side], count))
        for group in self.groups:
            if group.slots is not None:
                beyond = size * self.tokens[group.side] * (group.slots - 1)
                traffic.append(
                    Traffic("tensor", "all_reduce", beyond, 2 * layout.accumulation * group.layers)
                )
        return traffic

    def _expert_exchanges(self) -> list[Traffic]:
        """Tokens to their experts and back, each way; what goes there is sent again where recomputed."""
        layout, times = self.layout, 4 if self.remat == "none" else 5
        if layout.expert == 1:
            return []
        return [
            Traffic(
                "expert",
                "all_to_all",
                layout.expert * self.tokens[group.side] * group.slots * self.family.hidden_width * self.width,
                layout.accumulation * group.layers / layout.stages * times,
            )
            for group in self.groups
            if group.slots is not None
        ]

    def _stage_transfers(self) -> list[Traffic]:
        """What goes to the next stage after a microbatch, and as much by which the queues move; and back.

        The source's hidden states travel with the target. The bubble's transfers are part of its idle time.
        """
        if self.layout.stages == 1:
            return []
        travelling = self.tokens["source"]
        if self.run.model.two_sided:
            travelling += self.tokens["source"] + self.tokens["target"]
        size = self.family.hidden_width * self.width * travelling
        return [Traffic("stages", "permute", size, 4 * self.layout.passes)]

    def _sharded_weights(self) -> list[Traffic]:
        """Weights gathered forward and backward, gradients scattered, per layer; sums of replicas.

        Along `expert` all but the experts are replicas. Along `context` weights are gathered and gradients
        scattered too, each device's part of what it holds of `fsdp`.
        """
        layout, passes = self.layout, self.layout.passes
        dense = [t for t in self.parts if t.is_matrix and not t.is_expert]
        replicated = self._per_device(dense) / layout.tensor
        layers = max(1.0, sum(group.layers for group in self.groups) / layout.stages)
        stacked = self._per_device([t for t in self.parts if t.is_matrix and t.is_stacked]) / layout.tensor
        outside = self.weights - stacked
        shards = layout.fsdp * layout.context
        traffic = []
        for axis, ways in (("fsdp", 1), ("context", layout.fsdp)):
            for numbers, times in ((stacked / layers, passes * layers), (outside, float(passes))):
                if numbers > 0:
                    size = numbers * self.width / ways
                    traffic.append(Traffic(axis, "all_gather", size, 2 * times))
                    traffic.append(Traffic(axis, "reduce_scatter", size, times))
        return [
            *traffic,
            Traffic("data", "all_reduce", 4 * self.weights / shards),
            Traffic("expert", "all_reduce", 4 * replicated / shards),
        ]

    def _split_sequences(self) -> list[Traffic]:
        """Keys and values of each layer to all devices that share a sequence, and their gradients back.

        A ring of devices moves as many bytes as one gather: forward, again in the backward
        pass, and there with their float32 gradients.
        """
        layout = self.layout
        if layout.context == 1 or not self.family.kv_width:
            return []
        numbers = self.family.kv_width / layout.tensor
        gathers = 2 if self.remat == "none" else 3
        traffic = []
        for group in self.groups:
            each = numbers * layout.rows_on_a_device * layout.length_by_side[group.side]
            times = layout.passes * group.layers / layout.stages * (2 if group.side == "target" else 1)
            traffic += [
                Traffic("context", "all_gather", each * self.width, gathers * times),
                Traffic("context", "reduce_scatter", each * 4, times),
            ]
        return traffic
