"""Pipeline stages give the losses of one device, in every composition, and refuse what they cannot split."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from scaling.config.load import load_run, merge
from scaling.config.mesh import MeshConfig
from scaling.parallel.mesh import make_mesh, placed
from scaling.runtime.errors import BadInputError
from scaling.train.step import TrainStep

STEPS = 4
BASE: dict[str, Any] = {
    "name": "stages",
    "model": {
        "vocab_size": 64,
        "max_length": 16,
        "n_layers": 4,
        "d_model": 16,
        "n_heads": 2,
        "scan_layers": True,
    },
    "data": {"sequence_length": 16},
    "train": {"batch_tokens": 256, "steps": STEPS, "learning_rate": 3e-3},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt": {},
    "bert": {"model": {"family": "encoder"}, "objective": {"name": "masked", "sentences": "next"}},
    "t5": {
        "model": {"family": "encoder_decoder", "norm_kind": "rms", "bias": False, "positions": "relative"}
    },
}


def run_of(family: str, mesh: dict[str, int], *overrides: str) -> Any:
    return load_run({**merge(BASE, FAMILIES[family]), "mesh": mesh}, overrides)


def losses(family: str, mesh: dict[str, int], *overrides: str) -> list[float]:
    run = run_of(family, mesh, *overrides)
    functions = TrainStep(run, make_mesh(run.mesh))
    rng = np.random.default_rng(0)
    state, seen = functions.init(0), []
    for step in range(STEPS):
        below = {"segment_ids": 3, "token_types": 2, "sentence_targets": 2, "weights": 2}
        batch = {
            name: rng.integers(0, below.get(name, 16), shape).astype(dtype)
            for name, (shape, dtype) in run.batch_arrays().items()
        }
        if "segment_ids" in batch:  # every row its own documents: they must travel with it
            batch["segment_ids"] = np.sort(batch["segment_ids"])
        state, metrics = functions.step(state, functions.place(batch), np.float32(3e-3), np.int32(step))
        seen.append(metrics["loss"])
    return [float(loss) for loss in jax.device_get(seen)]


@functools.cache
def one_device(family: str) -> list[float]:
    return losses(family, {})


@pytest.mark.parametrize("family", [pytest.param(name, marks=pytest.mark.slow) for name in ("bert", "t5")])
def test_other_families(family: str) -> None:
    np.testing.assert_allclose(losses(family, {"stage": 2, "data": 2}), one_device(family), atol=1e-5)


@pytest.mark.parametrize(
    ("mesh", "overrides"),
    [
        pytest.param(
            {"stage": 2, "fsdp": 2, "tensor": 2},
            ("model.layer_pattern=[dense, banded]", "model.band_width=4"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"stage": 4, "data": 2}, ("model.remat=full", "train.accumulation=2"), marks=pytest.mark.cluster
        ),
    ],
    ids=["fsdp and tensor, two kinds of layers", "four stages, remat, accumulation"],
)
def test_decoders(mesh: dict[str, int], overrides: tuple[str, ...]) -> None:
    np.testing.assert_allclose(losses("gpt", mesh, *overrides), losses("gpt", {}, *overrides), atol=1e-5)


@pytest.mark.cluster
@pytest.mark.parametrize(
    "mesh",
    [
        {"stage": 2},
        {"stage": 4},
        {"stage": 2, "data": 2},
        {"stage": 2, "tensor": 2},
        {"stage": 2, "fsdp": 2},
        {"stage": 2, "context": 2},
        {"stage": 2, "microbatches": 8},
        {"stage": 4, "microbatches": 8, "fsdp": 2},
    ],
    ids=lambda mesh: ",".join(f"{axis}={size}" for axis, size in mesh.items()),
)
@pytest.mark.parametrize("overrides", [(), ("model.scan_layers=false",), ("model.remat=dots",)], ids=str)
def test_every_composition(mesh: dict[str, int], overrides: tuple[str, ...]) -> None:
    np.testing.assert_allclose(losses("gpt", mesh, *overrides), one_device("gpt"), atol=1e-5)


@pytest.mark.slow
def test_dropout_differs_between_microbatches() -> None:
    """Four equal rows in four microbatches: with one key for all of them, all would drop the same."""
    run = run_of("gpt", {"stage": 2, "microbatches": 4}, "model.dropout=0.5", "train.batch_tokens=64")
    functions = TrainStep(run, make_mesh(run.mesh))
    row = np.arange(16, dtype=np.int32)
    batch = {name: np.tile(row, (4, 1)).astype(dtype) for name, (_, dtype) in run.batch_arrays().items()}

    @jax.jit
    def states(model: Any, tokens_BL: jax.Array) -> jax.Array:
        with placed(functions.mesh, functions.rules, run.mesh.parts):
            return model(tokens_BL, dropout_key=jax.random.key(1))

    x_BLD = np.asarray(states(functions.init(0).model, batch["inputs"]))
    assert all(not np.allclose(x_BLD[0], other) for other in x_BLD[1:])


@pytest.mark.parametrize(
    ("family", "mesh", "overrides", "says"),
    [
        ("gpt", {"stage": 3}, (), "mesh.stage=3 does not divide model.n_layers=4"),
        ("t5", {"stage": 2}, ("model.n_decoder_layers=3",), "does not divide model.decoder_layers=3"),
        ("gpt", {"stage": 4}, ("model.layer_pattern=[dense, banded]", "model.band_width=4"), "repetitions"),
        ("gpt", {"stage": 2, "microbatches": 3}, (), "mesh.microbatches=3 is not a multiple of mesh.stage=2"),
        ("gpt", {"stage": 2, "microbatches": 32}, (), "does not divide into mesh.microbatches=32"),
        ("gpt", {"microbatches": 2}, (), "needs mesh.stage of 2 or more"),
        ("bert", {"stage": 2}, ("model.share_layers=true",), "parameters of their own"),
        ("t5", {"stage": 2}, ("model.mixture.experts=4",), "no mixture of experts"),
        ("gpt", {"stage": -1}, (), "mesh.stage"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refusals(family: str, mesh: dict[str, int], overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadInputError, match=says.replace(".", r"\.")):
        run_of(family, mesh, *overrides)


def test_microbatches_stay_with_the_mesh() -> None:
    mesh = MeshConfig(stage=2, microbatches=8, fsdp=-1).over(8)
    assert mesh == MeshConfig(stage=2, microbatches=8, fsdp=4) and mesh.parts == 8
    assert str(mesh) == "data=1,stage=2,fsdp=4,tensor=1,microbatches=8"
    assert run_of("gpt", {"stage": 2}).id() == run_of("gpt", {}).id()
