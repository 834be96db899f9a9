"""Compiling for devices that you do not have: their descriptions and memory, and the compilers' messages.

`scaling.runtime.environment.prepare_environment` must run before JAX is imported.
"""

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from scaling.config.devices import Devices
from scaling.config.record import OutOfMemory
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
    """Devices to compile for: of a TPU topology, GPUs without a driver, or simulated devices of this CPU.

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
    """The compiler's name of the topology, as `v5p:8x8x8`; for GPUs partitions x hosts x GPUs per host."""
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
    """The first line of a compiler's error, without its code."""
    return (str(error).splitlines() or [type(error).__name__])[0].partition(": ")[2] or str(error)


@dataclass(frozen=True)
class Target:
    """What the CUDA driver would report for a GPU. A core here is a streaming multiprocessor."""

    title: str
    capability: int  # compute capability, the part before the dot
    cores: int
    fpus_per_core: int
    clock_ghz: float
    memory_bytes: int
    memory_bandwidth: int  # bytes per second
    l2_bytes: int
    shared_per_core: int  # bytes
    shared_per_block: int  # bytes, at most, on request


# By names in configs/hardware. Facts: XLA's device descriptions (github.com/openxla/xla, folder
# xla/backends/gpu/target_config/specs, read 2026-11), prints of what drivers answered; cores and bandwidths
# agree with NVIDIA's data sheets.
TARGETS = {
    "a100-40gb": Target(
        "NVIDIA A100-SXM4-40GB", 8, 108, 64, 1.41, 42331013120, 1555200000000, 41943040, 167936, 166912
    ),
    "a100-80gb": Target(
        "NVIDIA A100-SXM4-80GB", 8, 108, 64, 1.41, 85100068864, 2039040000000, 41943040, 167936, 166912
    ),
    "h100-sxm": Target(
        "NVIDIA H100 80GB HBM3", 9, 132, 128, 1.98, 84942979072, 3352320000000, 52428800, 233472, 232448
    ),
    "h100-pcie": Target(
        "NVIDIA H100 PCIe", 9, 114, 128, 1.755, 84942979072, 2039040000000, 52428800, 233472, 232448
    ),
    "h200": Target(
        "NVIDIA H200 141GB HBM3e", 9, 132, 128, 1.98, 151397597184, 4800000000000, 52428800, 233472, 232448
    ),
    "b200": Target(
        "NVIDIA B200", 10, 148, 128, 1.965, 191514411008, 7672320000000, 132644864, 233472, 232448
    ),
}


def target_text(target: Target) -> str:
    """A target in the protocol buffer text format that the CUDA plugin reads."""
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 shared_memory_per_block: 49152
  core_count: {target.cores} fpus_per_core: {target.fpus_per_core} clock_rate_ghz: {target.clock_ghz}
  device_memory_size: {target.memory_bytes} memory_bandwidth: {target.memory_bandwidth}
  l2_cache_size: {target.l2_bytes} shared_memory_per_core: {target.shared_per_core}
  shared_memory_per_block_optin: {target.shared_per_block}
  cuda_compute_capability {{ major: {target.capability} minor: 0 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "{target.title}"
"""


_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = r"([0-9.]+)([KMGTP]?)"
# Two forms of the message: before and after temporaries are assigned memory.
_PATTERNS = (
    re.compile(rf"Used {_SIZE} of {_SIZE} hbm"),
    re.compile(rf"required for [^(]*\({_SIZE}\) exceeds available HBM \({_SIZE}\)"),
)


def parse_out_of_memory(text: str) -> OutOfMemory | None:
    """Bytes needed and available, from an error of the TPU compiler; None for another error.

    The compiler rounds to a hundredth of its unit.
    """
    for pattern in _PATTERNS:
        match = pattern.search(text)
        if match is not None:
            number, unit, there, its_unit = match.groups()
            needed, capacity = round(float(number) * _UNITS[unit]), round(float(there) * _UNITS[its_unit])
            return OutOfMemory(
                needed_bytes=needed, capacity_bytes=capacity, over_by_bytes=max(0, needed - capacity)
            )
    return None


def usable_memory(tpu: jax.Device) -> int | None:
    """Bytes of a TPU's memory that programs may use: the runtime reserves some.

    Found by compiling a program that fits no device; None if the compiler accepts it.
    """
    tebibyte = jax.ShapeDtypeStruct((2**20, 2**20), jnp.uint8, sharding=SingleDeviceSharding(tpu))
    try:
        jax.jit(lambda x: x + 1).lower(tebibyte).compile()
    except jax.errors.JaxRuntimeError as error:
        said = parse_out_of_memory(str(error))
        return None if said is None else said.capacity_bytes
    return None


class Noise:
    """What was written to file descriptor 2 in the meantime."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def last_lines(self, count: int = 5) -> list[str]:
        """The last lines that are not empty; readable inside `captured_noise` only."""
        self._file.seek(0)
        text = self._file.read().decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()][-count:]


@contextmanager
def captured_noise() -> Iterator[Noise]:
    """Redirect file descriptor 2 to a temporary file inside the context.

    libtpu and XLA write there from C++, past `sys.stderr`. Messages to the user inside the context need a
    copy of the earlier descriptor.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield Noise(file)
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
