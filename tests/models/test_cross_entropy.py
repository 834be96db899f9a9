"""The chunked loss against log_softmax, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.models.cross_entropy import cross_entropy, token_log_probabilities

# The algebra is on trial, not the code generator: unoptimised code compiles in half the time.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def inputs(B=3, L=10, D=8, V=37, dtype=jnp.float32):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((B, L, D)), dtype)
    head = jnp.asarray(random.standard_normal((V, D)), dtype)
    targets = jnp.asarray(random.integers(0, V, (B, L)))
    weights = jnp.asarray(random.uniform(size=(B, L)) * (np.arange(L) != 4), jnp.float32)
    return x, head, targets, weights


def plain(x, head, targets, weights, z_loss=0.0):
    logits = jnp.einsum("bld,vd->blv", x, head).astype(jnp.float32)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    return (weights * (nll + z_loss * jax.nn.logsumexp(logits, -1) ** 2)).sum()


@pytest.mark.parametrize(("chunk", "z_loss"), [(None, 0.0), (None, 0.3), (4, 0.3), (5, 0.0)])
def test_equals_log_softmax(chunk, z_loss):
    x, head, targets, weights = inputs()

    def ours(x, head, weights):
        return 1.7 * cross_entropy(x, head, targets, weights, z_loss=z_loss, chunk=chunk)[0]

    def theirs(x, head, weights):
        return 1.7 * plain(x, head, targets, weights, z_loss)

    want, want_gradients = jit(jax.value_and_grad(theirs, (0, 1, 2)))(x, head, weights)
    got, got_gradients = jit(jax.value_and_grad(ours, (0, 1, 2)))(x, head, weights)
    np.testing.assert_allclose([got, jit(ours)(x, head, weights)], [want, want], rtol=1e-6)
    for a, b in zip(got_gradients, want_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 4])
def test_a_bias_is_a_column_of_ones(chunk):
    """Values and gradients are those of one more feature that is always 1."""
    x, head, targets, weights = inputs()
    bias = jnp.asarray(np.random.default_rng(1).standard_normal(head.shape[0]), jnp.float32)

    def ours(x, head, bias):
        return cross_entropy(x, head, targets, weights, bias_V=bias, chunk=chunk)[0]

    def wider(x, head, bias):
        ones = jnp.ones((*x.shape[:2], 1))
        return plain(
            jnp.concatenate([x, ones], -1), jnp.concatenate([head, bias[:, None]], 1), targets, weights
        )

    got, want = (jit(jax.value_and_grad(f, (0, 1, 2)))(x, head, bias) for f in (ours, wider))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    logp = token_log_probabilities(x, head, targets, bias_V=bias, chunk=chunk)
    np.testing.assert_allclose(-(weights * logp).sum(), want[0], rtol=1e-5)


def test_sums_beside_the_loss():
    x, head, targets, weights = inputs()
    loss = jax.value_and_grad(
        lambda x: cross_entropy(x, head, targets, weights, z_loss=0.1, chunk=4), has_aux=True
    )
    (total, aux), _ = jit(loss)(x)
    np.testing.assert_allclose(aux["nll_sum"], plain(x, head, targets, weights), rtol=1e-6)
    np.testing.assert_allclose(aux["weight_sum"], weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(total, aux["nll_sum"] + 0.1 * aux["z_sum"], rtol=1e-6)
    assert float(cross_entropy(x, head, targets)[1]["weight_sum"]) == targets.size


def test_what_stands_beside_the_loss_carries_no_gradient():
    x, head, targets, weights = inputs()
    gradient = jit(jax.grad(lambda x: sum(cross_entropy(x, head, targets, weights)[1].values())))
    assert not np.any(gradient(x))


def test_token_log_probabilities():
    x, head, targets, _ = inputs()
    logits = jnp.einsum("bld,vd->blv", x, head)
    want = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    for chunk in (None, 3, 10):
        got = jit(lambda x, chunk=chunk: token_log_probabilities(x, head, targets, chunk=chunk))(x)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_under_scan_vmap_and_remat():
    x, head, targets, weights = inputs()

    def ours(x, chunk=4):
        return cross_entropy(x, head, targets, weights, chunk=chunk)[0]

    want = jit(jax.grad(lambda x: plain(x, head, targets, weights)))(x)

    def scanned(x):
        return jax.lax.scan(lambda total, s: (total + jax.checkpoint(ours)(s * x), None), 0.0, jnp.ones(3))[0]

    np.testing.assert_allclose(jit(jax.grad(scanned))(x), 3 * want, rtol=1e-5, atol=1e-5)
    stacked = jit(jax.vmap(jax.grad(ours)))(jnp.stack([x, 2 * x]))
    np.testing.assert_allclose(stacked[0], want, rtol=1e-5, atol=1e-5)


def test_bf16_gradients_keep_their_types_and_their_direction():
    x, head, targets, weights = inputs(dtype=jnp.bfloat16)
    ours = jax.grad(lambda x, h: cross_entropy(x, h, targets, weights, chunk=4)[0], (0, 1))
    dx, dhead = jit(ours)(x, head)
    assert dx.dtype == dhead.dtype == jnp.bfloat16
    theirs = jit(jax.grad(lambda x, h: plain(x, h, targets, weights), (0, 1)))
    want = theirs(x.astype(jnp.float32), head.astype(jnp.float32))
    for a, b in zip((dx, dhead), want, strict=True):
        np.testing.assert_allclose(np.float32(a), b, rtol=0.05, atol=0.05)


def test_huge_logits_stay_finite():
    x, head, targets, weights = inputs()
    loss = jit(jax.value_and_grad(lambda x: cross_entropy(x, head, targets, weights)[0]))
    value, gradient = loss(1e4 * x)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_the_full_logits_are_never_held():
    """Peak memory of the gradient grows with the chunk, not with the length."""
    x, head, targets = jnp.ones((2, 512, 8)), jnp.ones((4096, 8)), jnp.zeros((2, 512), jnp.int32)

    def temporary(chunk):
        loss = jax.grad(lambda x, h: cross_entropy(x, h, targets, chunk=chunk)[0], (0, 1))
        return jax.jit(loss).lower(x, head).compile().memory_analysis().temp_size_in_bytes

    logits_bytes = 2 * 512 * 4096 * 4
    assert temporary(32) < logits_bytes / 4
    assert temporary(512) >= logits_bytes


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
@pytest.mark.parametrize("chunk", [None, 4])
def test_as_accelerators_compute_it(platform, chunk, monkeypatch):
    """Their logits have the compute type: exact in float32, and within its rounding in bfloat16."""
    monkeypatch.setattr("scaling.models.cross_entropy.platform", lambda: platform)

    def ours(x, head):
        return cross_entropy(x, head, targets, weights, z_loss=0.1, chunk=chunk)[0]

    x, head, targets, weights = inputs()
    want, want_gradients = jit(
        jax.value_and_grad(lambda x, head: plain(x, head, targets, weights, 0.1), (0, 1))
    )(x, head)
    got, gradients = jit(jax.value_and_grad(ours, (0, 1)))(x, head)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    for a, b in zip(gradients, want_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    got, gradients = jit(jax.value_and_grad(ours, (0, 1)))(x.astype(jnp.bfloat16), head.astype(jnp.bfloat16))
    np.testing.assert_allclose(got, want, rtol=5e-3)
    for a, b in zip(gradients, want_gradients, strict=True):
        np.testing.assert_allclose(np.float32(a), b, rtol=0.05, atol=0.05)
