"""Devices that are not there: what a compiler needs to know of them, and no more.

`scaling.runtime.environment.prepare_environment` must have run before JAX was imported.
"""

import importlib.util
from typing import Any

import jax
from jax.experimental import topologies

from scaling.config.devices import Devices
from scaling.parallel.gpu_targets import TARGETS, target_text
from scaling.runtime.errors import BadInputError

# Kinds that libtpu compiles for, by their names in configs/hardware, and what it calls them.
_TPU = {
    "tpu-v2": "v2",
    "tpu-v3": "v3",
    "tpu-v4": "v4",
    "tpu-v5e": "v5e",
    "tpu-v5p": "v5p",
    "tpu-v6e": "v6e",
    "tpu7x": "tpu7x",
}

_WHY_NOT = {
    "v100": " (CUDA 13 no longer compiles for compute capability 7.0)",
    "mi300x": " (ROCm's is another package)",
}


def absent_devices(devices: Devices) -> list[jax.Device]:
    """Devices to compile for: of a TPU topology, of GPUs without a driver, or simulated ones of this CPU.

    Raises:
        BadInputError: the compiler is not installed, or does not know the kind or the topology.
    """
    match devices.hardware.platform:
        case "tpu":
            return _tpus(devices)
        case "gpu":
            return _gpus(devices)
        case "cpu":
            return _cpus(devices)


def compiler_name(devices: Devices) -> str:
    """How the compiler calls the topology, as `v5p:8x8x8`; GPUs as partitions x hosts x GPUs of a host."""
    name = devices.hardware.name
    match devices.hardware.platform:
        case "tpu":
            return f"{_TPU.get(name, name)}:{'x'.join(map(str, devices.topology))}"
        case "gpu":
            hosts, rest = divmod(devices.count, devices.hardware.chips_per_host)
            if not hosts:
                return f"1x1x{devices.count}"
            return f"1x{devices.count}x1" if rest else f"1x{hosts}x{devices.hardware.chips_per_host}"
        case "cpu":
            return str(devices.count)


def _tpus(devices: Devices) -> list[jax.Device]:
    if importlib.util.find_spec("libtpu") is None:
        raise BadInputError(f"--on {devices}: the TPU compiler is missing; pip install 'scaling-lab[tpu]'")
    kind = devices.hardware.name
    if kind not in _TPU:
        raise BadInputError(f"--on {devices}: the TPU compiler knows {', '.join(_TPU)}")
    options: dict[str, Any] = {}
    if kind == "tpu-v4":
        options["chip_config_name"] = "megacore"  # else a chip is two devices
    if devices.slices > 1:
        options["num_slices"] = devices.slices
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=compiler_name(devices), **options
        ).devices
    except jax.errors.JaxRuntimeError as error:
        known = ", ".join(devices.hardware.topologies)
        raise BadInputError(
            f"--on {devices}: the compiler refuses the topology ({first_line(error)}); known: {known}"
        ) from error
    if len(found) != devices.count:
        raise BadInputError(
            f"--on {devices}: the compiler sees {len(found)} devices where {kind} says "
            f"{devices.hardware.devices_per_chip} a chip, {devices.count} in all"
        )
    return list(found)


def _gpus(devices: Devices) -> list[jax.Device]:
    kind = devices.hardware.name
    if kind not in TARGETS:
        raise BadInputError(
            f"--on {devices}: the compiler that the package brings knows the GPUs {', '.join(TARGETS)}"
            + _WHY_NOT.get(kind, "")
        )
    if importlib.util.find_spec("jax_cuda13_plugin") is None:
        raise BadInputError(f"--on {devices}: the GPU compiler is missing; pip install 'scaling-lab[cuda]'")
    shape = compiler_name(devices)
    try:
        found = topologies.get_topology_desc(
            platform="cuda", topology_name=shape, topology=shape, target_config=target_text(TARGETS[kind])
        ).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError, RuntimeError) as error:
        raise BadInputError(f"--on {devices}: the compiler refuses {shape}: {first_line(error)}") from error
    return list(found)


def _cpus(devices: Devices) -> list[jax.Device]:
    found = jax.devices("cpu")
    if len(found) < devices.count:
        raise BadInputError(f"--on {devices}: this process simulates {len(found)} CPU devices")
    return found[: devices.count]


def first_line(error: Exception) -> str:
    """What an error of the compiler says first, without its code in front."""
    return (str(error).splitlines() or [type(error).__name__])[0].partition(": ")[2] or str(error)
