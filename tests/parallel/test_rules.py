"""The rules from logical axes to mesh axes, held by a golden sharding table."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from scaling.config.load import load_run
from scaling.config.mesh import DEFAULT_RULES, MeshConfig, Rules
from scaling.models.axes import param
from scaling.parallel.mesh import abstract_mesh, make_mesh, partition, sharding_table
from scaling.runtime.errors import BadInputError
from scaling.train.step import abstract_state

GOLDEN = Path(__file__).parent / "sharding_table.txt"
MESHES = {
    "data=8": MeshConfig(data=8),
    "fsdp=8": MeshConfig(fsdp=8),
    "fsdp=4,tensor=2": MeshConfig(fsdp=4, tensor=2),
    "data=2,fsdp=2,tensor=2": MeshConfig(data=2, fsdp=2, tensor=2),
}


def _tables() -> str:
    lines = []
    for model in ("gpt2-124m", "cpu-213k"):
        run = load_run("cpu", [f"model={model}", "train.batch_tokens=8192"])
        state = abstract_state(run)
        for name, config in MESHES.items():
            lines.append(f"{model} on {name}")
            for row in sharding_table(state.model, abstract_mesh(config, 8)):
                lines.append("  " + " | ".join(row))
    return "\n".join(lines) + "\n"


def test_the_sharding_table_is_the_golden_one() -> None:
    """A change of rules is seen in review: `UPDATE_GOLDEN=1 pytest` writes the new table to look at."""
    import os

    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(_tables())
    assert _tables() == GOLDEN.read_text()


def test_one_mesh_axis_is_never_used_twice() -> None:
    mesh = abstract_mesh(MeshConfig(fsdp=2, tensor=2), 4)
    rules = Rules(mlp="fsdp")
    with pytest.raises(ValueError, match="twice"):
        partition(rules, ("embed", "mlp"), (8, 8), mesh)
    with pytest.raises(ValueError, match="no rule"):
        partition(rules, ("colour",), (8,), mesh)


def test_what_does_not_divide_is_replicated() -> None:
    mesh = abstract_mesh(MeshConfig(fsdp=2, tensor=2), 4)
    assert partition(DEFAULT_RULES, ("vocab", "embed"), (257, 64), mesh) == PartitionSpec(None, "fsdp")
    assert partition(DEFAULT_RULES, ("vocab", "embed"), (256, 64), mesh) == PartitionSpec("tensor", "fsdp")


def test_a_parameter_names_all_its_axes() -> None:
    with pytest.raises(ValueError, match="axis names"):
        param(jnp.zeros((2, 3)), "embed")


def test_optimizer_moments_lie_where_their_parameters_do() -> None:
    from scaling.train.step import TrainStep

    run = load_run("cpu", ["mesh.fsdp=4", "mesh.tensor=2", "train.batch_tokens=8192"])
    functions = TrainStep(run, make_mesh(run.mesh))
    model = jax.tree.leaves(functions.state_shardings.model)
    moments = jax.tree.leaves(functions.state_shardings.optimizer[0].mu)
    assert model == moments
    assert any(sharding.spec == PartitionSpec(None, "fsdp", "tensor") for sharding in model)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (MeshConfig(data=16), "needs 16 devices; there are 8"),
        (MeshConfig(data=3, fsdp=-1), "do not divide 8 devices"),
    ],
)
def test_meshes_that_do_not_fit(config: MeshConfig, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        make_mesh(config)
