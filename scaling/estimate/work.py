"""What one train step does, whatever it runs on: FLOPs, bytes through memory, bytes through networks."""

import dataclasses

from scaling.config.model import ModelConfig, NetworkConfig, TransformerConfig, network
from scaling.config.run import RunConfig
from scaling.estimate.activations import stacks
from scaling.estimate.flops import forward_flops, hardware_flops
from scaling.estimate.layout import Layout
from scaling.estimate.network import CollectiveKind
from scaling.estimate.parameters import count_parameters
from scaling.estimate.sharded import BYTES
from scaling.estimate.tensors import tensors

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
    executed = hardware_flops(model, layout.length, layout.rows_on_a_device, layout.target_length)
    moved = layout.accumulation * _elementwise_bytes(model, layout, platform) + _update_bytes(run, layout)
    return Work(
        model_flops=3 * layout.rows * flops,
        hardware_flops=layout.rows * executed,
        bytes_moved=moved,
        waited_for=_tensor_sums(model, layout, platform),
        beside=_sharded_data(model, layout),
    )


def _elementwise_bytes(model: NetworkConfig, layout: Layout, platform: str) -> float:
    """Bytes that norms, activations, residuals and casts move for one microbatch on one device.

    What is rematerialised passes forward twice. Weights are read and cast once a pass, however few tokens;
    those of a recurrence at every step of it, which is not counted: caches hold them where they are small.
    """
    passes = _FORWARD + _BACKWARD + {"none": 0, "dots": 1, "full": _FORWARD}[model.remat]
    tokens = layout.tokens_by_side
    total = 0.0
    for layers, arrays, side in stacks(model, layout.tensor, platform):
        total += layers / layout.stages * passes * (arrays.inputs + arrays.carried) * tokens[side]
    return total + 3 * _matrices(model, layout) * BYTES[model.compute_dtype]


def _matrices(model: ModelConfig, layout: Layout) -> float:
    """Numbers in the matrices that one device multiplies with, gathered over everything but `tensor`."""
    return sum(t.size for t in tensors(model) if t.is_matrix) / layout.tensor / layout.stages


def _update_bytes(run: RunConfig, layout: Layout) -> float:
    """Bytes that the optimizer moves: gradient in; parameter and moments in and out; all of one shard."""
    shard = count_parameters(run.model).total / (layout.fsdp * layout.tensor * layout.stages)
    moments = {"adamw": 2, "muon": 1, "lion": 1, "adafactor": 0}[run.train.optimizer]
    return shard * (4 + 2 * BYTES[run.model.param_dtype] + 2 * 4 * moments)


def _tensor_sums(model: NetworkConfig, layout: Layout, platform: str) -> tuple[Traffic, ...]:
    """Two sums over the ways a layer, each way (Shoeybi et al. 2019); rematerialised layers do one again."""
    sums = 4 + (1 if model.remat == "full" else 0)
    tokens = layout.tokens_by_side
    size = BYTES[model.compute_dtype] * (model.d_model if isinstance(model, TransformerConfig) else 1)
    return tuple(
        Traffic(
            "tensor",
            "all_reduce",
            size * tokens[side],
            layout.accumulation * layers / layout.stages * (sums * 1.5 if side == "target" else sums),
        )
        for layers, _, side in stacks(model, layout.tensor, platform)
        if layout.tensor > 1
    )


def _sharded_data(model: NetworkConfig, layout: Layout) -> tuple[Traffic, ...]:
    """Weights gathered forward and backward and gradients scattered for every microbatch; replicas' sums."""
    weights = _matrices(model, layout)
    width = BYTES[model.compute_dtype]
    return (
        Traffic("fsdp", "all_gather", weights * width, 2 * layout.accumulation),
        Traffic("fsdp", "reduce_scatter", weights * width, layout.accumulation),
        Traffic("data", "all_reduce", 4 * weights / layout.fsdp),
    )
