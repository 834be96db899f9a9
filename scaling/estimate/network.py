"""Seconds that collectives take on the networks that join devices.

Each is a ring: of n devices, each sends (n - 1) / n of an array's bytes, an all-reduce twice that (Thakur et
al. 2005; Austin et al. 2025, "How to Scale Your Model", chapter 3). In an all-to-all each device sends only
the n-th that it holds, and on a torus a byte passes a quarter of each side on average (same chapter).
"""

import dataclasses
from typing import Literal

from scaling.config.devices import Devices
from scaling.config.hardware import Network
from scaling.estimate.layout import Layout

CollectiveKind = Literal["all_gather", "reduce_scatter", "all_reduce", "all_to_all", "permute"]


@dataclasses.dataclass(frozen=True)
class Link:
    """What one device of a mesh axis can send along that axis."""

    ways: int
    bandwidth: float  # bytes a second
    latency: float  # seconds a step of the ring
    hops: float | None = None  # links that a byte of an all-to-all passes; None is one, through a switch

    def seconds(self, kind: CollectiveKind, size: float) -> float:
        """Time of one collective over an array that has `size` bytes where it is whole."""
        if self.ways == 1:
            return 0.0
        if kind == "permute":  # each to its neighbour
            return size / self.bandwidth + self.latency
        if kind == "all_to_all":
            hops = (self.ways - 1) / self.ways if self.hops is None else self.hops
            return hops * size / self.ways / self.bandwidth + (self.ways - 1) * self.latency
        passes = 2 if kind == "all_reduce" else 1
        return passes * (size * (self.ways - 1) / self.ways / self.bandwidth + (self.ways - 1) * self.latency)


def _wraps(size: int, dimensions: int) -> bool:
    """Whether a torus axis of so many chips closes to a ring: cubes of 4 in three dimensions, 16 in two."""
    return size % 4 == 0 if dimensions == 3 else size >= 16


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
            # Members in one domain send over the slow network side by side, each by its own adapter.
            bandwidth = slow.bandwidth * near
            if inside is not None:
                bandwidth = min(bandwidth, inside.bandwidth)
            links[axis] = Link(count, bandwidth, slow.latency)
        stride *= count
    return links


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
        # The data axis crosses slices; the chips of a slice that hold the same part send side by side.
        links["data"] = Link(layout.data, between.bandwidth, between.latency)
    return links | {"stages": Link(layout.stages, inside.bandwidth, inside.latency)}
