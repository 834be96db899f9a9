"""What layers keep for the backward pass: the estimate against the traced train step; nothing is compiled."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from scaling.config.load import load_run
from scaling.config.run import RunConfig
from scaling.estimate.families import family_of
from scaling.estimate.layout import layout_of
from scaling.parallel.mesh import make_mesh
from scaling.train.dry_run import abstract_arguments
from scaling.train.step import TrainStep

# Activations have a multiple of five elements; weights have powers of two, or times three.
ROWS, LENGTH = 5, 40
SIZES = {"vocab_size": 256, "d_model": 64, "d_ff": 256, "n_heads": 4, "n_layers": 4}
LLAMA = {"base": "llama-7b", "max_length": 64, "n_kv_heads": 2}
T5 = {"base": "t5-small", "max_length": 64, "n_decoder_layers": 2, "d_head": 16}
CASES: dict[str, dict[str, Any]] = {
    "gpt2": {"base": "gpt2-124m", "max_length": 64, "dropout": 0.0},
    "gpt2, dropout": {"base": "gpt2-124m", "max_length": 64, "dropout": 0.1},
    "gpt2, dropout, float32": {"base": "gpt2-124m", "max_length": 64, "compute_dtype": "float32"},
    "llama, grouped": LLAMA,
    "llama, normed": {**LLAMA, "qk_norm": True},
    "bert": {"base": "bert-base", "max_length": 64, "dropout": 0.0},
    "t5": {**T5, "dropout": 0.0},
    "t5, gated, dropout": {**T5, "base": "t5v11-small", "dropout": 0.1},
    "switch": {**T5, "base": "switch-base-8", "n_decoder_layers": 4, "dropout": 0.0},
}


def run_of(model: dict[str, Any], remat: str) -> RunConfig:
    model = {"compute_dtype": "bfloat16", **SIZES, **model, "scan_layers": True, "remat": remat}
    train = {"steps": 1, "batch_tokens": ROWS * LENGTH, "learning_rate": 1e-3}
    return load_run({"model": model, "data": {"sequence_length": LENGTH}, "train": train})


def scans(jaxpr: Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(inner, (ClosedJaxpr, Jaxpr)):
                    yield from scans(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def kept_by_the_step(run: RunConfig) -> float:
    """Bytes that the forward scans over layers stack up and the batch shapes: no weights."""
    step = TrainStep(run, make_mesh(run.mesh, devices()))
    jaxpr = step.step.trace(*abstract_arguments(step)).jaxpr.jaxpr
    total = 0
    for scan in scans(jaxpr):
        count = scan.params["length"]
        for each in scan.outvars[scan.params["num_carry"] :]:
            size, kind = math.prod(each.aval.shape[1:]), each.aval.dtype
            if not scan.params["reverse"] and size % ROWS == 0 and kind.name != "key<fry>":
                total += count * size * np.dtype(kind).itemsize
    return total


def devices() -> Any:
    import jax

    return jax.devices()[:1]


@pytest.mark.parametrize("remat", ["none", "dots", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_layers_keep_what_the_estimate_counts(case: str, remat: str) -> None:
    run = run_of(CASES[case], remat)
    layout = layout_of(run, 1)
    tokens = layout.tokens_by_side
    groups = family_of(run.model).activations(layout, "cpu")
    ours = sum(group.layers * group.activations.kept(remat) * tokens[group.side] for group in groups)
    assert ours == pytest.approx(kept_by_the_step(run), rel=0.02)
