"""Memory: exact where it is exact, the published measurements, and what must hold whatever the numbers."""

import json
import math
import statistics
from pathlib import Path

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.devices import parse_devices
from scaling.config.load import load_model, load_run
from scaling.config.mesh import MeshConfig
from scaling.estimate import conventions
from scaling.estimate.counts import tensors
from scaling.estimate.layout import Layout, array_bytes, layout_of
from scaling.estimate.memory import memory
from scaling.estimate.optimizers import state_bytes
from scaling.parallel.mesh import make_mesh, shardings
from tests.estimate.megatron_settings import megatron_case

GIB = 2**30

# Korthikanti et al. 2022, arXiv:2205.05198, figures 1 and 7: GiB of parameters and optimizer, of activations
# without recomputation and with sequence parallelism and selective recomputation.
MEGATRON = {
    "22B": (45.5625, 59.25, 9.5625),
    "175B": (45.5625, 66.84375, 12.3515625),
    "530B": (31.640625, 114.0234375, 23.076171875),
    "1T": (32.958984375, 131.25, 26.5625),
}


@pytest.mark.parametrize("name", MEGATRON)
@pytest.mark.parametrize("recompute", ["none", "selective"])
def test_megatron_measured(name, recompute):
    """The paper's figures of an A100, which follow its equations: within 1%; the issue asks for 10%."""
    model, layout = megatron_case(name, recompute == "selective")
    ours = conventions.megatron_memory(model, layout, recompute)
    state, none, selective = MEGATRON[name]
    assert ours.parameters_and_optimizer / GIB == pytest.approx(state, rel=0.01)
    want = {"none": none, "selective": selective}[recompute]
    assert ours.activations / GIB == pytest.approx(want, rel=0.01)


def tiny(**train):
    model = {"vocab_size": 512, "max_length": 64, "n_layers": 2, "d_model": 256, "n_heads": 4}
    return load_run(
        {
            "model": model,
            "data": {"sequence_length": 64},
            "train": {"steps": 1, "batch_tokens": 8 * 64, "learning_rate": 1e-3, **train},
        }
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mesh", [{}, {"fsdp": 4, "tensor": 2}], ids=["one", "fsdp4 tensor2"])
@pytest.mark.parametrize("optimizer", ["adamw", "lion", "muon", "adafactor"])
def test_state_equals_the_trainer(optimizer, mesh, dtype):
    """Bytes of parameters and optimizer on one device are those of the trainer's own arrays."""
    from scaling.train.step import abstract_state

    run = tiny(optimizer=optimizer)
    run = run.model_copy(update={"model": run.model.model_copy(update={"param_dtype": dtype})})
    state = abstract_state(run)
    layout = make_mesh(MeshConfig(**mesh))
    placed = shardings(state, layout)

    def held(tree, where):
        return sum(
            math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf, sharding in zip(jax.tree.leaves(tree), jax.tree.leaves(where), strict=True)
            if leaf.ndim
        )

    sizes = MeshConfig(**mesh).sizes()
    parts = tensors(run.model)
    ours = memory(run, _layout(run, sizes), "cpu")
    assert ours.params == held(state.model, placed.model)
    want = held(state.optimizer, placed.optimizer)
    # Muon keeps its three coefficients; Adafactor one number in place of each moment it does not keep.
    slack = {"muon": 12, "adafactor": 4 * 3 * len(parts)}.get(optimizer, 0)
    assert want - slack <= state_bytes(optimizer, parts, sizes, "cpu") <= want


def _layout(run, sizes):
    ways = {axis: size for axis, size in sizes.items() if axis != "stage"}
    return Layout(**ways, rows=run.train.batch_tokens // 64, length=64)


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((8, 128), "float32", 4096),
        ((50257, 48), "float32", 48 * 50304 * 4),  # the long axis innermost
        ((12, 48, 12, 64), "float32", 12 * 12 * 48 * 128 * 4),
        ((2, 1024), "int32", 2 * 1024 * 4),
        ((16, 128), "bfloat16", 4096),
        ((), "float32", 4),
    ],
)
def test_tpu_tiles(shape, dtype, size):
    """Layouts that the TPU compiler was seen to choose."""
    assert array_bytes(shape, dtype, "tpu") == size


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["gpt2-124m", "gpt3-1.3b", "bert-base", "t5-base", "llama-7b", "switch-base-8"]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
)
def test_more_of_anything_that_saves_memory_saves_memory(name, fsdp, tensor, accumulation):
    # A vocabulary that no number of ways divides would lie whole on every device.
    model = load_model(name, ["compute_dtype=bfloat16", "vocab_size=32768"])

    def peak(remat="none", fsdp=fsdp, tensor=tensor):
        run = load_run(
            {
                "model": model.model_dump() | {"remat": remat},
                "data": {"sequence_length": 512},
                "train": {"steps": 1, "batch_tokens": 512 * 64, "learning_rate": 1e-3},
                "mesh": {"fsdp": fsdp, "tensor": tensor},
            },
            [f"train.accumulation={accumulation}"],
        )
        return memory(run, layout_of(run, fsdp * tensor), "gpu").total

    assert peak("full") <= peak("dots") <= peak("none")
    assert peak(fsdp=2 * fsdp) < peak()
    if tensor < 4:
        assert peak(tensor=2 * tensor) < peak()


def test_peaks_that_the_tpu_compiler_gave():
    """What `benchmarks/memory.py` compiled: arguments to 0.1%, peak to 5% in the median and 15% at worst."""
    steps = json.loads(Path(__file__).with_name("compiled_steps.json").read_text())["steps"]
    off = []
    for step in steps:
        length = step.get("length") or load_model(step["model"]).max_length
        dropout = step.get("dropout", 0.0)
        base = {"base": step["model"], "dropout": dropout, "scan_layers": True, "compute_dtype": "bfloat16"}
        run = load_run(
            {
                "model": base | step.get("changes", {}) | {"remat": step["remat"]},
                "data": {"sequence_length": length},
                "train": {
                    "steps": 1,
                    "batch_tokens": step["rows"] * length,
                    "learning_rate": 1e-3,
                    "accumulation": step["accumulation"],
                },
                "mesh": step["mesh"],
            }
        )
        on = parse_devices(step["devices"])
        ours = memory(run, layout_of(run, on.count), on.hardware.platform)
        assert ours.arguments == pytest.approx(step["argument_bytes"], rel=1e-3), step
        off.append(abs(ours.total / step["peak_bytes"] - 1))
    assert len(off) >= 104
    assert statistics.median(off) < 0.05
    assert max(off) < 0.15


def test_full_sixteen_bit_fine_tuning_of_llama_65b():
    """Dettmers et al. 2023, arXiv:2305.14314: more than 780 GB, 12 bytes a parameter."""
    run = load_run(
        {
            "model": load_model("llama-65b", ["param_dtype=bfloat16"]).model_dump(),
            "data": {"sequence_length": 512},
            "train": {"steps": 1, "batch_tokens": 512, "learning_rate": 1e-5},
        }
    )
    ours = memory(run, layout_of(run, 1), "gpu")
    gradients = ours.params  # in the parameters' own type
    assert (ours.params + ours.optimizer + gradients) / 1e9 == pytest.approx(783.4, rel=1e-3)
