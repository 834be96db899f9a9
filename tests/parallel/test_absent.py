"""Devices that are not there: topologies, meshes over them, and what is said where there is no compiler."""

import importlib.util

import jax
import pytest

from scaling.config.mesh import MeshConfig
from scaling.parallel.absent import TARGETS, absent_devices, compiler_name, parse_out_of_memory, usable_memory
from scaling.parallel.mesh import make_mesh
from scaling.runtime.errors import BadInputError
from tests.absent import devices, needs_gpu_compiler, needs_tpu_compiler

GIB = 2**30


@needs_tpu_compiler
@pytest.mark.parametrize(
    ("text", "count", "kind"),
    [
        ("tpu-v2:2x2", 8, "TPU v2"),
        ("tpu-v3:4x4", 32, "TPU v3"),
        ("tpu-v4:2x2x1", 4, "TPU v4"),  # a chip is one device
        ("tpu-v5e:4x4", 16, "TPU v5 lite"),
        ("tpu-v5p:8x8x8", 512, "TPU v5"),
        ("tpu-v6e:2x2", 4, "TPU v6 lite"),
        ("tpu7x:2x2x1", 8, "TPU7x"),  # and here two
        ("tpu-v5e:4x4*3", 48, "TPU v5 lite"),
    ],
)
def test_topologies_resolve(text: str, count: int, kind: str) -> None:
    found = absent_devices(devices(text))
    assert len(found) == count == devices(text).count
    assert {device.device_kind for device in found} == {kind}


@needs_tpu_compiler
def test_a_topology_that_the_compiler_refuses() -> None:
    with pytest.raises(BadInputError, match=r"tpu-v5p:3x3x3: .*not divisible.*known: 2x2x1, "):
        absent_devices(devices("tpu-v5p:3x3x3"))


@needs_tpu_compiler
@pytest.mark.parametrize(
    ("text", "gib"),
    [("tpu-v2:2x2", 7.48), ("tpu-v4:2x2x1", 30.75), ("tpu-v5e:2x2", 15.75), ("tpu-v5p:2x2x1", 95.73)],
)
def test_the_compiler_keeps_some_memory_for_itself(text: str, gib: float) -> None:
    usable = usable_memory(absent_devices(devices(text))[0])
    assert usable is not None
    assert usable / GIB == pytest.approx(gib, abs=0.02)


@needs_tpu_compiler
@pytest.mark.parametrize(
    "mesh", [{"fsdp": 64, "tensor": 8}, {"fsdp": 512}, {"data": 2, "fsdp": 64, "tensor": 4}]
)
def test_any_mesh_lies_on_a_torus(mesh: dict[str, int]) -> None:
    made = make_mesh(MeshConfig(**mesh), absent_devices(devices("tpu-v5p:8x8x8")))
    assert {axis: size for axis, size in made.shape.items() if size > 1} == mesh
    assert len({device.id for device in made.devices.flat}) == 512


@needs_tpu_compiler
def test_tensor_parallel_devices_are_neighbours() -> None:
    made = make_mesh(MeshConfig(fsdp=64, tensor=8), absent_devices(devices("tpu-v5p:8x8x8")))
    for ring in made.devices.reshape(64, 8):
        coordinates = list(zip(*(device.coords for device in ring), strict=True))
        assert sorted(len(set(axis)) for axis in coordinates) == [1, 1, 8]


@needs_tpu_compiler
def test_slices_split_the_data_axis() -> None:
    found = absent_devices(devices("tpu-v5e:2x2*2"))
    made = make_mesh(MeshConfig(data=4, fsdp=2), found)
    assert [{device.slice_index for device in row.flat} for row in made.devices] == [{0}, {0}, {1}, {1}]
    with pytest.raises(BadInputError, match=r"mesh.data=1 does not divide over 2 slices"):
        make_mesh(MeshConfig(fsdp=8), found)


@needs_gpu_compiler
@pytest.mark.parametrize("kind", sorted(TARGETS))
def test_gpus_resolve(kind: str) -> None:
    found = absent_devices(devices(f"{kind}:16"))
    assert len(found) == 16
    assert found[0].platform == "gpu"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tpu-v5p:8x8x8", "v5p:8x8x8"),
        ("h100-sxm:4", "1x1x4"),
        ("h100-sxm:32", "1x4x8"),
        ("h100-sxm:12", "1x12x1"),
    ],
)
def test_what_the_compiler_calls_them(text: str, name: str) -> None:
    assert compiler_name(devices(text)) == name


@pytest.mark.parametrize(("text", "why"), [("v100:8", "CUDA 13"), ("mi300x:8", "ROCm")])
def test_gpus_that_no_compiler_here_knows(text: str, why: str) -> None:
    with pytest.raises(BadInputError, match=rf"{text}.*h100-sxm.*{why}"):
        absent_devices(devices(text))


@pytest.mark.parametrize(("text", "extra"), [("tpu-v5e:2x2", "tpu"), ("h100-sxm:8", "cuda")])
def test_a_missing_compiler_says_what_to_install(
    text: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInputError, match=rf"{text}: .*pip install 'scaling-lab\[{extra}\]'"):
        absent_devices(devices(text))


def test_out_of_memory_is_read_from_what_the_compiler_says() -> None:
    placed = parse_out_of_memory(
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
        "Used 63.80G of 30.75G hbm. Exceeded hbm capacity by 33.05G."
    )
    assert placed is not None
    assert placed.needed_bytes == pytest.approx(63.80 * GIB, abs=1)
    assert placed.capacity_bytes == 30.75 * GIB
    assert placed.over_by_bytes == pytest.approx(33.05 * GIB, abs=2)
    early = parse_out_of_memory(
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required "
        "for HLO temporaries (2.00T) exceeds available HBM (15.75G). HLO module: jit__step."
    )
    assert early is not None
    assert (early.needed_bytes, early.capacity_bytes) == (2 * 2**40, 15.75 * GIB)
    assert parse_out_of_memory("INTERNAL: something else (12G)") is None


def test_simulated_cpus() -> None:
    assert len(jax.devices("cpu")) == 8
    assert make_mesh(MeshConfig(fsdp=4), jax.devices("cpu")).size == 4
