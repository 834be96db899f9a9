"""What a run is running on: device facts, its measured matmul peak, versions, memory."""

import functools
import importlib.metadata
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from scaling import __version__


@functools.cache
def matmul_peak(dtype: str) -> float:
    """FLOP/s of one device on a large square matmul in `dtype`: the best of several, after a warm-up.

    Utilisation is stated against this, measured in the same process: a data sheet's peak says nothing about
    a shared CPU.
    """
    n = 1024 if jax.default_backend() == "cpu" else 8192
    repeats = 4
    x = jnp.ones((n, n), dtype)

    @jax.jit
    def product(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, repeats, lambda _, y: (y @ x) * (1.0 / n), x)

    product(x).block_until_ready()
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        product(x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return repeats * 2.0 * n**3 / best


def device_facts(dtype: str, count: int) -> dict[str, str | int | float | None]:
    """Kind and number of devices of a run, and the peak that its utilisation is stated against."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": count,
        "hosts": jax.process_count(),
        "peak_flops": _peak(dtype),
        "peak_source": f"measured {dtype} matmul",
        "host": platform.machine(),
    }


def _peak(dtype: str) -> float:
    """The peak of one device. Simulated CPU devices share the host's cores, and so its peak."""
    shared = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    return matmul_peak(dtype) / shared


def peak_memory_bytes() -> int | None:
    """Peak bytes in use on the first device; on CPU, of the process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    found = {"python": platform.python_version(), "scaling": __version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """The commit of the checkout this package runs from; None outside one."""
    try:
        result = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None
