"""What one train step does, whatever it runs on: FLOPs, bytes through memory, bytes through networks."""

import dataclasses

from scaling.config.model import ModelConfig, NetworkConfig, TransformerConfig, TwoSidedConfig, network
from scaling.config.run import RunConfig
from scaling.estimate.activations import mixtures, stacks
from scaling.estimate.executed import hardware_flops
from scaling.estimate.flops import forward_flops
from scaling.estimate.layout import Layout
from scaling.estimate.network import CollectiveKind
from scaling.estimate.sharded import BYTES
from scaling.estimate.tensors import Tensor, tensors

_FORWARD, _BACKWARD = 2, 3  # times that an array of a layer passes through memory


@dataclasses.dataclass(frozen=True)
class Traffic:
    """`count` collectives along a mesh axis, each over an array of `size` bytes where it is whole."""

    axis: str
    kind: CollectiveKind
    size: float
    count: float = 1


@dataclasses.dataclass(frozen=True)
class Work:
    """One optimizer step: FLOPs over all devices, bytes and collectives of one device."""

    model_flops: float
    hardware_flops: float
    bytes_moved: float
    waited_for: tuple[Traffic, ...]  # the computation cannot go on without them
    beside: tuple[Traffic, ...]  # run while something else is computed


def work_of(run: RunConfig, layout: Layout, platform: str) -> Work:
    """What a step of `run` does, laid out as `layout`."""
    model = network(run.model)
    flops = forward_flops(model, layout.length, "causal", layout.target_length).total
    executed = hardware_flops(
        model, layout.length, layout.rows_on_a_device, layout.target_length, layout.context
    )
    moved = layout.passes * _elementwise_bytes(model, layout, platform) + _update_bytes(run, layout)
    return Work(
        model_flops=3 * layout.rows * flops,
        hardware_flops=layout.rows * executed,
        bytes_moved=moved,
        waited_for=_tensor_sums(model, layout, platform)
        + _exchanges(model, layout)
        + _handed_on(model, layout),
        beside=_sharded_data(model, layout) + _split_sequences(model, layout, platform),
    )


def _elementwise_bytes(model: NetworkConfig, layout: Layout, platform: str) -> float:
    """Bytes that norms, activations, residuals and casts move for one microbatch on one device.

    What is rematerialised passes forward twice. Weights are read and cast once a pass, however few tokens;
    those of a recurrence at every step of it, which is not counted: caches hold them where they are small.
    """
    passes = _FORWARD + _BACKWARD + {"none": 0, "dots": 1, "full": _FORWARD}[model.remat]
    tokens = layout.tokens_by_side
    total = 0.0
    for layers, arrays, side in stacks(model, layout, platform):
        total += layers / layout.stages * passes * (arrays.inputs + arrays.carried) * tokens[side]
    return total + 3 * _matrices(model, layout) * BYTES[model.compute_dtype]


def _matrices(model: ModelConfig, layout: Layout) -> float:
    """Numbers in the matrices that a device multiplies with, gathered over all but `tensor` and `expert`."""
    numbers = sum(t.size / _own_ways(t, layout) for t in tensors(model) if t.is_matrix)
    return numbers / layout.tensor


def _own_ways(tensor: Tensor, layout: Layout) -> int:
    """Ways that experts alone are split, or layers alone."""
    return (layout.expert if tensor.is_expert else 1) * (layout.stages if tensor.axes[0] == "layers" else 1)


def _update_bytes(run: RunConfig, layout: Layout) -> float:
    """Bytes that the optimizer moves: gradient in; parameter and moments in and out; all of one shard."""
    numbers = sum(t.size / _own_ways(t, layout) for t in tensors(run.model))
    shard = numbers / (layout.fsdp * layout.context * layout.tensor)
    moments = {"adamw": 2, "muon": 1, "lion": 1, "adafactor": 0}[run.train.optimizer]
    return shard * (4 + 2 * BYTES[run.model.param_dtype] + 2 * 4 * moments)


def _tensor_sums(model: NetworkConfig, layout: Layout, platform: str) -> tuple[Traffic, ...]:
    """Two sums over the ways a layer, each way (Shoeybi et al. 2019); rematerialised layers do one again.

    Those after experts are over all of their slots.
    """
    sums = 4 + (1 if model.remat == "full" else 0)
    tokens = layout.tokens_by_side
    size = BYTES[model.compute_dtype] * (model.d_model if isinstance(model, TransformerConfig) else 1)
    layers = [
        Traffic(
            "tensor",
            "all_reduce",
            size * tokens[side],
            layout.passes * layers / layout.stages * (sums * 1.5 if side == "target" else sums),
        )
        for layers, _, side in stacks(model, layout, platform)
    ]
    beyond = [
        Traffic("tensor", "all_reduce", size * tokens[side] * (slots - 1), 2 * layout.accumulation * layers)
        for layers, slots, side in mixtures(model, layout)
    ]
    return tuple(layers + beyond) if layout.tensor > 1 else ()


def _exchanges(model: NetworkConfig, layout: Layout) -> tuple[Traffic, ...]:
    """Tokens to their experts and back, each way; what goes to experts goes again where it was not kept."""
    if layout.expert == 1:
        return ()
    times = 4 if model.remat == "none" else 5
    tokens = layout.tokens_by_side
    return tuple(
        Traffic(
            "expert",
            "all_to_all",
            layout.expert * tokens[side] * slots * model.d_model * BYTES[model.compute_dtype],
            layout.accumulation * layers / layout.stages * times,
        )
        for layers, slots, side in mixtures(model, layout)
    )


def _handed_on(model: NetworkConfig, layout: Layout) -> tuple[Traffic, ...]:
    """What goes to the next stage after a microbatch, and as much by which the queues move on; and back.

    The source's hidden states travel with the target. What the bubble hands on is told with its time.
    """
    if layout.stages == 1 or not isinstance(model, TransformerConfig):
        return ()
    tokens = layout.tokens_by_side
    beside = tokens["source"] + tokens["target"] if isinstance(model, TwoSidedConfig) else 0
    size = model.d_model * BYTES[model.compute_dtype] * (tokens["source"] + beside)
    return (Traffic("stages", "permute", size, 4 * layout.passes),)


def _sharded_data(model: NetworkConfig, layout: Layout) -> tuple[Traffic, ...]:
    """Weights gathered forward and backward and gradients scattered for every microbatch; replicas' sums.

    Along `expert` all but the experts are replicas. Along `context` weights are gathered and gradients
    scattered too, each device's part of what it holds of `fsdp`.
    """
    weights = _matrices(model, layout)
    matrices = [t for t in tensors(model) if t.is_matrix and not t.is_expert]
    outside = sum(t.size / _own_ways(t, layout) for t in matrices) / layout.tensor
    width = BYTES[model.compute_dtype]
    sharded = layout.fsdp * layout.context
    return (
        Traffic("fsdp", "all_gather", weights * width, 2 * layout.passes),
        Traffic("fsdp", "reduce_scatter", weights * width, layout.passes),
        Traffic("context", "all_gather", weights * width / layout.fsdp, 2 * layout.passes),
        Traffic("context", "reduce_scatter", weights * width / layout.fsdp, layout.passes),
        Traffic("data", "all_reduce", 4 * weights / sharded),
        Traffic("expert", "all_reduce", 4 * outside / sharded),
    )


def _split_sequences(model: NetworkConfig, layout: Layout, platform: str) -> tuple[Traffic, ...]:
    """Keys and values of each layer to all devices that share a sequence, and their gradients back.

    Round a ring of devices they pass as many bytes as gathered at once: forward, again in the backward pass,
    and there their float32 gradients with them.
    """
    if layout.context == 1 or not isinstance(model, TransformerConfig):
        return ()
    heads = getattr(model, "n_kv_heads", None) or model.n_heads
    numbers = 2 * heads * model.d_head / layout.tensor
    traffic: list[Traffic] = []
    for layers, _, side in stacks(model, layout, platform):
        each = numbers * layout.rows_on_a_device * layout.length_by_side[side]
        times = layout.passes * layers / layout.stages * (2 if side == "target" else 1)
        gathers = 2 if model.remat == "none" else 3
        traffic += [
            Traffic("context", "all_gather", each * BYTES[model.compute_dtype], gathers * times),
            Traffic("context", "reduce_scatter", each * 4, times),
        ]
    return tuple(traffic)
