"""The environment that JAX reads when it is imported: platform, allocator, verbosity of its libraries."""

import os
import platform as machine
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from scaling.runtime.errors import BadInputError

# What a driver leaves in /dev: TPU chips (accel*, and vfio groups on newer hosts), NVIDIA, WSL2, AMD.
_DEVICE_FILES = ("accel*", "vfio/[0-9]*", "nvidia[0-9]*", "nvidiactl", "dxg", "kfd")
_SIMULATED = "--xla_force_host_platform_device_count="

# Make glibc's malloc keep freed memory: XLA's CPU back end returns its buffers to the kernel at every step,
# and takes page faults to get them back. Both are measured by benchmarks/throughput.py.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
}
_SWITCH = "SCALING_ALLOCATOR"
# If one of these is set, the user chose an allocator or its settings.
_CHOSEN = ("LD_PRELOAD", "GLIBC_TUNABLES")


def accelerator_present(devices: Path = Path("/dev")) -> bool:
    """Whether a driver of an accelerator has left a device file in a directory."""
    return any(next(devices.glob(pattern), None) is not None for pattern in _DEVICE_FILES)


def choose_platform(environment: MutableMapping[str, str] = os.environ, devices: Path = Path("/dev")) -> None:
    """Start JAX on the CPU if there is nothing else, unless the user chose a platform.

    With the `tpu` or `cuda` extra installed, JAX would look for chips first and print long warnings.
    """
    if "JAX_PLATFORMS" not in environment and not accelerator_present(devices):
        environment["JAX_PLATFORMS"] = "cpu"


def tune_allocator(
    environment: Mapping[str, str] = os.environ,
    restart: Callable[[str, list[str], dict[str, str]], object] = os.execve,
) -> None:
    """Restart this process with `ALLOCATOR` in its environment if training will run on the CPU.

    malloc reads its settings when a process starts. Nothing happens without glibc, on an accelerator, if
    an allocator or one of its settings was chosen, or with SCALING_ALLOCATOR=system. Call it first, after
    `choose_platform`.

    Raises:
        BadInputError: SCALING_ALLOCATOR has another value.
    """
    switch = environment.get(_SWITCH, "tuned")
    if switch not in ("tuned", "system"):
        raise BadInputError(f"{_SWITCH}={switch!r}: give tuned or system")
    chosen = any(name.startswith("MALLOC_") or name in _CHOSEN for name in environment)
    on_cpu = environment.get("JAX_PLATFORMS") == "cpu"
    if switch == "tuned" and on_cpu and not chosen and machine.libc_ver()[0] == "glibc":
        restart(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment, **ALLOCATOR})


def prepare_environment(
    platform: str, count: int = 1, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Prepare this process to compile for `count` devices that it does not have: tpu, gpu or cpu.

    Must run before JAX is imported, which happens nowhere in `scaling.config`. The process itself computes on
    the CPU, even if there are real devices: a dry run leaves them to training jobs.
    """
    environment["JAX_PLATFORMS"] = "cpu"
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",  # do not query a cloud's metadata server
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compiling needs no chip, so several dry runs may run at once
        "TPU_LOG_DIR": "disabled",  # else libtpu writes logs below the temporary directory
        "TPU_MIN_LOG_LEVEL": "3",
        "TPU_STDERR_LOG_LEVEL": "3",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # the plugin is loaded without a driver
    }.items():
        environment.setdefault(name, value)
    if platform == "cpu":
        flags = environment.get("XLA_FLAGS", "")
        if not re.search(re.escape(_SIMULATED), flags):
            environment["XLA_FLAGS"] = f"{flags} {_SIMULATED}{count}".strip()
