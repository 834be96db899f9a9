"""A mixture over 8 devices: the numbers of one device, and the exchange that the estimator counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from scaling.config.load import load_run
from scaling.estimate.layout import layout_of
from scaling.estimate.work import work_of
from scaling.models.mixture import MixtureOfExperts
from scaling.parallel.mesh import batch_sharding, make_mesh, placed, shardings
from scaling.parallel.program_costs import count_collectives

MESHES = [
    pytest.param({"expert": 8}, marks=pytest.mark.slow),
    {"data": 2, "expert": 4},
    {"fsdp": 2, "expert": 2, "context": 1, "tensor": 2},
    {"fsdp": 8},
]


def run_of(mesh: dict[str, int], top_k: int) -> Any:
    mixture = {"experts": 8, "top_k": top_k, "every": 1, "capacity_factor": 0.75, "router_z_loss": 0.1}
    model = {
        "vocab_size": 64, "max_length": 16, "n_layers": 1, "d_model": 64, "n_heads": 2, "d_ff": 32,
        "gated": True, "init_std": 0.2, "mixture": mixture,
    }  # fmt: skip
    train = {"batch_tokens": 8 * 16, "steps": 1, "learning_rate": 1e-3}
    return load_run({"model": model, "data": {"sequence_length": 16}, "train": train, "mesh": mesh})


def loss(made: MixtureOfExperts, x_BLD: jax.Array, mask_BL: jax.Array) -> tuple[jax.Array, Any]:
    y_BLD, losses = made(x_BLD, None, mask_BL)
    return (y_BLD**2).mean() + losses.balance + losses.z, losses


def inputs() -> tuple[jax.Array, jax.Array]:
    x_BLD = jax.random.normal(jax.random.key(1), (8, 16, 64))
    return x_BLD, jnp.arange(8)[:, None] + jnp.arange(16) < 18  # the last rows end in padding


@pytest.mark.parametrize("top_k", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mesh", MESHES, ids=lambda mesh: "x".join(f"{k}{v}" for k, v in mesh.items()))
def test_eight_devices_give_the_numbers_of_one(mesh: dict[str, int], top_k: int) -> None:
    run = run_of(mesh, top_k)
    made, devices = MixtureOfExperts(run.model, jax.random.key(0)), make_mesh(run.mesh)

    def on_mesh(*arguments: Any) -> Any:
        with placed(devices):
            return loss(*arguments)

    where = (shardings(made, devices), *(batch_sharding(x.shape, devices) for x in inputs()))
    function = jax.value_and_grad(on_mesh, (0, 1), has_aux=True)
    compiled = jax.jit(function, in_shardings=where, out_shardings=(None, where[:2])).lower(made, *inputs())
    program = compiled.compile()
    ours = program(*jax.device_put((made, *inputs()), where))
    want = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(made, *inputs())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, want)
    assert want[0][1].dropped > 0

    layout = layout_of(run, 8)
    said = [t for t in work_of(run, layout, "cpu").exposed if t.axis == "expert"]
    sent = sum(t.count * t.size / layout.expert for t in said)
    found, _ = count_collectives(program.as_text())
    assert found.all_to_all.bytes == pytest.approx(sent, rel=0.01)  # and the gates of the slots, unestimated
    # Nothing gathers what is as large as tokens: routing stays with its rows.
    assert found.collective_permute.count == 0
    weights = sum(leaf.size for leaf in jax.tree.leaves(made)) * 4
    assert found.all_gather.bytes <= 3 * weights / layout.expert / layout.tensor + 4 * 4 * made.router.size


def test_where_parameters_lie() -> None:
    run = run_of({"fsdp": 2, "expert": 2, "context": 1, "tensor": 2}, 1)
    made = MixtureOfExperts(run.model, jax.random.key(0))
    placed_at = shardings(made, make_mesh(run.mesh))
    found = {
        name: value.get_value().spec
        for name, value in vars(placed_at).items()
        if isinstance(value, nnx.Param)
    }
    assert found == {
        "router": PartitionSpec("fsdp", "expert"),
        "up": PartitionSpec("expert", "fsdp", "tensor"),
        "gate": PartitionSpec("expert", "fsdp", "tensor"),
        "down": PartitionSpec("expert", "tensor", "fsdp"),
        "up_bias": PartitionSpec("expert", "tensor"),
        "gate_bias": PartitionSpec("expert", "tensor"),
        "down_bias": PartitionSpec("expert"),
    }
    assert batch_sharding((8, 16), make_mesh(run.mesh)).spec == PartitionSpec(("fsdp", "expert"))
