"""What tests of absent devices share: kinds, runs, and which compilers are installed."""

import importlib.util
from typing import Any

import pytest

from scaling.config.devices import Devices, parse_devices
from scaling.config.load import load_run
from scaling.config.run import RunConfig
from scaling.runtime.environment import prepare_environment

needs_tpu_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: pip install 'scaling-lab[tpu]'"
)
needs_gpu_compiler = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None,
    reason="needs the CUDA plugin: pip install 'scaling-lab[cuda]'",
)

# libtpu reads it when it is loaded.
prepare_environment("tpu")


def devices(text: str) -> Devices:
    return parse_devices(text)


def tiny_run(*overrides: str, mesh: dict[str, int] | None = None, **model: Any) -> RunConfig:
    """Two layers, every shape a multiple of the TPU's tiles; one sequence of 128 a batch shard."""
    sizes = mesh or {}
    rows = sizes.get("data", 1) * sizes.get("fsdp", 1) * sizes.get("expert", 1)
    tree = {
        "name": "tiny",
        "model": {
            "vocab_size": 512, "max_length": 128, "n_layers": 2, "d_model": 128, "n_heads": 2,
            "compute_dtype": "bfloat16", "scan_layers": True, **model,
        },
        "data": {"sequence_length": 128},
        "train": {"batch_tokens": rows * 128, "steps": 10, "learning_rate": 1e-3},
        "mesh": sizes,
    }  # fmt: skip
    return load_run(tree, overrides)
