"""This computer as a device: measured once, then remembered."""

import os
import time

import numpy as np

from scaling.config.devices import THIS_CPU, load_hardware
from scaling.config.hardware import Hardware
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root, write_atomically
from scaling.train.device import matmul_peak

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
