"""The TPU kernel, run in Python, against the readable attention: outputs and gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.mesh import MeshConfig
from scaling.models.attention import attention
from scaling.models.attention.reference import Arrays, Static
from scaling.models.attention.splash import block_of, splash_attention, why_not
from scaling.models.axes import placement
from scaling.parallel.absent import absent_devices
from scaling.parallel.mesh import make_mesh, placed
from tests.absent import devices, needs_tpu_compiler

slow = pytest.mark.slow
B, L, H = 2, 256, 4
CASES: dict[str, dict[str, Any]] = {
    "causal": {},
    "bidirectional": {"causal": False},
    "window": {"band": 100},
    "segments": {"segments": True},
    "segments, bidirectional": {"segments": True, "causal": False},
    "segments, window, grouped": {"segments": True, "band": 100, "key_heads": 2},
    "grouped": {"key_heads": 2},
    "one key head": {"key_heads": 1},
    "soft cap": {"soft_cap": 2.0},
    "soft cap, window, grouped": {"soft_cap": 2.0, "band": 100, "key_heads": 2},
    "prefix": {"prefix": True, "key_heads": 2},
    "prefix, segments, soft cap": {"prefix": True, "segments": True, "soft_cap": 2.0},
    "an odd length": {"length": 201, "segments": True, "key_heads": 2},
    "an odd length, bidirectional": {"length": 201, "causal": False},
    "an odd length, prefix": {"length": 201, "prefix": True, "segments": True},
    "heads of 80": {"width": 80},
    "the largest blocks": {"length": 2048, "width": 128, "segments": True, "soft_cap": 2.0, "key_heads": 2},
    "cross-attention": {"causal": False, "keys": 100},
    "cross-attention, segments": {"causal": False, "keys": 100, "segments": True},
}
ONE, SPLIT, CONTEXT = MeshConfig(), MeshConfig(data=2, tensor=4), MeshConfig(context=2, tensor=2)
# Each case on one device or on several; those that tell the most by default.
QUICK = {
    ("segments, window, grouped", SPLIT), ("segments, window, grouped", CONTEXT), ("one key head", SPLIT),
    ("soft cap, window, grouped", ONE), ("prefix, segments, soft cap", SPLIT), ("prefix", CONTEXT),
    ("an odd length, prefix", ONE),
    ("cross-attention, segments", SPLIT),
}  # fmt: skip
PAIRS = [(name, mesh) for name in CASES for mesh in (ONE, SPLIT, CONTEXT)]
PAIRS = [(name, mesh) for name, mesh in PAIRS if mesh != CONTEXT or not {"length", "keys"} & set(CASES[name])]


def drawn(case: dict[str, Any], dtype: Any = jnp.float32) -> tuple[Static, list[jax.Array], Arrays]:
    """The form; q, k, v and a cotangent; what decides who sees whom."""
    random = np.random.default_rng(0)
    length, width = case.get("length", L), case.get("width", 64)
    keys, key_heads = case.get("keys", length), case.get("key_heads", H)
    shapes = [(B, length, H, width), *[(B, keys, key_heads, width)] * 2, (B, length, H, width)]
    arrays = [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]
    ids = key_ids = prefix = None
    if case.get("segments"):
        at = np.arange(max(length, keys))
        cuts = np.stack([at // 90, at // 70])
        ids = jnp.asarray(np.minimum(cuts[:, :length], cuts[:, keys - 1 : keys]), jnp.int32)
        key_ids = jnp.asarray(cuts[:, :keys], jnp.int32)
    if case.get("prefix"):
        every = [[L], [L]] if ids is None else [[90], [70]]
        starts = np.arange(length) // every * every
        prefix = jnp.asarray(np.arange(length) - starts < np.array([[37], [0]]), jnp.int32)
    static = Static(case.get("causal", True), case.get("band"), width**-0.5, case.get("soft_cap"))
    return static, arrays, Arrays(ids, key_ids, prefix, None)


def out_and_gradients(attend: Any, q: Any, k: Any, v: Any, dout: Any) -> Any:
    out, pull = jax.vjp(attend, q, k, v)
    return out, *pull(dout)


def by(implementation: Any, static: Static, seen: Arrays) -> Any:
    return lambda q, k, v: attention(
        q, k, v, causal=static.causal, band=static.band, scale=static.scale, soft_cap=static.soft_cap,
        segment_ids_BL=seen.segment_ids_BL, key_segment_ids_BM=seen.key_segment_ids_BM,
        prefix_BM=seen.prefix_BM, bias_HLM=seen.bias_HLM, implementation=implementation,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("case", "mesh"),
    [pytest.param(*pair, marks=() if pair in QUICK else slow, id=f"{pair[0]}-{pair[1]}") for pair in PAIRS],
)
def test_splash_is_the_reference(case: str, mesh: MeshConfig) -> None:
    static, arrays, seen = drawn(CASES[case])
    want = jax.jit(lambda: out_and_gradients(by("reference", static, seen), *arrays))()
    axis = "context" if mesh.context > 1 else None
    length = arrays[0].shape[1]
    assert why_not(static, seen, length, mesh.context) is None
    with placed(make_mesh(mesh)):

        def kernel(q: Any, k: Any, v: Any) -> Any:
            return splash_attention(static, q, k, v, seen, placement(), axis, interpret=True)

        got = jax.jit(lambda: out_and_gradients(kernel, *arrays))()
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_what_the_kernel_does_not_take_says_why() -> None:
    static, _, seen = drawn({"prefix": True})
    assert why_not(static, seen, L, 1) is None
    assert "window" in str(why_not(static._replace(band=8), seen, L, 1))
    assert "bias" in str(why_not(static, seen._replace(bias_HLM=jnp.zeros((H, L, L))), L, 1))
    assert "100" in str(why_not(static, seen, 400, 4))


@pytest.mark.parametrize(
    ("length", "form", "want"),
    [
        (100, {}, (128, 128)),
        (1000, {}, (1024, 1024)),
        (1100, {}, (640, 1280)),
        (8192, {}, (1024, 8192)),
        (8192, {"width": 512}, (512, 8192)),
        (2048, {"band": 256}, (512, 2048)),  # a wider block would compute what the window hides
        (2560, {"ways": 4}, (640, 2560)),
    ],
)
def test_blocks(length: int, form: dict[str, Any], want: tuple[int, int]) -> None:
    static = Static(True, form.get("band"), 1.0)
    assert block_of(static, length, form.get("width", 256), form.get("ways", 1)) == want


@needs_tpu_compiler
@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if i == 5 else slow) for i, name in enumerate(CASES)]
)
@pytest.mark.parametrize("on", ["tpu-v5e:2x2", "tpu-v5p:2x2x1", "tpu-v6e:2x2"])
def test_a_tpu_runs_the_kernel(case: str, on: str) -> None:
    """Chosen unasked, forward and backward, on a mesh of four; no (L, L) scores."""
    static, arrays, seen = drawn(CASES[case], jnp.bfloat16)
    where = make_mesh(MeshConfig(data=2, tensor=2), absent_devices(devices(on)))
    rows = jax.NamedSharding(where, jax.P("data"))
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=rows) for a in arrays[:3]]
    with placed(where):

        def loss(q: Any, k: Any, v: Any) -> Any:
            return by(None, static, seen)(q, k, v).astype(jnp.float32).sum()

        text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*shapes).compile().as_text()
    assert text.count("tpu_custom_call") >= 3
