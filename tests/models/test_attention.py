"""`blocks` against the readable `full`, and `full` against jax.nn's own attention."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.load import validate
from scaling.config.model import DecoderConfig
from scaling.models import layers
from scaling.models.attention import attention

# The algebra is on trial, not the code generator: unoptimised code compiles in half the time.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def inputs(L, H=4, K=4, B=2, E=8, dtype=jnp.float32, seed=0):
    random = np.random.default_rng(seed)
    shapes = [(B, L, H, E), (B, L, K, E), (B, L, K, E), (B, L, H, E)]
    return [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]


def segments(L, B=2):
    cuts = np.stack([np.arange(L) // 7, np.arange(L) // max(1, L // 3)])[:B]
    return jnp.asarray(cuts, jnp.int32)


def out_and_gradients_of(**kwargs):
    def of(q, k, v, dout):
        out, pull = jax.vjp(lambda q, k, v: attention(q, k, v, **kwargs), q, k, v)
        return out, *pull(dout)

    return of


def out_and_gradients(*arrays, **kwargs):
    return jit(out_and_gradients_of(**kwargs))(*arrays)


def assert_close(got, want, tolerance=1e-5):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance)


def test_full_is_jax_attention():
    q, k, v, _ = inputs(19, H=6, K=2)
    want = jax.nn.dot_product_attention(q, k, v, is_causal=True, local_window_size=(4, 0))
    assert_close([attention(q, k, v, band=5, implementation="reference")], [want])
    want = jax.nn.dot_product_attention(q, k, v, is_causal=True, scale=0.5)
    assert_close([attention(q, k, v, scale=0.5, implementation="reference")], [want])


@pytest.mark.parametrize(
    ("L", "block", "band", "segmented", "K"),
    [
        (32, 16, None, False, 4),
        (37, 16, 11, True, 2),
        pytest.param(30, 16, 40, True, 1, marks=pytest.mark.slow),
        pytest.param(7, 16, None, False, 4, marks=pytest.mark.slow),
        (1, 4, 1, True, 4),
        (300, None, 140, False, 2),
    ],
)
def test_blocks_equal_full(L, block, band, segmented, K):
    arrays = inputs(L, K=K)
    options = {"band": band, "segment_ids_BL": segments(L) if segmented else None}
    want = out_and_gradients(*arrays, implementation="reference", **options)
    got = out_and_gradients(*arrays, implementation="blocks", block=block, **options)
    assert_close(got, want)


@pytest.mark.parametrize(
    ("L", "M", "block", "causal", "prefixed", "biased", "segmented"),
    [
        (20, 33, 16, False, False, False, True),
        pytest.param(20, 33, None, False, False, True, False, marks=pytest.mark.slow),
        (37, 37, 16, True, True, False, True),
        pytest.param(37, 37, 16, True, False, True, True, marks=pytest.mark.slow),
        (18, 18, 8, False, False, True, True),
    ],
)
def test_other_masks_and_biases(L, M, block, causal, prefixed, biased, segmented):
    """Both directions, cross-attention, prefixes and biases: outputs, and gradients down to the bias's."""
    q, _, _, dout = inputs(L, H=4)
    _, k, v, _ = inputs(M, K=2, seed=1)
    rest = {
        # Every query has a key: attention over nothing is left to mean anything.
        "segment_ids_BL": jnp.minimum(segments(L), 2) if segmented else None,
        "key_segment_ids_BM": jnp.minimum(segments(M), 2) if segmented else None,
        "prefix_BM": jnp.asarray(np.arange(M) % 10 < 3)[None].repeat(2, axis=0) if prefixed else None,
    }
    bias = jnp.asarray(np.random.default_rng(2).standard_normal((4, L, M)), jnp.float32) if biased else None

    def of(implementation):
        def function(q, k, v, bias):
            return attention(
                q, k, v, causal=causal, bias_HLM=bias, block=block, implementation=implementation, **rest
            )

        out, pull = jax.vjp(function, q, k, v, bias)
        return [out, *(g for g in pull(dout) if g is not None)]

    got, want = jit(partial(of, "blocks"))(), jit(partial(of, "reference"))()
    assert len(got) == 4 + biased
    assert_close(got, want)


def test_soft_caps():
    """Scores stay below the cap, which a bias may exceed; blocks compute the same, down to the gradients."""
    q, k, v, dout = inputs(37, K=2)
    bias = jnp.asarray(np.random.default_rng(2).standard_normal((4, 37, 37)), jnp.float32)
    scores = np.einsum("blkge,bmke->bkglm", np.reshape(q, (2, 37, 2, 2, 8)), k) / np.sqrt(8)
    scores = 1.5 * np.tanh(scores / 1.5) + np.reshape(bias, (2, 2, 37, 37))
    scores = np.where(np.tri(37, dtype=bool), scores, -np.inf)
    attn = jax.nn.softmax(scores, axis=-1)
    want = np.einsum("bkglm,bmke->blkge", attn, v).reshape(q.shape)
    options = {"bias_HLM": bias, "soft_cap": 1.5}
    assert_close([attention(q, k, v, implementation="reference", **options)], [want])
    got = out_and_gradients(q, k, v, dout, implementation="blocks", block=16, **options)
    assert_close(got, out_and_gradients(q, k, v, dout, implementation="reference", **options))
    with pytest.raises(ValueError, match="positive"):
        attention(q, k, v, soft_cap=0.0)


def test_a_prefix_is_seen_by_all_of_its_segment_and_by_no_other():
    q, k, v, _ = inputs(12)
    ids = jnp.asarray(np.arange(12) // 6, jnp.int32)[None].repeat(2, axis=0)
    prefix = jnp.asarray(np.arange(12) % 6 < 3)[None].repeat(2, axis=0)

    def moved(m):
        out = attention(q, k, v.at[:, m].add(1.0), segment_ids_BL=ids, prefix_BM=prefix)
        return np.abs(out - attention(q, k, v, segment_ids_BL=ids, prefix_BM=prefix)).max((0, 2, 3)) > 1e-6

    assert moved(2).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert moved(10).nonzero()[0].tolist() == [10, 11]


def test_large_scores_stay_finite():
    q, k, v, dout = inputs(24)
    want = out_and_gradients(100 * q, k, v, dout, implementation="reference")
    got = out_and_gradients(100 * q, k, v, dout, block=8)
    assert all(np.isfinite(g).all() for g in got)
    assert_close(got, want, 2e-4)


def test_bf16_stays_near_fp32():
    arrays = inputs(24, dtype=jnp.bfloat16)
    want = out_and_gradients(*(a.astype(jnp.float32) for a in arrays), implementation="reference")
    got = out_and_gradients(*arrays, block=16)
    assert all(g.dtype == jnp.bfloat16 for g in got)
    assert_close([g.astype(jnp.float32) for g in got], want, 0.06)


def test_under_scan_vmap_and_remat():
    """Stacked layers, as the decoder runs them: the transforms change no gradient."""
    q, k, v, dout = inputs(12)
    gains_N = jnp.asarray([0.5, 1.5, 2.0])
    ids = segments(12)

    def loss(gains_N, wrap, implementation):
        def layer(x, gain):
            y = attention(x * gain, k, v, segment_ids_BL=ids, block=8, implementation=implementation)
            return x + y, None

        return (dout * jax.lax.scan(wrap(layer), q, gains_N)[0]).sum()

    want = jit(jax.grad(lambda g: loss(g, lambda f: f, "reference")))(gains_N)
    batched = jit(jax.vmap(jax.grad(lambda g: loss(g, jax.checkpoint, "blocks"))))
    got = batched(jnp.stack([gains_N, 2 * gains_N]))[0]
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_a_position_sees_no_later_one_no_other_segment_and_nothing_left_of_its_band():
    L, band = 20, 5
    q, k, v, _ = inputs(L, B=1)
    ids = segments(L, B=1)

    def moved(m):
        return attention(q, k, v.at[:, m].add(1.0), segment_ids_BL=ids, band=band, block=8)

    out_MBLHE = np.asarray(jit(jax.vmap(moved))(jnp.arange(L + 1)))
    # Index L lies outside and moves nothing; 1e-3 is above rounding and far below any weight that counts.
    sees = np.abs(out_MBLHE[:L] - out_MBLHE[L]).max((1, 3, 4)).T > 1e-3
    rows, columns = np.arange(L)[:, None], np.arange(L)[None]
    np.testing.assert_array_equal(
        sees, (columns <= rows) & (rows - columns < band) & (rows // 7 == columns // 7)
    )


def test_dropout_keeps_the_mean_and_needs_a_key():
    q, k, v, _ = inputs(12, B=1)
    keys = jax.random.split(jax.random.key(3), 4000)
    drop = jit(jax.vmap(lambda key: attention(q, k, v, dropout_rate=0.25, dropout_key=key)))
    np.testing.assert_allclose(drop(keys).mean(0), attention(q, k, v), atol=0.08)
    with pytest.raises(ValueError, match="key"):
        attention(q, k, v, dropout_rate=0.25)


def test_refuses_what_it_cannot_mean():
    q, k, v, _ = inputs(8)
    with pytest.raises(ValueError, match="multiple"):
        attention(q, k[:, :, :3], v[:, :, :3])
    with pytest.raises(ValueError, match="as many keys"):
        attention(q, k[:, :4], v[:, :4])
    with pytest.raises(ValueError, match="at least 1"):
        attention(q, k, v, band=0)
    with pytest.raises(ValueError, match="mesh is not known"):
        attention(q, k, v, implementation="splash")


def test_blocks_do_less_work_than_full():
    """The masked half is skipped, not multiplied by zero."""
    q, k, v, dout = inputs(512, H=1, K=1, B=1, E=64)

    def flops(**kwargs):
        lowered = jit(out_and_gradients_of(**kwargs)).lower(q, k, v, dout)
        return lowered.compile().cost_analysis()["flops"]

    # 4 blocks form 10/16 of the matrix, seven products of it instead of six.
    assert flops(block=128) < 0.85 * flops(implementation="reference")
    assert flops(block=128, band=128) < 0.6 * flops(implementation="reference")


@pytest.mark.parametrize("changes", [{"n_kv_heads": 2, "qk_norm": True}, {"qkv_bias": True}])
def test_projections_in_one_product_or_in_three(monkeypatch, changes):
    """A TPU computes three: outputs and gradients are the same."""
    fields = {"vocab_size": 8, "max_length": 9, "n_layers": 1, "d_model": 16, "n_heads": 4, "bias": False}
    config = validate(DecoderConfig, fields | changes)
    layer = layers.Attention(config, jax.random.key(0), causal=True, kv_heads=config.n_kv_heads)
    x, dy = (jax.random.normal(jax.random.key(i), (2, 9, 16)) for i in (1, 2))

    def both(platform):
        monkeypatch.setattr(layers, "platform", lambda: platform)
        y, pull = jax.vjp(lambda layer, x: layer(x, layers.LayerInputs())[0], layer, x)
        return jax.tree.leaves((y, pull(dy)))

    assert_close(both("tpu"), both("cpu"))
