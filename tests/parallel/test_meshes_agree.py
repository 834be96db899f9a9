"""Every mesh of 8 devices gives the losses of one device: 20 steps in fp32, to 1e-5."""

from typing import Any

import jax
import numpy as np
import pytest

from scaling.config.load import load_run, merge
from scaling.parallel.mesh import make_mesh
from scaling.train.step import TrainStep

STEPS = 20
MESHES = [
    pytest.param({"data": 8}, marks=pytest.mark.slow),
    {"fsdp": 8},
    pytest.param({"fsdp": 4, "tensor": 2}, marks=pytest.mark.slow),
    {"data": 2, "fsdp": 2, "tensor": 2},
    pytest.param({"context": 8}, marks=pytest.mark.slow),
    {"fsdp": 2, "context": 2, "tensor": 2},
]
BASE = {
    "name": "mesh",
    "model": {"vocab_size": 64, "max_length": 32, "n_layers": 2, "d_model": 32, "n_heads": 4},
    "data": {"sequence_length": 32},
    "train": {"batch_tokens": 512, "steps": STEPS, "learning_rate": 3e-3, "warmup_steps": 2},
}


def losses(mesh: dict[str, int], *overrides: str) -> list[float]:
    run = load_run({**BASE, "mesh": mesh}, overrides)
    functions = TrainStep(run, make_mesh(run.mesh))
    rng = np.random.default_rng(0)
    state = functions.init(0)
    seen: list[Any] = []
    for step in range(STEPS):
        tokens = rng.integers(0, 64, (16, 33)) * rng.integers(0, 64, (16, 33)) // 64  # some are more common
        segments = np.repeat([[1] * 20 + [2] * 12], 16, axis=0).astype(np.int32)
        batch = {
            "inputs": tokens[:, :-1].astype(np.int32),
            "targets": tokens[:, 1:].astype(np.int32),
            "segment_ids": segments,
        }
        state, metrics = functions.step(state, functions.place(batch), np.float32(3e-3), np.int32(step))
        seen.append(metrics["loss"])
    return [float(loss) for loss in jax.device_get(seen)]


@pytest.fixture(scope="module")
def one_device() -> list[float]:
    return losses({})


@pytest.mark.parametrize("mesh", MESHES, ids=lambda mesh: "x".join(f"{k}{v}" for k, v in mesh.items()))
def test_eight_devices_give_the_losses_of_one(mesh: dict[str, int], one_device: list[float]) -> None:
    np.testing.assert_allclose(losses(mesh), one_device, atol=1e-5)
    assert one_device[-1] < one_device[0]


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(
            ("model.scan_layers=true", "model.remat=full", "train.accumulation=2"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("model.layer_pattern=[dense, banded]", "model.band_width=8", "model.tie_embeddings=false"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("model.parametrization=mup", "model.base_width=8", "model.base_depth=1", "model.base_d_head=2"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_programs_agree_over_the_mesh_too(overrides: tuple[str, ...]) -> None:
    np.testing.assert_allclose(
        losses({"fsdp": 4, "tensor": 2}, *overrides), losses({}, *overrides), atol=1e-5
    )


FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"model": {"family": "encoder"}, "objective": {"name": "masked", "sentences": "next"}},
    "albert": {"model": {"family": "encoder", "share_layers": True, "embedding_size": 16}},
    "t5": {"model": {"family": "encoder_decoder", "norm_kind": "rms", "bias": False, "gated": True}},
    "transformer": {"model": {"family": "encoder_decoder", "positions": "sinusoidal", "norm": "post"}},
    "llama": {"model": {"positions": "rotary", "norm_kind": "rms", "gated": True, "n_kv_heads": 2}},
    "qwen": {
        "model": {"positions": "rotary", "norm_kind": "rms", "gated": True, "n_kv_heads": 2, "bias": False}
        | {"qkv_bias": True, "qk_norm": True}
    },
    "prefix": {"objective": {"name": "prefix"}},
    "switch": {"model": {"family": "encoder_decoder", "mixture": {"experts": 4}}},
}


def family_losses(family: str, mesh: dict[str, int]) -> list[float]:
    """Of 8 steps on random batches of the arrays that the objective gives."""
    tree = merge(BASE, FAMILIES[family])
    tree["model"]["scan_layers"] = "experts" in str(tree)
    run = load_run({**tree, "mesh": mesh})
    functions = TrainStep(run, make_mesh(run.mesh))
    rng = np.random.default_rng(0)
    state = functions.init(0)
    seen: list[Any] = []
    for step in range(8):
        batch = {}
        for name, (shape, dtype) in run.batch_arrays().items():
            below = {"segment_ids": 2, "token_types": 2, "sentence_targets": 2, "prefix": 2, "weights": 2}
            batch[name] = rng.integers(0, below.get(name, 32), shape).astype(dtype)
        if "segment_ids" in batch:
            batch["segment_ids"] = np.sort(batch["segment_ids"])[:, ::-1] + ("positions" in batch)
        state, metrics = functions.step(state, functions.place(batch), np.float32(3e-3), np.int32(step))
        seen.append(metrics["loss"])
    return [float(loss) for loss in jax.device_get(seen)]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_losses_of_one_device(family: str) -> None:
    meshes = [{"data": 8}, {"fsdp": 2, "context": 2, "tensor": 2}, {"data": 2, "fsdp": 2, "tensor": 2}]
    if family == "switch":
        meshes.append({"fsdp": 2, "expert": 4})
    one_device = family_losses(family, {})
    assert one_device[-1] < one_device[0]
    for mesh in meshes:
        np.testing.assert_allclose(family_losses(family, mesh), one_device, atol=1e-5)


def test_accumulation_changes_nothing(one_device: list[float]) -> None:
    np.testing.assert_allclose(losses({}, "train.accumulation=4"), one_device, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adafactor", "muon", "lion"])
def test_every_optimizer_learns_and_shards(optimizer: str) -> None:
    override = f"train.optimizer={optimizer}"
    sharded = losses({"fsdp": 4, "tensor": 2}, override)
    np.testing.assert_allclose(sharded, losses({}, override), atol=2e-4)
    assert sharded[-1] < sharded[0] - 0.03
