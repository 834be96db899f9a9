"""What a group of devices can exchange: the links between them, from where the devices are."""

from collections.abc import Sequence
from dataclasses import dataclass

from jax.sharding import Mesh

from scaling.config.devices import Devices
from scaling.estimate.time import Link


@dataclass(frozen=True)
class Place:
    """Where a device is: its slice, its coordinates in the slice's torus."""

    slice: int
    coordinates: tuple[int, ...]


def places_of(mesh: Mesh) -> list[Place]:
    """Where the devices of a mesh are, in its order, which numbers them in compiled programs."""
    return [
        Place(getattr(device, "slice_index", 0) or 0, tuple(getattr(device, "coords", None) or ()))
        for device in mesh.devices.flat
    ]


def places(devices: Devices) -> list[Place]:
    """Where devices are, in the order of the topology, the first axis fastest."""
    found = []
    for number in range(devices.count):
        rest, coordinates = number, []
        for side in devices.topology:
            coordinates.append(rest % side)
            rest //= side
        found.append(Place(rest, tuple(coordinates)))
    return found


def link(group: Sequence[int], where: Sequence[Place], devices: Devices) -> Link:
    """The link of the devices of a group, each of which sends as fast as it can; `where` is by their numbers.

    On a torus a device sends along every axis that the group spans, in both directions where the group closes
    the ring. Where the group spans hosts or slices, the slow network between them decides: its members on one
    host or in one slice send over it at the same time.
    """
    hardware, ways = devices.hardware, len(group)
    inside, between = hardware.inside, hardware.between
    if inside is None:
        return Link(ways, 1e12, 0.0)  # one host's own memory
    if inside.kind == "switch":
        near = max(1, ways // len({number // inside.devices for number in group}))
        if near == ways or between is None:
            return Link(ways, inside.bandwidth, inside.latency)
        return Link(ways, min(between.bandwidth * near, inside.bandwidth), between.latency)
    slices = len({where[number].slice for number in group})
    if slices > 1 and between is not None:
        return Link(ways, between.bandwidth * (ways // slices), between.latency)
    bandwidth, hops = 0.0, 0.0
    for axis, side in enumerate(devices.topology):
        spanned = len({where[number].coordinates[axis] for number in group})
        if spanned > 1:
            closed = spanned == side and wraps(side, inside.dimensions or 2)
            bandwidth += inside.bandwidth * (2 if closed else 1)
            hops += spanned / 4
    return Link(ways, bandwidth or inside.bandwidth, inside.latency, hops or None)


def wraps(side: int, dimensions: int) -> bool:
    """Whether an axis of so many chips closes to a ring: cubes of 4 in three dimensions, 16 in two."""
    return side % 4 == 0 if dimensions == 3 else side >= 16
