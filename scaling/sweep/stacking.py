"""Which runs of a sweep train in one program, and how many at a time.

A small run leaves an accelerator idle between its many short kernels: its step is mostly overhead, which a
stack of runs pays once. On CPU batched matrix products are slower than single ones, and several steps per
dispatch already save the overhead (docs/how-to/stacks.md), so `auto` never stacks there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax

from scaling.config.devices import Devices, load_hardware
from scaling.config.hardware import Hardware
from scaling.config.mesh import MeshConfig
from scaling.config.run import RunConfig
from scaling.estimate.estimate import OnDevices, on_devices
from scaling.parallel.mesh import run_ways
from scaling.parallel.processes import several
from scaling.runtime.errors import BadInputError
from scaling.train.loop import groups, why_alone

Stack = int | Literal["auto", "off"]

_WORTH = 1.1  # times as fast as the runs in turn: for less, lanes that empty early cost more
_BETTER = 1.02  # times as fast as fewer lanes
_MOST_LANES = 64

# The hardware config of what JAX calls a device; a name that no entry is part of is estimated as the last of
# its platform.
_KINDS = {
    "gpu": {
        "H100 PCIe": "h100-pcie", "H100": "h100-sxm", "B200": "b200", "V100": "v100", "MI300X": "mi300x",
        "A100-SXM4-40GB": "a100-40gb", "A100-PCIE-40GB": "a100-40gb", "A100": "a100-80gb", "H200": "h200",
    },
    "tpu": {
        "TPU v2": "tpu-v2", "TPU v3": "tpu-v3", "TPU v4": "tpu-v4", "TPU v5 lite": "tpu-v5e",
        "TPU v5e": "tpu-v5e", "TPU v5": "tpu-v5p", "TPU7x": "tpu7x", "TPU v6": "tpu-v6e",
    },
}  # fmt: skip


@dataclass(frozen=True)
class StackChoice:
    """Runs of one shape, and how many of them train at a time; `speedup` over one at a time, where it was
    estimated."""

    runs: tuple[str, ...]
    lanes: int
    speedup: float | None = None
    reason: str = ""


def parse_stack(text: str) -> Stack:
    """`auto`, `off` or a number of runs.

    Raises:
        BadInputError: anything else.
    """
    if text in ("auto", "off"):
        return text  # type: ignore[return-value]
    if text.isascii() and text.isdecimal() and int(text) >= 1:
        return int(text)
    raise BadInputError(
        f"--stack {text}: give auto, off, or the most runs to train in one program, such as 8"
    )


def check_stack(stack: Stack, workers: int) -> None:
    """Refuse stacks that are not possible here.

    Raises:
        BadInputError: stacks of several runs with several workers, or with several processes per run.
    """
    if not isinstance(stack, int) or stack == 1:
        return
    if workers > 1:
        raise BadInputError(
            f"--stack {stack} with --workers {workers}: a stack trains in one process; give one of the two"
        )
    if several():
        raise BadInputError(
            f"--stack {stack}: a stack trains in one process, and each run uses several; give auto or off"
        )


def choose_lanes(runs: Sequence[RunConfig], stack: Stack) -> StackChoice:
    """How many of these runs, which are one group of `scaling.train.loop.groups`, train at a time."""
    names = tuple(run.name for run in runs)
    if stack == "off" or stack == 1:
        return StackChoice(names, 1)
    if (reason := why_alone(runs[0])) is not None:
        return StackChoice(names, 1, reason=reason)
    if isinstance(stack, int):
        return StackChoice(names, min(stack, len(runs)))
    platform = jax.default_backend()
    if len(runs) == 1 or several() or platform == "cpu":
        return StackChoice(names, 1, reason="slower on a CPU" if platform == "cpu" and len(runs) > 1 else "")
    devices = jax.devices()
    return estimated_choice(runs, hardware_of(platform, devices[0].device_kind), len(devices))


def hardware_of(platform: str, kind: str) -> Hardware:
    """The hardware config of a device by the name that JAX gives its kind."""
    kinds = _KINDS[platform]
    return load_hardware(next((name for part, name in kinds.items() if part in kind), [*kinds.values()][-1]))


def estimated_choice(runs: Sequence[RunConfig], hardware: Hardware, devices: int) -> StackChoice:
    """The number of lanes that is estimated to be the fastest on so many devices."""
    names = tuple(run.name for run in runs)
    best = StackChoice(names, 1)
    for lanes in range(2, min(len(runs), _MOST_LANES) + 1):
        try:
            found = stacked_speedup(runs[0], lanes, hardware, devices)
        except (ValueError, BadInputError):  # the mesh: training says what is wrong with it
            return best
        # A number of lanes that the devices divide is faster than the one below it by a step.
        if found is not None and found > max(_WORTH, _BETTER * (best.speedup or 0.0)):
            best = StackChoice(names, lanes, found)
    return best


def stacked_speedup(run: RunConfig, lanes: int, hardware: Hardware, devices: int) -> float | None:
    """How many times as fast `lanes` runs of a shape train in one program as one after the other; None if
    they do not fit in memory.

    The overhead of a step is paid once for all lanes of a device, its work and memory once for each.

    Raises:
        ValueError: the mesh of a run does not fit the devices.
    """
    ways = run_ways(lanes, run.mesh, devices)
    alone = _on(run, run.mesh.resolve(devices), hardware)
    each = _on(run, run.mesh.resolve(devices // ways), hardware)
    on_each = lanes // ways
    if on_each * each.memory.total > each.capacity_bytes:
        return None
    overhead = each.time.overhead
    return lanes * alone.time.seconds / (overhead + on_each * (each.time.seconds - overhead))


def _on(run: RunConfig, mesh: MeshConfig, hardware: Hardware) -> OnDevices:
    chips = max(1, math.prod(mesh.sizes().values()) // hardware.devices_per_chip)
    return on_devices(
        run.model_copy(update={"mesh": mesh}), Devices(hardware=hardware, topology=(chips,)), None
    )


def choices(todo: Sequence[tuple[RunConfig, Path]], stack: Stack) -> list[StackChoice]:
    """The choice for each group of runs of one shape."""
    return [choose_lanes([run for run, _ in group], stack) for group in groups(todo)]
