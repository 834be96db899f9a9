"""Attention over a split sequence against the readable one on whole arrays: outputs and gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.mesh import MeshConfig
from scaling.models.attention import attention
from scaling.parallel.mesh import make_mesh, placed

L, M = 48, 48
CASES: dict[str, dict[str, Any]] = {
    "causal": {},
    "both ways": {"causal": False},
    "band": {"band": 7},
    "band wider than a piece": {"band": 20},
    "segments": {"segments": True},
    "prefix": {"segments": True, "prefix": True},
    "bias": {"bias": True},
    "bias both ways": {"bias": True, "causal": False},
    "grouped": {"key_heads": 2},
    "fewer key heads than devices": {"key_heads": 1},
    "another length of keys": {"causal": False, "keys": 96, "segments": True},
    "scale": {"scale": 1.0},
    "soft cap": {"soft_cap": 1.5, "bias": True, "key_heads": 2},
}


def results(case: dict[str, Any], mesh: MeshConfig | None, implementation: str | None) -> Any:
    case = dict(case)
    random = np.random.default_rng(0)
    keys = case.pop("keys", M)
    heads = case.pop("key_heads", 4)
    q, dout = (jnp.asarray(random.standard_normal((4, L, 4, 8)), jnp.float32) for _ in range(2))
    k, v = (jnp.asarray(random.standard_normal((4, keys, heads, 8)), jnp.float32) for _ in range(2))
    bias = jnp.asarray(random.standard_normal((4, L, keys)), jnp.float32) if case.pop("bias", False) else None
    if case.pop("segments", False):
        case["segment_ids_BL"] = jnp.asarray(np.sort(random.integers(1, 4, (4, L))))
        case["key_segment_ids_BM"] = jnp.asarray(np.sort(random.integers(1, 4, (4, keys))))
        if keys == L:
            case["key_segment_ids_BM"] = case["segment_ids_BL"]
    if case.pop("prefix", False):
        case["prefix_BM"] = jnp.asarray(random.integers(0, 2, (4, keys)))

    def of(q: Any, k: Any, v: Any, bias: Any) -> Any:
        return attention(q, k, v, bias_HLM=bias, implementation=implementation, **case)

    def both(*arrays: Any) -> Any:
        out, pull = jax.vjp(of, *arrays)
        return out, pull(dout)

    if mesh is None:
        return jax.jit(both)(q, k, v, bias)
    with placed(make_mesh(mesh)):
        return jax.jit(both)(q, k, v, bias)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_ring_is_full_attention(case: dict[str, Any]) -> None:
    want = results(case, None, "reference")
    for mesh in (MeshConfig(context=4), MeshConfig(data=2, context=2, tensor=2)):
        got = results(case, mesh, None)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), got, want)


def test_a_ring_needs_a_split_sequence() -> None:
    with pytest.raises(ValueError, match="splits the sequence"):
        results({}, MeshConfig(data=4), "ring")


def test_no_device_holds_the_whole_sequence() -> None:
    """The compiled program has neither the scores of a whole row of keys nor gathered keys."""
    mesh = make_mesh(MeshConfig(context=8))
    shape = jax.ShapeDtypeStruct((1, 1024, 1, 8), jnp.float32)

    def loss(q: Any, k: Any, v: Any) -> Any:
        return attention(q, k, v).sum()

    with placed(mesh):
        where = jax.NamedSharding(mesh, jax.P(None, "context"))
        step = jax.jit(jax.grad(loss, (0, 1, 2)), in_shardings=(where,) * 3, out_shardings=(where,) * 3)
        text = step.lower(shape, shape, shape).compile().as_text()
    assert "collective-permute" in text and "all-gather" not in text
    assert "1024" not in text.split("ENTRY", 1)[1]
