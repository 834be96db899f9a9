"""The GPU kernel: what it is asked for against the readable attention, and that CUDA's compiler takes it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.mesh import MeshConfig
from scaling.models.attention import attention
from scaling.models.attention.cudnn import cudnn_attention, fits
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
}


def drawn(case: dict[str, Any], width: int = 16) -> tuple[dict[str, Any], list[np.ndarray], Any]:
    """What says who sees whom; q, k, v and a cotangent; segments."""
    case, random = dict(case), np.random.default_rng(0)
    heads = case.pop("key_heads", 4)
    q, dout = (random.standard_normal((4, L, 4, width)) for _ in range(2))
    k, v = (random.standard_normal((4, L, heads, width)) for _ in range(2))
    ids = np.sort(random.integers(1, 4, (4, L))).astype(np.int32) if case.pop("segments", False) else None
    return {"causal": True, "band": None, **case}, [q, k, v, dout], ids


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_asked_for_is_full_attention(case: dict[str, Any]) -> None:
    form, arrays, ids = drawn(case)
    arrays = [jnp.asarray(a, jnp.float32) for a in arrays]

    def plain(q: Any, k: Any, v: Any) -> Any:
        return attention(q, k, v, segment_ids_BL=ids, implementation="reference", **form)

    def kernel(q: Any, k: Any, v: Any) -> Any:
        segments = None if ids is None else (jnp.asarray(ids),) * 2
        return cudnn_attention(q, k, v, segments, scale=16**-0.5, placed=placement(), by="xla", **form)

    def both(of: Any) -> Any:
        out, pull = jax.vjp(of, *arrays[:3])
        return out, *pull(arrays[3])

    want = jax.jit(lambda: both(plain))()
    for mesh, count in ((MeshConfig(), 1), (MeshConfig(data=2, tensor=4), 8)):
        with placed(make_mesh(mesh, jax.devices()[:count])):
            got = jax.jit(lambda: both(kernel))()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), got, want)


def test_arrays_that_the_kernel_takes() -> None:
    def takes(length: int, width: int, dtype: Any, segments: bool = False) -> bool:
        q = jax.ShapeDtypeStruct((1, length, 4, width), dtype)
        return fits(q, q, segments)  # type: ignore[arg-type]

    assert takes(1000, 64, jnp.bfloat16) and takes(1000, 64, jnp.float16, True)
    assert not takes(1024, 64, jnp.float32)
    assert not takes(1024, 256, jnp.bfloat16) and not takes(1024, 20, jnp.bfloat16)
    assert not takes(1001, 64, jnp.bfloat16, True), "numbers added to scores come in pairs"
    assert not takes(16384, 64, jnp.bfloat16, True), "a gigabyte of them"


@needs_gpu_compiler
@pytest.mark.parametrize("kind", ["h100-sxm", "a100-80gb", "b200"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_gpu_runs_the_kernel(case: dict[str, Any], kind: str) -> None:
    """Chosen unasked, forward and backward, on one GPU and on a mesh of four; no (L, L) scores."""
    form, arrays, ids = drawn(case, width=64)

    def loss(q: Any, k: Any, v: Any) -> Any:
        return attention(q, k, v, segment_ids_BL=ids, **form).astype(jnp.float32).sum()

    for mesh, count in ((MeshConfig(), 1), (MeshConfig(data=2, tensor=2), 4)):
        where = make_mesh(mesh, absent_devices(devices(f"{kind}:{count}")))
        rows = jax.NamedSharding(where, jax.P("data"))
        shapes = [jax.ShapeDtypeStruct(a.shape, jnp.bfloat16, sharding=rows) for a in arrays[:3]]
        with placed(where):
            text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*shapes).compile().as_text()
        assert "__cudnn$fmha" in text and "Backward" in text
        assert f"f32[{4 // mesh.data},{4 // mesh.tensor},{L},{L}]" not in text


@needs_gpu_compiler
@pytest.mark.parametrize(
    "changes",
    [{"dtype": jnp.float32}, {"context": 2}, {"prefix": True}],
    ids=["float32", "context", "prefix"],
)
def test_a_gpu_does_without_it_where_it_must(changes: dict[str, Any]) -> None:
    mesh = MeshConfig(context=changes.get("context", 1))
    where = make_mesh(mesh, absent_devices(devices(f"h100-sxm:{mesh.context}")))
    shape = jax.ShapeDtypeStruct(
        (2, L, 4, 64),
        changes.get("dtype", jnp.bfloat16),
        sharding=jax.NamedSharding(where, jax.P(None, "context")),
    )
    prefix = jnp.ones((2, L), jnp.int32) if "prefix" in changes else None
    with placed(where):
        step = jax.jit(lambda q, k, v: attention(q, k, v, prefix_BM=prefix))
        assert "__cudnn$" not in step.lower(shape, shape, shape).compile().as_text()
