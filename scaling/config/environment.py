"""What JAX reads from the environment when it is imported: which platform to start, and how quietly."""

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

# What a driver leaves in /dev: TPU chips (accel*, and vfio groups on newer hosts), NVIDIA, WSL2, AMD.
_DEVICE_FILES = ("accel*", "vfio/[0-9]*", "nvidia[0-9]*", "nvidiactl", "dxg", "kfd")
_SIMULATED = "--xla_force_host_platform_device_count="


def accelerator_present(devices: Path = Path("/dev")) -> bool:
    """Whether a driver of an accelerator has left a device file in a directory."""
    return any(next(devices.glob(pattern), None) is not None for pattern in _DEVICE_FILES)


def choose_platform(environment: MutableMapping[str, str] = os.environ, devices: Path = Path("/dev")) -> None:
    """Start JAX on the CPU where there is nothing else, unless a person chose a platform.

    With the `tpu` or `cuda` extra installed JAX would look for chips first, and complain at length.
    """
    if "JAX_PLATFORMS" not in environment and not accelerator_present(devices):
        environment["JAX_PLATFORMS"] = "cpu"


def prepare_environment(
    platform: str, count: int = 1, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Make this process ready to compile for `count` absent devices of a platform: tpu, gpu or cpu.

    Must run before JAX is imported, which happens nowhere in `scaling.config`. The process itself computes on
    the CPU, also where there are real devices: a dry run leaves them to those who train.
    """
    environment["JAX_PLATFORMS"] = "cpu"
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",  # no metadata server of a cloud is asked what this machine is
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compiling needs no chip, so several dry runs may go on at once
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
