"""Causal self-attention without a cache, over whole sequences: a readable reference and faster twins.

`full` forms the whole (L, M) score matrix. `blocks` walks over blocks of rows and forms only the part of
each that the mask can leave, which halves the work of a long causal sequence and drops what lies left of a
band; it keeps one log-sum-exp a row and forms the probabilities again on the way back, as FlashAttention
does (Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4), so no (L, M) array outlives the forward pass.
Both are plain array code that GSPMD partitions over batch and heads.

`blocks` holds scores with the keys in front of the queries, (M, L). Of the matrix products of both passes
it is then always the narrow operand (k, v: E wide) that has to be turned round for a product, never the
scores: XLA's CPU back end makes such a turn as a copy, and the copies of scores took a tenth of a step.
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from scaling.config.tiling import Bounds, attention_blocks
from scaling.models import splash
from scaling.models.axes import placement

Implementation = Literal["full", "blocks", "splash"]

# Finite, so that a row whose every visible score is masked gives a uniform row and no NaN.
_MASKED = -1e30


def causal_attention(
    q_BLHE: Array,
    k_BMKE: Array,
    v_BMKE: Array,
    *,
    segment_ids_BL: Array | None = None,
    band: int | None = None,
    scale: float | None = None,
    block: int | None = None,
    implementation: Implementation | None = None,
    dropout_rate: float = 0.0,
    key: Array | None = None,
) -> Array:
    """Softmax attention in which position l sees the positions m <= l of its own segment.

    Args:
        q_BLHE: queries, in the compute type.
        k_BMKE: keys, M = L. K divides H; each key head serves H / K query heads (Ainslie et al. 2023,
            arXiv:2305.13245).
        v_BMKE: values.
        segment_ids_BL: which document of a packed row a position belongs to; None where a row is one.
        band: how many keys a query sees, its own position the last of them: the locally banded layers of
            GPT-3 (Brown et al. 2020, section 2.1; Child et al. 2019, arXiv:1904.10509). None sees all.
        scale: what scores are multiplied by; E ** -0.5 where None.
        block: rows in a block of `blocks`; None chooses. It need not divide L.
        implementation: `full`, `blocks` or, on TPU alone, `splash`; they agree to rounding. None takes the
            kernel of the platform that the step is traced for, where the shapes suit it, and else `blocks`.
            Dropout always takes `full`.
        dropout_rate: share of the probabilities dropped.
        key: PRNG key, needed where `dropout_rate` is above 0.

    Returns:
        out_BLHE in the type of `q_BLHE`. Scores, softmax and sums over keys are accumulated in fp32.

    Raises:
        ValueError: heads that K does not divide, unequal lengths, a band or block below 1, dropout with no
            key, an unknown implementation.
    """
    B, L, H, E = q_BLHE.shape
    M, K = k_BMKE.shape[1:3]
    if M != L:
        raise ValueError(f"causal attention needs as many keys as queries, got {M} and {L}")
    if H % K:
        raise ValueError(f"{H} heads are not a multiple of {K} key-value heads")
    if (band is not None and band < 1) or (block is not None and block < 1):
        raise ValueError(f"band and block must be at least 1, got {band} and {block}")
    if dropout_rate > 0.0 and key is None:
        raise ValueError("attention dropout needs a key")
    scale = E**-0.5 if scale is None else scale
    placed = placement()
    if implementation is None:
        kernel = placed is not None and splash.runs_on(placed) and splash.fits(L, H, K)
        implementation = "splash" if kernel else "blocks"
    if implementation not in ("full", "blocks", "splash"):
        raise ValueError(f"implementation is 'full', 'blocks' or 'splash', got {implementation!r}")
    if implementation == "splash" and dropout_rate == 0.0:
        if placed is None:
            raise ValueError("splash attention needs to know the mesh it runs on")
        return splash.splash_attention(q_BLHE, k_BMKE, v_BMKE, segment_ids_BL, band, scale, placed)
    # G query heads share a key head. Batch dimensions lead, as every back end's batched product wants them.
    q_BKGLE = q_BLHE.reshape(B, L, K, H // K, E).transpose(0, 2, 3, 1, 4)
    k_BKME = k_BMKE.transpose(0, 2, 1, 3)
    v_BKME = v_BMKE.transpose(0, 2, 1, 3)
    if implementation == "full" or dropout_rate > 0.0:
        out_BKGLE = _full(q_BKGLE, k_BKME, v_BKME, segment_ids_BL, band, scale, dropout_rate, key)
    else:
        bounds = attention_blocks(L, block)
        out_BKGLE = _blocks(bounds, band, scale, q_BKGLE, k_BKME, v_BKME, segment_ids_BL)
    return out_BKGLE.transpose(0, 3, 1, 2, 4).reshape(B, L, H, E)


def _visible(rows: slice, columns: slice, segment_ids_BL: Array | None, band: int | None) -> Array:
    """Which keys the queries of `rows` see among `columns`, to broadcast against scores_BKGLM."""
    l_L1 = jnp.arange(rows.start, rows.stop)[:, None]
    m_1M = jnp.arange(columns.start, columns.stop)[None, :]
    visible = l_L1 >= m_1M
    if band is not None:
        visible &= l_L1 - m_1M < band
    if segment_ids_BL is None:
        return visible
    same_BLM = segment_ids_BL[:, rows, None] == segment_ids_BL[:, None, columns]
    return (visible & same_BLM)[:, None, None]


def _full(
    q_BKGLE: Array,
    k_BKME: Array,
    v_BKME: Array,
    segment_ids_BL: Array | None,
    band: int | None,
    scale: float,
    dropout_rate: float,
    key: Array | None,
) -> Array:
    everything = slice(0, q_BKGLE.shape[3])
    scores_BKGLM = scale * _product("bkgle,bkme->bkglm", q_BKGLE, k_BKME)
    visible = _visible(everything, everything, segment_ids_BL, band)
    attn_BKGLM = jax.nn.softmax(jnp.where(visible, scores_BKGLM, _MASKED), axis=-1)
    if dropout_rate > 0.0:
        assert key is not None
        keep = jax.random.bernoulli(key, 1.0 - dropout_rate, attn_BKGLM.shape)
        attn_BKGLM = jnp.where(keep, attn_BKGLM / (1.0 - dropout_rate), 0.0)
    out_BKGLE = _product("bkglm,bkme->bkgle", attn_BKGLM.astype(v_BKME.dtype), v_BKME)
    return out_BKGLE.astype(q_BKGLE.dtype)


def _product(equation: str, a: Array, b: Array) -> Array:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def _turned(a_BKME: Array) -> Array:
    """a_BKEM, as a copy of its own: folded into its product, XLA's CPU back end refuses it in bf16."""
    return jax.lax.optimization_barrier(a_BKME.swapaxes(-1, -2))


def _scores(
    q_BKGLE: Array,
    k_BKME: Array,
    segment_ids_BL: Array | None,
    band: int | None,
    scale: float,
    rows: slice,
    columns: slice,
) -> Array:
    """Masked scores_BKMGL of the queries `rows` and the keys `columns`."""
    scores_BKMGL = scale * _product("bkme,bkgle->bkmgl", k_BKME[..., columns, :], q_BKGLE[..., rows, :])
    visible = _visible(rows, columns, segment_ids_BL, band)
    # (L, M) to (M, 1, L), or (B, 1, 1, L, M) to (B, 1, M, 1, L).
    visible = visible.T[:, None] if visible.ndim == 2 else visible.transpose(0, 1, 4, 2, 3)
    return jnp.where(visible, scores_BKMGL, _MASKED)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _blocks(
    bounds: Bounds,
    band: int | None,
    scale: float,
    q_BKGLE: Array,
    k_BKME: Array,
    v_BKME: Array,
    segment_ids_BL: Array | None,
) -> Array:
    return _blocks_forward(bounds, band, scale, q_BKGLE, k_BKME, v_BKME, segment_ids_BL)[0]


def _blocks_forward(
    bounds: Bounds,
    band: int | None,
    scale: float,
    q_BKGLE: Array,
    k_BKME: Array,
    v_BKME: Array,
    segment_ids_BL: Array | None,
) -> tuple[Array, tuple[Array | None, ...]]:
    outs, log_sums = [], []
    for start, stop in bounds:
        first = 0 if band is None else max(0, start - band + 1)
        rows, columns = slice(start, stop), slice(first, stop)
        scores_BKMGL = _scores(q_BKGLE, k_BKME, segment_ids_BL, band, scale, rows, columns)
        peak_BK1GL = scores_BKMGL.max(2, keepdims=True)
        weights_BKMGL = jnp.exp(scores_BKMGL - peak_BK1GL)
        sum_BK1GL = weights_BKMGL.sum(2, keepdims=True)
        weights_BKMGL = weights_BKMGL.astype(v_BKME.dtype)
        out_BKEGL = _product("bkem,bkmgl->bkegl", _turned(v_BKME[..., columns, :]), weights_BKMGL) / sum_BK1GL
        outs.append(out_BKEGL.astype(q_BKGLE.dtype))
        log_sums.append(peak_BK1GL + jnp.log(sum_BK1GL))
    out_BKGLE = jnp.moveaxis(jnp.concatenate(outs, axis=-1), 2, -1)
    log_sum_BK1GL = jnp.concatenate(log_sums, axis=-1)
    return out_BKGLE, (q_BKGLE, k_BKME, v_BKME, segment_ids_BL, out_BKGLE, log_sum_BK1GL)


def _blocks_backward(
    bounds: Bounds, band: int | None, scale: float, saved: tuple[Any, ...], dout_BKGLE: Array
) -> tuple[Array, Array, Array, None]:
    """Walks over blocks of keys: their own gradients are then whole at once, and only dq adds up."""
    q_BKGLE, k_BKME, v_BKME, segment_ids_BL, out_BKGLE, log_sum_BK1GL = saved
    B, K, G, L, E = q_BKGLE.shape
    # The sum over m of attn * dattn, which softmax's gradient needs, is dout . out: one number a row.
    inner_BK1GL = _product("bkgle,bkgle->bkgl", dout_BKGLE, out_BKGLE)[:, :, None]
    dq_BKEGL = jnp.zeros((B, K, E, G, L), jnp.float32)
    dks, dvs = [], []
    for start, stop in bounds:
        last = L if band is None else min(L, stop + band - 1)
        rows, columns = slice(start, last), slice(start, stop)
        scores_BKMGL = _scores(q_BKGLE, k_BKME, segment_ids_BL, band, scale, rows, columns)
        attn_BKMGL = jnp.exp(scores_BKMGL - log_sum_BK1GL[..., rows])
        q_block, dout_block = q_BKGLE[..., rows, :], dout_BKGLE[..., rows, :]
        k_block, v_block = k_BKME[..., columns, :], v_BKME[..., columns, :]
        dattn_BKMGL = _product("bkme,bkgle->bkmgl", v_block, dout_block)
        dscores_BKMGL = (scale * attn_BKMGL * (dattn_BKMGL - inner_BK1GL[..., rows])).astype(q_BKGLE.dtype)
        dvs.append(_product("bkmgl,bkgle->bkme", attn_BKMGL.astype(dout_block.dtype), dout_block))
        dks.append(_product("bkmgl,bkgle->bkme", dscores_BKMGL, q_block))
        dq_BKEGL = dq_BKEGL.at[..., rows].add(_product("bkem,bkmgl->bkegl", _turned(k_block), dscores_BKMGL))
    dk_BKME = jnp.concatenate(dks, axis=-2).astype(k_BKME.dtype)
    dv_BKME = jnp.concatenate(dvs, axis=-2).astype(v_BKME.dtype)
    return jnp.moveaxis(dq_BKEGL.astype(q_BKGLE.dtype), 2, -1), dk_BKME, dv_BKME, None


_blocks.defvjp(_blocks_forward, _blocks_backward)
