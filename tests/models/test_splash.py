"""The TPU kernel, run in Python, against the readable attention: outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.mesh import MeshConfig
from scaling.models.attention import attention
from scaling.models.attention.splash import fits, splash_attention
from scaling.models.axes import placement
from scaling.parallel.mesh import make_mesh, placed


def out_and_gradients(attend, q, k, v, dout):
    out, pull = jax.vjp(attend, q, k, v)
    return out, *pull(dout)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize(
    ("causal", "band"), [(True, 100), *(pytest.param(c, None, marks=pytest.mark.slow) for c in (True, False))]
)
@pytest.mark.parametrize(
    "mesh", [MeshConfig(), MeshConfig(data=2, tensor=2), MeshConfig(context=2, tensor=2)], ids=str
)
def test_splash_is_full_attention(mesh, causal, band, key_heads):
    random = np.random.default_rng(0)
    heads = (4, key_heads, key_heads, 4)
    arrays = [jnp.asarray(random.standard_normal((2, 256, count, 64)), jnp.float32) for count in heads]
    segments = jnp.asarray(np.arange(256) // 90, jnp.int32)[None].repeat(2, axis=0)
    want = out_and_gradients(
        lambda q, k, v: attention(
            q, k, v, causal=causal, segment_ids_BL=segments, band=band, implementation="reference"
        ),
        *arrays,
    )
    axis = "context" if mesh.context > 1 else None
    with placed(make_mesh(mesh)):
        got = jax.jit(
            lambda *arrays: out_and_gradients(
                lambda q, k, v: splash_attention(
                    q, k, v, (segments, segments), causal, band, 64**-0.5, placement(), axis, interpret=True
                ),
                *arrays,
            )
        )(*arrays)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_shapes_that_the_kernel_takes():
    assert fits(1024, 512)
    assert not fits(1000, 1000)  # no whole number of the TPU's lanes
    assert not fits(1024, 1000)
