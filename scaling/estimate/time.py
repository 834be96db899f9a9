"""Seconds of a train step: matrix products, attention, memory traffic, collectives and overheads.

Matrix products run at the rate that large ones reach on the device. Fused attention runs at its own rate,
less for narrow heads and short sequences. Elementwise work, the loss over the vocabulary and the optimizer's
update run at memory bandwidth. Tensor parallelism waits for its collectives; those of data parallelism
overlap with the computation, except for a share of them. Starting the kernels of a layer takes time of its
own, and a step takes no less than the host needs to dispatch it and to feed it. `Rates` are fitted to
measured steps of public runs, with one set of constants per platform: `benchmarks/step_time.py` lists the
steps and their sources, fits the constants and cross-validates them by leaving out one source at a time.

Each collective is a ring: of n devices, each sends (n - 1) / n of an array's bytes, an all-reduce twice that
(Thakur et al. 2005; Austin et al. 2025, "How to Scale Your Model", chapter 3). In an all-to-all each device
sends only the n-th that it holds, and on a torus a byte crosses a quarter of each side on average (same
chapter).
"""

import dataclasses
import math
from typing import Literal

from scaling.config.devices import Devices
from scaling.config.hardware import Hardware, Network
from scaling.estimate.families.base import AttentionCost
from scaling.estimate.layout import Layout
from scaling.estimate.work import CollectiveKind, Traffic, Work

Bound = Literal["compute", "memory", "communication", "overhead"]


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a platform sustains in a train step."""

    matmul: float  # share of the rate of large matrix products, over the shapes of a step
    attention: float  # share of peak of a fused attention kernel, where the hardware's own is not known
    passes: float  # times that counted elementwise arrays move through memory
    logit_passes: float  # times that float32 logits do
    waited: float  # share of the exposed communication that is not hidden behind pieces of a product
    leaked: float  # share of the overlapped communication that costs time all the same
    layer: float  # seconds to start the kernels of one layer, all passes
    host: float  # seconds of a host's own work per step, during which devices compute: dispatch, input
    hosts: float  # the same where several hosts keep in step
    framework: float  # half of the 90% interval of log seconds that the terms leave: trainers differ


# Fitted by `benchmarks/step_time.py --fit`. The CPU's are chosen: a small process, no collectives.
RATES: dict[str, Rates] = {
    "tpu": Rates(1.0, 0.383, 1.67, 9.4, 0.664, 0.145, 50e-6, 10e-3, 75e-3, 0.21),
    "gpu": Rates(0.85, 0.44, 2.86, 8.4, 0.90, 0.26, 173e-6, 10e-3, 10e-3, 0.32),
    "cpu": Rates(0.85, 0.60, 1.0, 4.0, 1.0, 0.00, 0.0, 0.0, 0.0, 0.30),
}
_BANDWIDTH = 0.80  # of the data sheet's memory bandwidth and of links
_HIDDEN = 0.9  # of the computation that gradients and gathered weights overlap with
# Keys at which a fused kernel reaches half of its best rate, and the width of heads at which one on a GPU
# does: FlashAttention-2 (Dao 2023, arXiv:2307.08691, figure 4) at 512 to 16,384 keys, heads of 64 and 128.
_SHORT, _NARROW = 512, 32
_FULL = 128  # side of a TPU's matrix unit: narrower heads leave part of it idle
# Where a device holds 32 or fewer of the width of a weight, the TPU compiler cannot gather it well
# (docs/log.md). In narrow models it computes products piece by piece as shards arrive, and pieces leave part
# of the matrix unit idle: with the copies that this needs, twice the cycles of products for a width of 512 on
# 16 devices (benchmarks/mesh_pairs.py). MaxText measured wide models with such shards, and they show nothing
# of it: there the factor only makes wider shards win a tie.
_NARROW_SHARD, _NARROW_MODEL = 32, 1024
_BY_PIECES, _TIE = 2.0, 1.06
# By which factor each term may be off, up or down, beside what all of them share.
_MEMORY_OFF, _LINKS_OFF, _OVERHEAD_OFF = 1.4, 2.0, 2.5
_ATTENTION_OFF = 1.4  # where the hardware's own range is not known


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step by cause; `low` and `high` bound the seconds."""

    matmul: float
    attention: float  # scores and weighted values
    memory: float  # elementwise work, loss and the optimizer's update, at memory bandwidth
    communication: float  # what does not overlap with computation
    overhead: float  # the start of kernels, and what the host takes longer than the devices
    idle: float  # the pipeline's bubble
    model_flops: float  # of the step, over all devices
    hardware_flops: float
    peak_flops: float  # of all devices together
    spread: tuple[float, float]  # the 90% interval of the seconds, as factors of the estimate

    @property
    def compute(self) -> float:
        """Seconds in matrix products, those of attention included."""
        return self.matmul + self.attention

    @property
    def seconds(self) -> float:
        """The sum of the parts."""
        return self.compute + self.memory + self.communication + self.overhead + self.idle

    @property
    def low(self) -> float:
        """Seconds at the fast end."""
        return self.seconds * self.spread[0]

    @property
    def high(self) -> float:
        """Seconds at the slow end."""
        return self.seconds * self.spread[1]

    @property
    def mfu(self) -> float:
        """Model FLOPs (causal attention) over what the data sheet's peak could do in that time."""
        return self.model_flops / self.seconds / self.peak_flops

    @property
    def hfu(self) -> float:
        """Executed FLOPs over what the data sheet's peak could do."""
        return self.hardware_flops / self.seconds / self.peak_flops

    @property
    def bound(self) -> Bound:
        """The part that takes the most time."""
        parts: dict[Bound, float] = {
            "compute": self.compute + self.idle,
            "memory": self.memory,
            "communication": self.communication,
            "overhead": self.overhead,
        }
        return max(parts, key=lambda name: parts[name])


def step_time(
    work: Work, layout: Layout, devices: Devices, dtype: str = "bfloat16", rates: Rates | None = None
) -> StepTime:
    """Seconds of one step that does `work`, laid out as `layout` on these devices, in the compute type.

    `rates` are the platform's by default.
    """
    hardware = devices.hardware
    rates = rates or RATES[hardware.platform]
    peak = _peak(devices, dtype)
    rate = peak * hardware.matmul.typical * rates.matmul
    moved = (
        rates.passes * work.elementwise_bytes
        + work.weight_bytes
        + rates.logit_passes * work.logit_bytes
        + work.update_bytes
    )
    matmul = work.matmul_flops / layout.devices / rate
    if hardware.platform == "tpu" and work.shard_width <= _NARROW_SHARD:
        matmul *= _BY_PIECES if work.width <= _NARROW_MODEL else _TIE
    attention = 0.0
    for cost in work.attention:
        own = rate if cost.unfused_bytes else peak * _attention_share(cost, hardware, rates)
        attention += cost.flops / layout.devices / own
        moved += cost.unfused_bytes / layout.devices
    memory = moved / (hardware.memory_bandwidth / hardware.devices_per_chip * _BANDWIDTH)
    starts = rates.layer * work.layer_passes
    links = axis_links(devices, layout)

    def seconds(traffic: tuple[Traffic, ...]) -> float:
        each = (one.count * links[one.axis].seconds(one.kind, one.size) for one in traffic)
        return sum(each) / _BANDWIDTH

    busy, overlapped = matmul + attention + memory, seconds(work.overlapped)
    exposed = rates.waited * seconds(work.exposed) + max(
        rates.leaked * overlapped, overlapped - _HIDDEN * busy
    )
    idle = 0.0
    if layout.stages > 1:
        idle = (layout.stages - 1) / (layout.interleave * layout.microbatches) * (busy + exposed)
    least = rates.hosts if devices.chips > hardware.chips_per_host else rates.host
    overhead = starts + max(0.0, least - busy - exposed - starts - idle)
    return StepTime(
        matmul=matmul,
        attention=attention,
        memory=memory,
        communication=exposed,
        overhead=overhead,
        idle=idle,
        model_flops=work.model_flops,
        hardware_flops=work.hardware_flops,
        peak_flops=peak * layout.devices,
        spread=_spread((matmul, attention, memory, exposed, overhead), hardware, rates),
    )


def _attention_share(cost: AttentionCost, hardware: Hardware, rates: Rates) -> float:
    """Share of peak that a fused kernel reaches at this width of heads and this many keys."""
    best = rates.attention if hardware.attention is None else hardware.attention.typical
    if hardware.platform == "tpu":
        width = min(1.0, cost.head / _FULL)
    else:
        width = cost.head / (cost.head + _NARROW) * (1 + _NARROW / _FULL)
    return best * width * cost.keys / (cost.keys + _SHORT)


def _spread(parts: tuple[float, ...], hardware: Hardware, rates: Rates) -> tuple[float, float]:
    """The 90% interval, as factors: the terms' own uncertainties and the framework's, as if independent.

    `parts` are the seconds of matmul, attention, memory, communication and overhead.
    """
    matmul, attention = hardware.matmul, hardware.attention
    others = (_MEMORY_OFF, _LINKS_OFF, _OVERHEAD_OFF)
    ends = []
    for slow in (False, True):
        first = matmul.typical / matmul.low if slow else matmul.high / matmul.typical
        if attention is None:
            second = _ATTENTION_OFF
        else:
            second = attention.typical / attention.low if slow else attention.high / attention.typical
        off = [
            part / sum(parts) * math.log(by) for part, by in zip(parts, (first, second, *others), strict=True)
        ]
        half = math.hypot(rates.framework, *off)
        ends.append(math.exp(half if slow else -half))
    return ends[0], ends[1]


def _peak(devices: Devices, dtype: str) -> float:
    """FLOP/s of one JAX device in the compute type, or in the nearest type that the device has."""
    peaks = devices.hardware.peak_flops
    order = ("bfloat16", "float16", "float32") if dtype == "bfloat16" else ("float32", "bfloat16", "float16")
    chosen = next(peaks[name] for name in order if name in peaks)  # type: ignore[index]
    return chosen / devices.hardware.devices_per_chip


@dataclasses.dataclass(frozen=True)
class Link:
    """What one device of a mesh axis can send along that axis."""

    ways: int
    bandwidth: float  # bytes per second
    latency: float  # seconds per step of the ring
    hops: float | None = None  # links that a byte of an all-to-all crosses; None is one, through a switch

    def seconds(self, kind: CollectiveKind, size: float) -> float:
        """Time of one collective over an array of `size` bytes before it is sharded."""
        if self.ways == 1:
            return 0.0
        if kind == "permute":  # each to its neighbour
            return size / self.bandwidth + self.latency
        if kind == "all_to_all":
            hops = (self.ways - 1) / self.ways if self.hops is None else self.hops
            return hops * size / self.ways / self.bandwidth + (self.ways - 1) * self.latency
        passes = 2 if kind == "all_reduce" else 1
        return passes * (size * (self.ways - 1) / self.ways / self.bandwidth + (self.ways - 1) * self.latency)


def axis_links(devices: Devices, layout: Layout) -> dict[str, Link]:
    """The link of every mesh axis of a layout on these devices."""
    ways = {
        "tensor": layout.tensor,
        "context": layout.context,
        "expert": layout.expert,
        "fsdp": layout.fsdp,
        "data": layout.data,
        "stages": layout.stages,
    }
    inside, between = devices.hardware.inside, devices.hardware.between
    if inside is None:
        return {axis: Link(count, 1e12, 0.0) for axis, count in ways.items()}  # one host's own memory
    if inside.kind == "switch":
        return _switch(devices, ways)
    links = _torus(inside, devices.topology, ways)
    if devices.slices > 1 and between is not None:
        # The data axis crosses slices; the chips of a slice that hold the same part send at the same time.
        links["data"] = Link(layout.data, between.bandwidth, between.latency)
    return links | {"stages": Link(layout.stages, inside.bandwidth, inside.latency)}


def _torus(network: Network, topology: tuple[int, ...], ways: dict[str, int]) -> dict[str, Link]:
    """Mesh axes laid along the axes of the torus, the innermost mesh axis first."""
    free = sorted(topology)
    links = {}
    for axis in ("tensor", "context", "expert", "fsdp", "stages", "data"):
        left, bandwidth, hops = ways[axis], 0.0, 0.0
        while left > 1 and free:
            side = free[0]
            closed = _wraps(side, network.dimensions or 2) and left >= side
            bandwidth += network.bandwidth * (2 if closed else 1)
            hops += min(left, side) / 4
            if left >= side:
                free.pop(0)
            else:
                free[0] = max(1, side // left)
            left //= max(1, side)
        links[axis] = Link(ways[axis], bandwidth or network.bandwidth, network.latency, hops or None)
    return links


def _wraps(size: int, dimensions: int) -> bool:
    """Whether a torus axis of so many chips closes to a ring: cubes of 4 in three dimensions, 16 in two."""
    return size % 4 == 0 if dimensions == 3 else size >= 16


def _switch(devices: Devices, ways: dict[str, int]) -> dict[str, Link]:
    """Mesh axes over hosts: the innermost fills the fast domain first, the rest crosses the slow network."""
    inside, between = devices.hardware.inside, devices.hardware.between
    links, stride = {}, 1
    for axis in ("tensor", "context", "expert", "fsdp", "data", "stages"):
        count = ways[axis]
        domain = inside.devices if inside is not None else 1
        near = max(1, min(count, domain // stride))
        if count <= near and inside is not None:
            links[axis] = Link(count, inside.bandwidth, inside.latency)
        else:
            slow = between or inside
            assert slow is not None
            # Members in one domain send over the slow network at the same time, each by its own adapter.
            bandwidth = slow.bandwidth * near
            if inside is not None:
                bandwidth = min(bandwidth, inside.bandwidth)
            # Of the ring's steps, one in `near` crosses the slow network.
            inner = slow.latency if inside is None else inside.latency
            links[axis] = Link(count, bandwidth, slow.latency / near + inner * (1 - 1 / near))
        stride *= count
    return links
