"""Optimizer costs: state, traffic and FLOPs by closed form and against the trainer's own step."""

from functools import partial
from typing import get_args

import jax
import pytest

from scaling.config.load import load_run
from scaling.config.mesh import MeshConfig
from scaling.config.run import RunConfig
from scaling.config.train import OPTIMIZERS, OptimizerName
from scaling.estimate.counts import hardware_flops, tensors
from scaling.estimate.layout import Layout, layout_of
from scaling.estimate.optimizers import state_bytes, state_size, update_flops
from scaling.estimate.work import work_of
from scaling.models.build import new_model
from scaling.parallel.program_costs import matmul_flops
from scaling.train.optimizers import UPDATES, make_optimizer

NAMES = get_args(OptimizerName)
ONE = MeshConfig().sizes()


def run_of(optimizer: str, **model: object) -> RunConfig:
    shape = {"vocab_size": 512, "max_length": 64, "n_layers": 2, "d_model": 64, "n_heads": 4}
    return load_run(
        {
            "model": shape | model,
            "data": {"sequence_length": 64},
            "train": {"steps": 1, "batch_tokens": 4 * 64, "learning_rate": 1e-3, "optimizer": optimizer},
        }
    )


def test_every_optimizer_has_an_entry() -> None:
    assert set(OPTIMIZERS) == set(NAMES) == set(UPDATES)


def test_muon_keeps_one_moment_for_hidden_matrices_and_two_for_the_rest() -> None:
    run = run_of("muon")
    hidden = 2 * 12 * 64 * 64
    rest = 512 * 64 + 64 * 64 + 2 * (3 * 64 + 64 + 256 + 64 + 4 * 64) + 2 * 64  # embeddings, biases, norms
    parts = tensors(run.model)
    assert sum(t.size for t in parts) == hidden + rest
    assert sum(state_size("muon", t) for t in parts) == hidden + 2 * rest
    assert state_bytes("muon", parts, ONE, "cpu") == 4 * (hidden + 2 * rest)


@pytest.mark.parametrize("optimizer", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_update_reads_and_writes_the_state_that_is_kept(optimizer: OptimizerName, dtype: str) -> None:
    """Gradient in, parameter in and out, and every byte of the state in and out."""
    run = run_of(optimizer, param_dtype=dtype)
    other = run_of("adamw", param_dtype=dtype)
    parts = tensors(run.model)
    layout = layout_of(run, 1)
    moved = work_of(run, layout, "cpu").update_bytes - work_of(other, layout, "cpu").update_bytes
    states = [state_bytes(name, parts, ONE, "cpu") for name in (optimizer, "adamw")]
    assert moved == 2 * (states[0] - states[1])
    size = sum(t.size for t in parts)
    assert states[1] == 2 * 4 * size


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"scan_layers": True, "n_kv_heads": 2, "d_ff": 160, "gated": True},
        {"mixture": {"experts": 4}},
        {"family": "lstm", "n_heads": None},
    ],
    ids=["plain", "grouped heads", "mixture", "lstm"],
)
def test_muons_update_equals_the_jaxpr(model: dict[str, object]) -> None:
    """Five steps of Newton-Schulz for every hidden matrix; the other optimizers multiply no matrices."""
    shape = {"vocab_size": 512, "max_length": 64, "n_layers": 2, "d_model": 64, "n_heads": 4} | model
    shape = {name: value for name, value in shape.items() if value is not None}
    train = {"steps": 1, "batch_tokens": 4 * 64, "learning_rate": 1e-3}
    for optimizer in ("muon", "adamw"):
        tree = {"model": shape, "data": {"sequence_length": 64}, "train": train | {"optimizer": optimizer}}
        run = load_run(tree)
        module = jax.eval_shape(partial(new_model, run.model), jax.random.key(0))
        transformation = make_optimizer(run.train, run.model)
        state = jax.eval_shape(transformation.init, module)
        counted = matmul_flops(jax.make_jaxpr(transformation.update)(module, state, module))
        update = sum(update_flops(run.train.optimizer, t) for t in tensors(run.model))
        assert counted == update and (update > 0) == (optimizer == "muon")
        work = work_of(run, layout_of(run, 1), "cpu")
        assert work.hardware_flops == 4 * hardware_flops(run.model, 64, 4) + update


def test_newton_schulz_by_hand() -> None:
    """Jordan et al. 2024: X X^T, its square and a product with X, five times; m is the shorter side."""

    def orthogonalised(m: int, n: int) -> int:
        return 5 * (2 * m * m * n + 2 * m * m * m + 2 * m * m * n)

    d, ff, layers = 64, 256, 2
    want = layers * (4 * orthogonalised(d, d) + 2 * orthogonalised(d, ff))
    assert sum(update_flops("muon", t) for t in tensors(run_of("muon").model)) == want


def test_replicas_repeat_the_update_and_shards_share_it() -> None:
    """Two replicas execute it twice; two shards of `fsdp` half of it each."""

    def flops(optimizer: str, data: int, fsdp: int) -> float:
        run = run_of(optimizer)
        layout = Layout(data=data, fsdp=fsdp, tensor=1, rows=4, length=64)
        return work_of(run, layout, "cpu").hardware_flops

    one, replicas, shards = (
        flops("muon", *ways) - flops("adamw", *ways) for ways in ((1, 1), (2, 1), (1, 2))
    )
    assert replicas == 2 * one and shards == one
