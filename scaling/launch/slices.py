"""The smallest slice of a kind of device on which a run fits and finishes in time."""

import dataclasses
import math
from collections.abc import Callable, Iterator

from scaling.config.devices import Devices, default_mesh, load_hardware, parse_devices
from scaling.config.hardware import Hardware, PriceKind
from scaling.config.load import validate
from scaling.config.model import DecoderConfig, NGramConfig, network
from scaling.config.run import RunConfig
from scaling.estimate.layout import layout_of
from scaling.estimate.layouts import meshes, room_bytes
from scaling.estimate.memory import memory
from scaling.estimate.price import Cost, cost
from scaling.estimate.time import StepTime, step_time
from scaling.estimate.work import work_of
from scaling.runtime.errors import BadInputError
from scaling.train.schedules import computed_tokens

_MOST_SLICES = 64
_MOST_HOSTS = 1024


@dataclasses.dataclass(frozen=True)
class PlacedRun:
    """A run laid out on a slice; hours include cooldown branches."""

    run: RunConfig  # with the mesh of its layout
    devices: Devices
    hours: float
    hours_high: float  # at the upper end of the estimate's interval
    memory_bytes: int  # peak per device
    cost: Cost

    @property
    def hosts(self) -> int:
        """The number of machines in all slices."""
        return max(1, self.devices.chips // host_chips(self.devices))


def host_chips(devices: Devices) -> int:
    """Chips per machine; v5e and v6e machines have 8 only in slices of a single machine."""
    hardware, inside = devices.hardware, math.prod(devices.topology)
    if hardware.platform == "tpu" and inside > hardware.chips_per_host:
        return min(4, hardware.chips_per_host)
    return min(inside, hardware.chips_per_host)


def slices_of(kind: str) -> Iterator[Devices]:
    """Slices that can be requested, smallest first; a single one for `KIND:COUNT`.

    Raises:
        BadInputError: unknown kind or slice.
    """
    if ":" in kind:
        yield parse_devices(kind)
        return
    hardware = load_hardware(kind)
    if hardware.platform != "tpu":
        yield from _counts(hardware)
        return
    shapes = [tuple(map(int, shape.split("x"))) for shape in hardware.topologies]
    for shape in sorted(shapes, key=math.prod):
        yield Devices(hardware=hardware, topology=shape)
    largest = max(shapes, key=math.prod)
    slices = 2
    while slices <= _MOST_SLICES:
        yield Devices(hardware=hardware, topology=largest, slices=slices)
        slices *= 2


def _counts(hardware: Hardware) -> Iterator[Devices]:
    """Powers of two within a host, then, if a network connects hosts, powers of two of complete hosts."""
    count = 1
    while count < hardware.chips_per_host:
        yield Devices(hardware=hardware, topology=(count,))
        count *= 2
    hosts = 1
    while hosts <= (_MOST_HOSTS if hardware.between is not None else 1):
        yield Devices(hardware=hardware, topology=(hosts * hardware.chips_per_host,))
        hosts *= 2


def _layouts(run: RunConfig, devices: Devices) -> Iterator[RunConfig]:
    """The run on every mesh that uses all devices; its id does not change."""
    rows = run.train.batch_tokens // run.data.sequence_length
    mixture = getattr(run.model, "mixture", None)
    sizes: Iterator[dict[str, int]]
    if isinstance(run.model, DecoderConfig) and mixture is None:
        axes = ("data", "fsdp", "tensor")
        sizes = (dict(zip(axes, mesh, strict=True)) for mesh in meshes(run.model, devices, rows))
    else:
        model = network(run.model)
        experts = 1 if mixture is None else mixture.experts
        sizes = iter([default_mesh(model.d_model, getattr(model, "n_heads", 1), devices, experts)])
    for mesh in sizes:
        tree = run.model_dump() | {"mesh": mesh}
        try:
            yield validate(RunConfig, tree, run.name)
        except BadInputError:
            continue  # the batch is not divisible


def _placed(run: RunConfig, devices: Devices, kind: PriceKind, usd: float | None) -> PlacedRun | None:
    """The fastest layout that fits in memory; None if none does."""
    best: tuple[StepTime, RunConfig, int] | None = None
    platform, dtype = devices.hardware.platform, network(run.model).compute_dtype
    for one in _layouts(run, devices):
        layout = layout_of(one, devices.count)
        time = step_time(work_of(one, layout, platform), layout, devices, dtype)
        if best is None or time.seconds < best[0].seconds:
            needed = memory(one, layout, platform).total
            if needed <= room_bytes(devices):
                best = time, one, needed
    if best is None:
        return None
    time, one, needed = best
    steps = math.ceil(computed_tokens(run.train) / run.train.batch_tokens)
    hours = steps * time.seconds / 3600
    spent = cost(devices, hours, time.spread, kind=kind, usd_per_device_hour=usd)
    return PlacedRun(one, devices, hours, hours * time.spread[1], needed, spent)


def smallest_slice(
    run: RunConfig,
    kind: str,
    *,
    within: float,
    price_kind: PriceKind = "on-demand",
    usd_per_device_hour: float | None = None,
    accepted: Callable[[Devices], bool] = lambda devices: True,
) -> PlacedRun:
    """The smallest slice of a kind on which a run fits, with 10% of memory free, and finishes in time.

    Only the mesh is chosen; rematerialisation and accumulation stay those of the run.

    Raises:
        BadInputError: unknown kind, or the run fits or finishes in time on none of its slices.
    """
    if isinstance(run.model, NGramConfig):
        raise BadInputError(f"{run.name}: an n-gram model is counted on one machine; use scaling sweep")
    fastest: PlacedRun | None = None
    largest: Devices | None = None
    for devices in slices_of(kind):
        if not accepted(devices):
            continue
        largest = devices
        placed = _placed(run, devices, price_kind, usd_per_device_hour)
        if placed is None:
            continue
        if placed.hours <= within:
            return placed
        if fastest is None or placed.hours < fastest.hours:
            fastest = placed
    if largest is None:
        raise BadInputError(f"--device {kind}: none of its slices can be requested there")
    if fastest is None:
        raise BadInputError(
            f"{run.name}: fits on no slice of {kind}, up to {largest}, with its remat, accumulation and "
            f"batch of {run.train.batch_tokens:,} tokens; give another --device or model.remat=full"
        )
    raise BadInputError(
        f"--within {within:g}: {run.name} takes {fastest.hours:,.4g} hours on {fastest.devices}, the "
        f"fastest slice of {kind}; give at least {math.ceil(fastest.hours * 1.001):,}"
    )
