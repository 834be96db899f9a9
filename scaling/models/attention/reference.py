"""The readable reference of attention: the complete (L, M) matrix of scores, masked, through a softmax.

`scaling.models.attention` computes the same in other ways where those are faster; every one of them is tested
against this file. Dropout of probabilities and decoding over a cache are computed here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Finite, so that a row whose scores are all masked gives a uniform row and no NaN.
MASKED = -1e30


class Static(NamedTuple):
    """What is known of an attention before there is data: hashable, so that a custom VJP can carry it."""

    causal: bool
    band: int | None
    scale: float
    soft_cap: float | None = None


class Arrays(NamedTuple):
    """Arrays that decide which keys are visible, and a bias that is added to scores; each may be None.

    Segments are given for both queries and keys, or for neither.
    """

    segment_ids_BL: Array | None
    key_segment_ids_BM: Array | None
    prefix_BM: Array | None
    bias_HLM: Array | None

    @property
    def segments(self) -> tuple[Array, Array] | None:
        """Those of the queries (B, L) and of the keys (B, M)."""
        if self.segment_ids_BL is None or self.key_segment_ids_BM is None:
            return None
        return self.segment_ids_BL, self.key_segment_ids_BM


def visible_keys(static: Static, arrays: Arrays, rows: slice, columns: slice) -> Array | None:
    """Which keys of `columns` the queries `rows` see, (B or 1, 1, 1, L, M); None if they see all of them."""
    visible: Array | None = None
    if static.causal:
        distance_LM = (
            jnp.arange(rows.start, rows.stop)[:, None] - jnp.arange(columns.start, columns.stop)[None, :]
        )
        seen_LM = distance_LM >= 0
        if static.band is not None:
            seen_LM &= distance_LM < static.band
        visible = seen_LM[None]
        if arrays.prefix_BM is not None:
            visible = visible | (arrays.prefix_BM[:, None, columns] != 0)
    if arrays.segments is not None:
        ids_BL, key_ids_BM = arrays.segments
        same_BLM = ids_BL[:, rows, None] == key_ids_BM[:, None, columns]
        visible = same_BLM if visible is None else visible & same_BLM
    return None if visible is None else visible[:, None, None]


def reference_attention(
    static: Static,
    q_BKGLE: Array,
    k_BKME: Array,
    v_BKME: Array,
    arrays: Arrays,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> Array:
    """out_BKGLE = softmax(scale q k^T + bias, masked) v (Vaswani et al. 2017, equation 1).

    H = K G query heads share K key heads, G of them each. Scores and softmax are float32.
    """
    scores_BKGLM = capped(static.soft_cap, static.scale * product("bkgle,bkme->bkglm", q_BKGLE, k_BKME))
    if arrays.bias_HLM is not None:
        scores_BKGLM = scores_BKGLM + arrays.bias_HLM.astype(jnp.float32).reshape(scores_BKGLM.shape[1:])
    visible = visible_keys(static, arrays, slice(0, q_BKGLE.shape[3]), slice(0, k_BKME.shape[2]))
    if visible is not None:
        scores_BKGLM = jnp.where(visible, scores_BKGLM, MASKED)
    attn_BKGLM = jax.nn.softmax(scores_BKGLM, axis=-1)
    if dropout_rate > 0.0:
        assert dropout_key is not None
        keep = jax.random.bernoulli(dropout_key, 1.0 - dropout_rate, attn_BKGLM.shape)
        attn_BKGLM = jnp.where(keep, attn_BKGLM / (1.0 - dropout_rate), 0.0)
    out_BKGLE = product("bkglm,bkme->bkgle", attn_BKGLM.astype(v_BKME.dtype), v_BKME)
    return out_BKGLE.astype(q_BKGLE.dtype)


def cached_attention(
    q_BLHE: Array,
    keys_BMKE: Array,
    values_BMKE: Array,
    *,
    positions_BL: Array | None = None,
    band: int | None = None,
    real_BM: Array | None = None,
    bias_BHLM: Array | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
) -> Array:
    """out_BLHE of queries over cached keys.

    With `positions_BL`, those of the queries, attention is causal: key m is at position m, and a query sees
    the `band` positions that end at its own, or all up to it. `real_BM` is 0 at keys of padding. `scale`,
    `band` and `soft_cap` are those of `attention`.
    """
    B, L, H, E = q_BLHE.shape
    M, K = keys_BMKE.shape[1:3]
    visible_BLM = None if real_BM is None else (real_BM != 0)[:, None]
    if positions_BL is not None:
        distance_BLM = positions_BL[:, :, None] - jnp.arange(M)
        visible_BLM = distance_BLM >= 0
        if band is not None:
            visible_BLM &= distance_BLM < band
    q_BLKGE = q_BLHE.reshape(B, L, K, H // K, E)
    scores_BKGLM = product("BLKGE,BMKE->BKGLM", q_BLKGE, keys_BMKE)
    scores_BKGLM = capped(soft_cap, scores_BKGLM * (E**-0.5 if scale is None else scale))
    if bias_BHLM is not None:
        scores_BKGLM += bias_BHLM.reshape(bias_BHLM.shape[0], K, H // K, *bias_BHLM.shape[2:])
    if visible_BLM is not None:
        scores_BKGLM = jnp.where(visible_BLM[:, None, None], scores_BKGLM, MASKED)
    attn_BKGLM = jax.nn.softmax(scores_BKGLM, axis=-1).astype(values_BMKE.dtype)
    return jnp.einsum("BKGLM,BMKE->BLKGE", attn_BKGLM, values_BMKE).reshape(B, L, H, E)


def capped(soft_cap: float | None, scores: Array) -> Array:
    """Scores squashed into (-cap, cap): cap * tanh(scores / cap); unchanged without a cap."""
    return scores if soft_cap is None else soft_cap * jnp.tanh(scores / soft_cap)


def product(equation: str, a: Array, b: Array) -> Array:
    """`einsum`, accumulated in float32."""
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)
