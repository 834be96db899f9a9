"""The real train step compiled for absent devices, against closed forms and against the step itself."""

import jax
import numpy as np
import pytest

from scaling.config.mesh import MeshConfig
from scaling.models.attention import choices
from scaling.parallel.absent import absent_devices
from scaling.parallel.mesh import make_mesh
from scaling.runtime.errors import BadInputError
from scaling.train.dry_run import abstract_arguments, dry_run, step_flops
from scaling.train.step import TrainStep
from tests.absent import devices, needs_gpu_compiler, needs_tpu_compiler, tiny_run

GIB = 2**30


def test_flops_of_a_step_by_hand() -> None:
    """12 D^2 a layer, the head, all three times; attention: two products forward, five and a sum back."""
    run = tiny_run("train.batch_tokens=512")
    rows, length, width, layers, vocabulary = 4, 128, 128, 2, 512
    dense = 3 * 2 * 12 * width**2 * layers * rows * length
    attention = (7 * length + 1) * 2 * rows * length * width * layers
    head = 3 * 2 * width * vocabulary * rows * length
    assert step_flops(run) == dense + attention + head


def test_accumulation_computes_the_same_and_rematerialisation_more() -> None:
    batch = "train.batch_tokens=512"
    plain = step_flops(tiny_run(batch))
    assert step_flops(tiny_run(batch, "train.accumulation=4")) == plain
    again = step_flops(tiny_run(batch, "model.remat=full"))
    forward = 2 * 12 * 128**2 * 2 * 512
    assert plain + 0.6 * forward < again <= plain + 1.2 * forward


def test_the_step_is_lowered_with_what_the_loop_passes() -> None:
    """The abstract arguments are the real ones: a step called with both compiles once."""
    run = tiny_run(mesh={"fsdp": 8})
    step = TrainStep(run, make_mesh(run.mesh))
    rows = {name: np.zeros((8, 128), np.int32) for name in ("inputs", "targets", "segment_ids", "positions")}
    real = (step.init(0), step.place(rows), np.float32(1e-3), np.int32(0))
    abstract = abstract_arguments(step)
    assert jax.tree.structure(real) == jax.tree.structure(abstract)
    for one, other in zip(jax.tree.leaves(real), jax.tree.leaves(abstract), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if isinstance(one, jax.Array):
            assert one.sharding == other.sharding


@needs_tpu_compiler
def test_a_step_for_four_chips() -> None:
    run = tiny_run(mesh={"fsdp": 4}, d_model=512, n_heads=4)
    found = dry_run(run, devices("tpu-v5e:2x2"))
    assert (found.backend, found.topology, found.effort) == ("tpu", "v5e:2x2", "quick")
    step = TrainStep(run, make_mesh(MeshConfig(fsdp=4), jax.devices("cpu")[:4]))
    mine = [leaf for leaf in jax.tree.leaves(abstract_arguments(step)) if leaf.sharding is not None]
    sizes = [np.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in mine]
    assert found.argument_bytes == pytest.approx(sum(sizes), rel=0.02)  # biases fill up tiles
    # Parameters and both moments, a quarter each, and hardly anything else.
    parameters = sum(leaf.size for leaf in jax.tree.leaves(step.abstract_state.model))
    assert found.argument_bytes == pytest.approx(3 * 4 * parameters / 4, rel=0.02)
    assert found.alias_bytes is not None and found.output_bytes is not None and found.temp_bytes is not None
    assert found.alias_bytes == pytest.approx(found.output_bytes, rel=0.01)
    assert found.argument_bytes < found.peak_bytes <= found.argument_bytes + found.temp_bytes + 2**20
    assert found.fits and found.out_of_memory is None
    assert found.capacity_bytes == pytest.approx(15.75 * GIB, rel=0.01)
    assert found.flops_per_device == step_flops(run) / 4
    assert found.collectives is not None
    # Each parameter of a layer is gathered or reduced at least once.
    moved = found.collectives.all_gather.bytes + found.collectives.collective_permute.bytes
    assert moved + found.collectives.all_reduce.bytes > 2 * 12 * 512**2 * 2
    assert set(found.versions) >= {"jax", "libtpu"}
    assert [(one.implementation, one.why_not) for one in found.attention] == [("splash", None)]


@needs_tpu_compiler
def test_out_of_memory_is_an_answer() -> None:
    run = tiny_run(
        "train.batch_tokens=16384", mesh={"fsdp": 4}, d_model=16384, n_heads=128, n_layers=2, remat="full"
    )
    found = dry_run(run, devices("tpu-v5e:2x2"))
    parameters = 2 * 12 * 16384**2
    assert not found.fits
    assert found.out_of_memory is not None
    assert found.out_of_memory.capacity_bytes == found.capacity_bytes == 15.75 * GIB
    assert found.peak_bytes == found.out_of_memory.needed_bytes > 3 * 4 * parameters / 4
    assert found.out_of_memory.over_by_bytes == found.peak_bytes - found.capacity_bytes
    assert found.argument_bytes == pytest.approx(3 * 4 * parameters / 4, rel=0.01)
    assert found.temp_bytes is None and found.collectives is None


# Overrides of a decoder, by what they change of its attention; an encoder-decoder has relative biases.
ATTENTION: dict[str, tuple[str, ...]] = {
    "grouped, windows": ("model.n_kv_heads=1", "model.layer_pattern=[dense, banded]", "model.band_width=64"),
    "soft cap": ("model.attention_soft_cap=50.0",),
    "prefix": ("objective.name=prefix",),
    "bias": ("model.family=encoder_decoder", "model.positions=relative", "objective.name=spans"),
    "dropout": ("model.dropout=0.1",),
}


@pytest.mark.parametrize(
    ("on", "form", "said"),
    [
        pytest.param("tpu-v5e:2x2", "grouped, windows", [None, None], marks=needs_tpu_compiler),
        pytest.param("tpu-v5e:2x2", "soft cap", [None], marks=needs_tpu_compiler),
        pytest.param("tpu-v5e:2x2", "prefix", [None], marks=needs_tpu_compiler),
        pytest.param("tpu-v5e:2x2", "bias", ["biases", "biases", None], marks=needs_tpu_compiler),
        pytest.param("tpu-v5e:2x2", "dropout", ["drops"], marks=needs_tpu_compiler),
        pytest.param("h100-sxm:4", "grouped, windows", [None, None], marks=needs_gpu_compiler),
        pytest.param("h100-sxm:4", "soft cap", ["soft-capping"], marks=needs_gpu_compiler),
        pytest.param("h100-sxm:4", "prefix", [None], marks=needs_gpu_compiler),
        pytest.param("h100-sxm:4", "bias", [None, "even", "even"], marks=needs_gpu_compiler),
        pytest.param("h100-sxm:4", "dropout", ["drops"], marks=needs_gpu_compiler),
    ],
)
def test_each_attention_has_a_kernel_or_a_reason(on: str, form: str, said: list[str | None]) -> None:
    """What `dry_run` lists; the tests of the kernels compile them."""
    run = tiny_run(*ATTENTION[form], mesh={"fsdp": 4})
    step = TrainStep(run, make_mesh(run.mesh, absent_devices(devices(on))))
    with choices() as found:
        step.step.trace(*abstract_arguments(step))
    for one, reason in zip(dict.fromkeys(found), said, strict=True):
        assert (one.implementation in ("splash", "cudnn")) == (one.why_not is None)
        assert one.why_not is None if reason is None else reason in str(one.why_not)


@needs_gpu_compiler
def test_a_step_for_eight_gpus() -> None:
    found = dry_run(tiny_run(mesh={"fsdp": 8}), devices("h100-sxm:8"))
    assert (found.backend, found.topology) == ("cuda", "1x1x8")
    assert found.fits and found.collectives is not None
    assert found.collectives.all_gather.count > 0


@pytest.mark.parametrize("mesh", [{"fsdp": 2}, {"fsdp": 8}, {"data": 3, "fsdp": -1}])
def test_a_mesh_that_does_not_take_all_devices(mesh: dict[str, int]) -> None:
    run = tiny_run("train.batch_tokens=3072").model_copy(update={"mesh": MeshConfig(**mesh)})
    with pytest.raises(BadInputError, match=r"--on tpu-v5e:2x2: mesh .*4"):
        dry_run(run, devices("tpu-v5e:2x2"))
