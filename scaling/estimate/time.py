"""Seconds of a train step: a roofline over matrix products, memory traffic and collectives.

Matrix products run at the rate that large ones reach on the device, times the share of it that the mix of
shapes in a real step sustains. Elementwise work runs at memory bandwidth. Tensor parallelism waits for its
collectives; those of data parallelism overlap with the computation and cost only what exceeds it. The three
shares below were chosen before the comparison and not fitted to it: `benchmarks/step_time.py` compares the
sum with published runs, and the spread of those ratios is the interval of every time and price.

Each collective is a ring: of n devices, each sends (n - 1) / n of an array's bytes, an all-reduce twice that
(Thakur et al. 2005; Austin et al. 2025, "How to Scale Your Model", chapter 3). In an all-to-all each device
sends only the n-th that it holds, and on a torus a byte crosses a quarter of each side on average (same
chapter).
"""

import dataclasses
from typing import Literal

from scaling.config.devices import Devices
from scaling.config.hardware import Network
from scaling.estimate.layout import Layout
from scaling.estimate.work import CollectiveKind, Traffic, Work

Bound = Literal["compute", "memory", "communication"]

_SUSTAINED = 0.85  # of the rate of large matrix products, over the shapes of a step
_BANDWIDTH = 0.80  # of the data sheet's memory bandwidth and of links
_HIDDEN = 0.9  # of the computation that gradients and gathered weights overlap with
# Measured over predicted seconds: the fastest and the slowest of 21 published runs (docs/step_time.md).
SPREAD = (0.92, 1.21)


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step by cause; `low` and `high` bound the seconds."""

    compute: float
    memory: float  # elementwise work and the optimizer's update, at memory bandwidth
    communication: float  # what does not overlap with computation
    idle: float  # the pipeline's bubble
    model_flops: float  # of the step, over all devices
    hardware_flops: float
    peak_flops: float  # of all devices together
    slower: float  # by which the device's large matrix products may be slower than typical, 1 or more
    faster: float  # or faster, 1 or less

    @property
    def seconds(self) -> float:
        """The sum of the parts."""
        return self.compute + self.memory + self.communication + self.idle

    @property
    def spread(self) -> tuple[float, float]:
        """The interval of the seconds as factors of the estimate.

        The spread of published runs, and that of the device's matrix rate for the share of compute.
        """
        share = self.compute / self.seconds
        return (SPREAD[0] * (1 - share + share * self.faster), SPREAD[1] * (1 - share + share * self.slower))

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
        }
        return max(parts, key=lambda name: parts[name])


def step_time(work: Work, layout: Layout, devices: Devices, dtype: str = "bfloat16") -> StepTime:
    """Seconds of one step that does `work`, laid out as `layout` on these devices, in the compute type."""
    hardware = devices.hardware
    peak = _peak(devices, dtype)
    compute = work.hardware_flops / layout.devices / (peak * hardware.matmul.typical * _SUSTAINED)
    bandwidth = hardware.memory_bandwidth / hardware.devices_per_chip * _BANDWIDTH
    memory = work.bytes_moved / bandwidth
    links = axis_links(devices, layout)

    def seconds(traffic: tuple[Traffic, ...]) -> float:
        each = (one.count * links[one.axis].seconds(one.kind, one.size) for one in traffic)
        return sum(each) / _BANDWIDTH

    exposed = seconds(work.exposed)
    overlapped = seconds(work.overlapped)
    exposed += max(0.0, overlapped - _HIDDEN * (compute + memory))
    idle = 0.0
    if layout.stages > 1:
        filling = (layout.stages - 1) / (layout.interleave * layout.microbatches)
        idle = filling * (compute + memory + exposed)
    return StepTime(
        compute=compute,
        memory=memory,
        communication=exposed,
        idle=idle,
        model_flops=work.model_flops,
        hardware_flops=work.hardware_flops,
        peak_flops=peak * layout.devices,
        slower=hardware.matmul.typical / hardware.matmul.low,
        faster=hardware.matmul.typical / hardware.matmul.high,
    )


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
            links[axis] = Link(count, bandwidth, slow.latency)
        stride *= count
    return links
