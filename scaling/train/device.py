"""The devices that a run uses: their measured rates, versions and memory, and traces of its steps."""

import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from scaling import __version__
from scaling.config.devices import THIS_CPU, load_hardware
from scaling.config.hardware import Hardware
from scaling.config.train import ProfileConfig
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root, write_atomically


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


_COPIED = 2**28  # bytes, well beyond any cache


def measure_this_cpu() -> Hardware:
    """Measure matrix products in both types, memory and its bandwidth, and remember them. Takes seconds."""
    source = np.ones(_COPIED // 8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - began)
    measured = load_hardware("cpu").model_copy(
        update={
            "peak_flops": {kind: matmul_peak(kind) for kind in ("float32", "bfloat16")},
            "memory_bandwidth": 2 * _COPIED / best,  # read and written
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        }
    )
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
        write_atomically(cache_root() / THIS_CPU, measured.model_dump_json(indent=1).encode())
    except (OSError, BadInputError):
        pass  # measured again next time
    return measured


NAME = "profile"


class ProfileWindow:
    """Traces the steps of a window into a directory: `plugins/profile/TIME/` there is XProf's, and its
    `*.trace.json.gz` opens in Perfetto. A run that starts inside the window traces what is left of it."""

    def __init__(self, config: ProfileConfig, directory: Path) -> None:
        self._window = config.window
        self._directory = directory / NAME
        self._running = False

    def step(self, step: int) -> AbstractContextManager[object]:
        """A context for dispatching a step (counted from 1): starts the trace, and names the step in it."""
        if self._window is None or not self._window[0] <= step < self._window[1]:
            return nullcontext()
        if not self._running:
            jax.profiler.start_trace(self._directory)
            self._running = True
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def last(self, step: int) -> bool:
        """Whether the step ends the trace, and so is to be waited for."""
        return self._running and self._window is not None and step + 1 >= self._window[1]

    def close(self) -> None:
        """End the trace, if one is running; a window is traced once."""
        if self._running:
            self._running, self._window = False, None
            jax.profiler.stop_trace()
