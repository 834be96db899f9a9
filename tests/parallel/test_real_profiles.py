"""Profiles of real prints: one step by two versions of the TPU compiler, another by CUDA's.

The prints are complete programs without the bodies of kernels and most settings (`hlo/step-*.txt.gz`). For
TPU: 4 layers of width 256, alternately dense and banded, scanned and rematerialised, 1,024 positions, fully
sharded over 4 chips of v5e. For GPU: 4 LLaMA layers of width 1024 over 8 H100.
"""

import gzip
from pathlib import Path

import pytest

from scaling.config.record import Profile
from scaling.parallel.profile import profile_program
from tests.absent import devices, needs_gpu_compiler, needs_tpu_compiler, tiny_run

PRINTS = Path(__file__).parent / "hlo"
TPU = ("libtpu-0.0.42", "libtpu-0.0.52")


def read(version: str, on: str) -> Profile:
    text = gzip.decompress((PRINTS / f"step-{version}.txt.gz").read_bytes()).decode()
    return profile_program(text, devices(on), top=10_000)


def check(found: Profile) -> None:
    """What holds of every profile."""
    assert sum(found.by_kind.values()) == pytest.approx(found.step_seconds)
    assert sum(line.share for line in found.top) == pytest.approx(1.0)
    for kind, seconds in found.by_kind.items():
        assert sum(line.seconds for line in found.top if line.kind == kind) == pytest.approx(seconds)
    seconds = [line.seconds for line in found.top]
    assert seconds == sorted(seconds, reverse=True) and seconds[-1] >= 0
    assert found.by_kind["collective"] <= found.collective_seconds * (1 + 1e-9) + 1e-12
    assert not any("counted" in note for note in found.notes)  # every loop, branch and mask is known


@pytest.mark.parametrize("version", TPU)
def test_tpu(version: str) -> None:
    found = read(version, "tpu-v5e:2x2")
    check(found)
    assert found.cycles == pytest.approx(found.step_seconds * 1.5e9)
    assert found.cycles == pytest.approx(
        {"libtpu-0.0.42": 2.777e6, "libtpu-0.0.52": 2.676e6}[version], rel=0.01
    )
    assert found.priced_by_compiler > 0.7
    # Of what the compiler prices, the roofline is the least possible.
    assert found.roofline.compute_seconds < found.by_kind["matmul"] + found.by_kind["attention"]
    assert found.roofline.step_seconds < found.step_seconds
    # Four layers, forward, recomputed and backward in two kernels: 16 calls.
    kernels = [line for line in found.top if line.kind == "attention" and "splash" in line.source]
    assert sum(line.seconds for line in kernels) > 0.5 * found.by_kind["attention"]
    sources = {line.source.partition(":")[0] for line in found.top}
    assert {"scaling/models/functional.py", "scaling/models/cross_entropy.py"} <= sources
    assert "optax/_src/transform.py" in sources or "scaling/train/step.py" in sources


def test_two_versions_of_a_compiler_agree() -> None:
    """Their programs differ in copies and collectives; products and kernels are the same."""
    old, new = (read(version, "tpu-v5e:2x2") for version in TPU)
    assert new.by_kind["matmul"] == pytest.approx(old.by_kind["matmul"], rel=0.05)
    assert new.by_kind["attention"] == pytest.approx(old.by_kind["attention"])
    assert new.roofline.compute_seconds == pytest.approx(old.roofline.compute_seconds)
    assert new.step_seconds == pytest.approx(old.step_seconds, rel=0.05)


def test_flops_are_those_of_the_model() -> None:
    """By hand: 8 FLOPs per parameter and position in rematerialised layers, 6 in the head."""
    found = read("libtpu-0.0.52", "tpu-v5e:2x2")
    layers, width, heads, positions, vocabulary = 4, 256, 2, 1024, 512
    products = 8 * layers * 12 * width**2 * positions + 6 * width * vocabulary * positions
    products -= 2 * layers * 4 * width**2 * positions  # the last product of a layer is not computed again
    block = heads * 512 * 512 * (width // heads)
    attention = layers * 3 * block * 2 * (2 + 2 + 3 + 4)  # three of four blocks in each layer
    assert found.roofline.compute_seconds * 197e12 == pytest.approx(products + attention, rel=0.02)


def test_gpu() -> None:
    """The CUDA compiler prints no estimates without a device to tune on: FLOPs and bytes decide."""
    found = read("cuda-0.10.2", "h100-sxm:8")
    check(found)
    assert found.clock_hz is None and found.cycles is None and found.priced_by_compiler == 0
    layers, width, inner, positions, vocabulary = 4, 1024, 2816, 1024, 8192
    size = 4 * width**2 + 3 * width * inner
    products = (
        8 * layers * size + 6 * width * vocabulary
    ) * positions - 2 * layers * width * inner * positions
    attention = layers * positions * (positions + 1) / 2 * width * 2 * (2 + 2 + 5)
    assert found.roofline.compute_seconds * 989e12 == pytest.approx(products + attention, rel=0.02)
    assert any("does not estimate" in note for note in found.notes)


@pytest.mark.slow
@needs_tpu_compiler
def test_the_installed_tpu_compiler_is_read() -> None:
    """Every two more layers, unrolled, take as much longer."""
    from scaling.train.dry_run import dry_run

    spent = []
    for layers in (2, 4, 6):
        run = tiny_run(mesh={"fsdp": 4}, n_layers=layers, scan_layers=False)
        compiled = dry_run(run, devices("tpu-v5e:2x2"), "full")
        assert compiled.profile is not None
        check(compiled.profile.model_copy(update={"top": compiled.profile.top}))
        spent.append(compiled.profile.by_kind["matmul"])
    assert spent[2] - spent[1] == pytest.approx(spent[1] - spent[0], rel=0.2)


@pytest.mark.slow
@needs_gpu_compiler
def test_the_installed_gpu_compiler_is_read() -> None:
    from scaling.train.dry_run import dry_run

    compiled = dry_run(tiny_run(mesh={"fsdp": 8}), devices("h100-sxm:8"))
    assert compiled.profile is not None and compiled.profile.step_seconds > 0
