"""The GPU kernel: what it is asked for against the readable attention, and that CUDA's compiler takes it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.mesh import MeshConfig
from scaling.models.attention import attention, choices
from scaling.models.attention.cudnn import cudnn_attention, why_not
from scaling.models.attention.reference import Arrays, Static
from scaling.models.axes import placement
from scaling.parallel.absent import absent_devices
from scaling.parallel.mesh import make_mesh, placed
from tests.absent import devices, needs_gpu_compiler

L = 64
CASES: dict[str, dict[str, Any]] = {
    "causal": {},
    "both ways": {"causal": False},
    "band": {"band": 7},
    "segments": {"segments": True},
    "segments, both ways": {"segments": True, "causal": False},
    "grouped": {"key_heads": 2, "segments": True, "band": 20},
    "fewer key heads than devices": {"key_heads": 1},
    "bias": {"bias": True},
    "bias, segments, both ways": {"bias": True, "segments": True, "causal": False},
    "prefix": {"prefix": True, "key_heads": 2},
    "prefix, segments, band": {"prefix": True, "segments": True, "band": 9},
}


def drawn(case: dict[str, Any], width: int = 16) -> tuple[dict[str, Any], list[np.ndarray], dict[str, Any]]:
    """What is known before the data; q, k, v, bias and a cotangent; segments and prefixes."""
    case, random = dict(case), np.random.default_rng(0)
    heads = case.pop("key_heads", 4)
    q, dout = (random.standard_normal((4, L, 4, width)) for _ in range(2))
    k, v = (random.standard_normal((4, L, heads, width)) for _ in range(2))
    bias = [random.standard_normal((4, L, L))] if case.pop("bias", False) else []
    seen: dict[str, Any] = {}
    if case.pop("segments", False):
        seen["segment_ids_BL"] = np.sort(random.integers(1, 4, (4, L))).astype(np.int32)
    if case.pop("prefix", False):
        seen["prefix_BM"] = (np.arange(L) < np.array([[5], [0], [30], [64]])).astype(np.int32)
    return {"causal": True, "band": None, **case}, [q, k, v, *bias, dout], seen


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_asked_for_is_full_attention(case: dict[str, Any]) -> None:
    form, arrays, seen = drawn(case)
    arrays = [jnp.asarray(a, jnp.float32) for a in arrays]

    def plain(q: Any, k: Any, v: Any, bias: Any = None) -> Any:
        return attention(q, k, v, bias_HLM=bias, implementation="reference", **form, **seen)

    def kernel(q: Any, k: Any, v: Any, bias: Any = None) -> Any:
        ids, prefix = (
            None if (a := seen.get(name)) is None else jnp.asarray(a)
            for name in ("segment_ids_BL", "prefix_BM")
        )
        static = Static(form["causal"], form["band"], 16**-0.5)
        return cudnn_attention(static, q, k, v, Arrays(ids, ids, prefix, bias), placement(), by="xla")

    def both(of: Any) -> Any:
        out, pull = jax.vjp(of, *arrays[:-1])
        return out, *pull(arrays[-1])

    want = jax.jit(lambda: both(plain))()
    for mesh, count in ((MeshConfig(), 1), (MeshConfig(data=2, tensor=4), 8)):
        with placed(make_mesh(mesh, jax.devices()[:count])):
            got = jax.jit(lambda: both(kernel))()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), got, want)


def test_arrays_that_the_kernel_does_not_take_say_why() -> None:
    where = make_mesh(MeshConfig(), jax.devices()[:1])

    def said(length: int, width: int, dtype: Any, **form: Any) -> str | None:
        q = jax.ShapeDtypeStruct((1, length, 4, width), dtype)
        ids = jnp.zeros((1, length), jnp.int32) if form.pop("segments", False) else None
        bias = jnp.zeros((4, length, length)) if form.pop("bias", False) else None
        axis = form.pop("axis", None)
        static = Static(True, None, 1.0, **form)
        with placed(where):
            return why_not(static, q, q, Arrays(ids, ids, None, bias), placement(), axis)  # type: ignore[arg-type]

    assert said(1000, 64, jnp.bfloat16) is None and said(1000, 64, jnp.float16, segments=True) is None
    assert "float32" in str(said(1024, 64, jnp.float32))
    assert "256" in str(said(1024, 256, jnp.bfloat16)) and "20" in str(said(1024, 20, jnp.bfloat16))
    assert "even" in str(said(1001, 64, jnp.bfloat16)) and "even" in str(
        said(1001, 64, jnp.bfloat16, bias=True)
    )
    assert "8192" in str(said(16384, 64, jnp.bfloat16, segments=True)), "a gigabyte of them"
    assert "soft-capping" in str(said(1024, 64, jnp.bfloat16, soft_cap=50.0))
    assert "context" in str(said(1024, 64, jnp.bfloat16, axis="context"))


@needs_gpu_compiler
@pytest.mark.parametrize("kind", ["h100-sxm", "a100-80gb", "b200"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_gpu_runs_the_kernel(case: dict[str, Any], kind: str) -> None:
    """Chosen unasked, forward and backward, on one GPU and on a mesh of four; no (L, L) scores."""
    form, arrays, seen = drawn(case, width=64)

    def loss(q: Any, k: Any, v: Any, bias: Any = None) -> Any:
        return attention(q, k, v, bias_HLM=bias, **form, **seen).astype(jnp.float32).sum()

    for mesh, count in ((MeshConfig(), 1), (MeshConfig(data=2, tensor=2), 4)):
        where = make_mesh(mesh, absent_devices(devices(f"{kind}:{count}")))
        split = [jax.NamedSharding(where, jax.P("data"))] * 3 + [jax.NamedSharding(where, jax.P())]
        shapes = [
            jax.ShapeDtypeStruct(a.shape, jnp.bfloat16, sharding=sharding)
            for a, sharding in zip(arrays[:-1], split, strict=False)
        ]
        argnums = tuple(range(len(shapes)))
        with placed(where), choices() as taken:
            text = jax.jit(jax.grad(loss, argnums)).lower(*shapes).compile().as_text()
        assert {choice.implementation for choice in taken} == {"cudnn"}
        assert "__cudnn$fmha" in text and "Backward" in text
        assert f"f32[{4 // mesh.data},{4 // mesh.tensor},{L},{L}]" not in text


@needs_gpu_compiler
@pytest.mark.parametrize(
    ("changes", "said"),
    [({"dtype": jnp.float32}, "float32"), ({"context": 2}, "context"), ({"soft_cap": 50.0}, "soft-capping")],
    ids=["float32", "context", "soft cap"],
)
def test_a_gpu_does_without_it_where_it_must(changes: dict[str, Any], said: str) -> None:
    mesh = MeshConfig(context=changes.get("context", 1))
    where = make_mesh(mesh, absent_devices(devices(f"h100-sxm:{mesh.context}")))
    shape = jax.ShapeDtypeStruct(
        (2, L, 4, 64),
        changes.get("dtype", jnp.bfloat16),
        sharding=jax.NamedSharding(where, jax.P(None, "context")),
    )
    with placed(where), choices() as taken:
        step = jax.jit(lambda q, k, v: attention(q, k, v, soft_cap=changes.get("soft_cap")))
        assert "__cudnn$" not in step.lower(shape, shape, shape).compile().as_text()
    assert [said in str(choice.why_not) for choice in taken] == [True]
