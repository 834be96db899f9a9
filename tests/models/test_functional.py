"""`linear` against the plain product: values, gradients, types, transforms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.models import functional
from scaling.models.functional import linear, rotate

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def inputs(K, N, dtype=jnp.float32, stack=()):
    random = np.random.default_rng(0)
    shapes = [(2, 3, K), (*stack, K, N), (*stack, N), (2, 3, N)]
    return [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]


def plain(x, kernel, bias):
    return x @ kernel + (0.0 if bias is None else bias)


def value_and_gradients(function, x, kernel, bias, dy):
    def of(x, kernel, bias):
        y, pull = jax.vjp(function, x, kernel, bias)
        return y, pull(dy)

    return jit(of)(x, kernel, bias)


# Wide, tall and square kernels turn different operands round.
@pytest.mark.parametrize(("K", "N"), [(4, 10), (10, 4), (6, 6)])
@pytest.mark.parametrize("biased", [True, False])
def test_equals_the_plain_product(K, N, biased):
    x, kernel, bias, dy = inputs(K, N)
    bias = bias if biased else None
    got = value_and_gradients(linear, x, kernel, bias, dy)
    want = value_and_gradients(plain, x, kernel, bias, dy)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("K", "N"), [(4, 10), (10, 4)])
def test_bf16_keeps_its_type(K, N):
    arrays = inputs(K, N, jnp.bfloat16)
    got = value_and_gradients(linear, *arrays)
    want = value_and_gradients(plain, *(a.astype(jnp.float32) for a in arrays))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(a), b, rtol=0.05, atol=0.05)


def test_stacked_layers_under_scan_remat_and_vmap():
    x, kernel, bias, dy = inputs(5, 5, stack=(3,))

    def loss(parameters, function, wrap):
        def layer(x, weights):
            return jnp.tanh(function(x, *weights)), None

        return (dy * jax.lax.scan(wrap(layer), x, parameters)[0]).sum()

    got = jit(jax.grad(lambda p: loss(p, linear, jax.checkpoint)))((kernel, bias))
    want = jit(jax.grad(lambda p: loss(p, plain, lambda f: f)))((kernel, bias))
    twice = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), (kernel, bias))
    mapped = jit(jax.vmap(jax.grad(lambda p: loss(p, linear, lambda f: f))))(twice)
    for a, b, c in zip(got, want, mapped, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(c[0], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_rotary_positions_are_complex_rotations(monkeypatch, platform, dtype):
    """Also as a TPU moves features, and the gradient is that of the formula."""
    monkeypatch.setattr(functional, "platform", lambda: platform)
    random = np.random.default_rng(0)
    x, dy = (jnp.asarray(random.standard_normal((2, 7, 3, 8)), dtype) for _ in range(2))
    positions = jnp.asarray(random.integers(0, 50, (2, 7)))
    angles = np.float32(positions)[:, :, None, None] * 10_000.0 ** (-np.arange(4) / 4)

    def by_formula(x):
        x = x.astype(jnp.float32)
        turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)
        return jnp.concatenate([turned.real, turned.imag], axis=-1).astype(dtype)

    got, pull = jax.vjp(lambda x: rotate(x, positions, 10_000.0), x)
    want, pull_formula = jax.vjp(by_formula, x)
    tolerance = 1e-5 if dtype == jnp.float32 else 0.01
    for a, b in ((got, want), (pull(dy)[0], pull_formula(dy)[0])):
        assert a.dtype == dtype
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance)
