"""Attention by blocks of plain array code, which GSPMD partitions over batch and heads.

It walks over blocks of rows and forms only the part of each that the mask can leave, which halves the work of
a long causal sequence and skips what is left of a band. It keeps one log-sum-exp per row and computes the
probabilities again in the backward pass, as FlashAttention does (Dao et al. 2022, arXiv:2205.14135,
algorithms 1 and 4), so no (L, M) array outlives the forward pass.

Scores are held with the keys in front of the queries, (M, L). Of the matrix products of both passes the
narrow operand (k, v: E wide) is then always the one to be transposed, never the scores: XLA's CPU back end
makes a transpose into a copy, and copies of scores took a tenth of a step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from scaling.config.mesh import Bounds, attention_blocks
from scaling.models.attention.reference import MASKED, Arrays, Static, capped, product, visible_keys


class _Tiles(NamedTuple):
    """An attention cut into blocks; hashable."""

    static: Static
    rows: Bounds  # blocks of queries
    columns: Bounds  # blocks of keys

    def keys_seen(self, start: int, stop: int, prefixed: bool) -> slice:
        """The keys that the queries start:stop may see; with a prefix any of them."""
        if not self.static.causal or prefixed:
            return slice(0, self.columns[-1][1])
        band = self.static.band
        return slice(0 if band is None else max(0, start - band + 1), stop)

    def queries_seeing(self, start: int, stop: int, prefixed: bool) -> slice:
        """The queries that may see the keys start:stop."""
        length = self.rows[-1][1]
        if not self.static.causal or prefixed:
            return slice(0, length)
        band = self.static.band
        return slice(start, length if band is None else min(length, stop + band - 1))


def block_attention(
    static: Static, q_BKGLE: Array, k_BKME: Array, v_BKME: Array, arrays: Arrays, block: int | None = None
) -> Array:
    """out_BKGLE, as `reference_attention` gives it; `block` rows at a time, None chooses."""
    L, M = q_BKGLE.shape[3], k_BKME.shape[2]
    tiles = _Tiles(static, attention_blocks(L, block), attention_blocks(M, block))
    return _blocks(tiles, q_BKGLE, k_BKME, v_BKME, arrays)


def _transposed(a_BKME: Array) -> Array:
    """a_BKEM as a copy: XLA's CPU back end refuses a transpose folded into a product in bf16."""
    return jax.lax.optimization_barrier(a_BKME.swapaxes(-1, -2))


def _capped_scores(static: Static, q_BKGLE: Array, k_BKME: Array) -> Array:
    """scores_BKMGL before biases and masks."""
    return capped(static.soft_cap, static.scale * product("bkme,bkgle->bkmgl", k_BKME, q_BKGLE))


def _scores(
    tiles: _Tiles, q_BKGLE: Array, k_BKME: Array, arrays: Arrays, rows: slice, columns: slice
) -> Array:
    """Masked scores_BKMGL of the queries `rows` and the keys `columns`."""
    scores_BKMGL = _capped_scores(tiles.static, q_BKGLE[..., rows, :], k_BKME[..., columns, :])
    if arrays.bias_HLM is not None:
        bias_HLM = arrays.bias_HLM[..., rows, columns].astype(jnp.float32)
        bias_KGLM = bias_HLM.reshape(*q_BKGLE.shape[1:3], *bias_HLM.shape[1:])
        scores_BKMGL = scores_BKMGL + bias_KGLM.transpose(0, 3, 1, 2)
    visible = visible_keys(tiles.static, arrays, rows, columns)
    if visible is None:
        return scores_BKMGL
    return jnp.where(visible.transpose(0, 1, 4, 2, 3), scores_BKMGL, MASKED)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocks(tiles: _Tiles, q_BKGLE: Array, k_BKME: Array, v_BKME: Array, arrays: Arrays) -> Array:
    return _blocks_forward(tiles, q_BKGLE, k_BKME, v_BKME, arrays)[0]


def _blocks_forward(
    tiles: _Tiles, q_BKGLE: Array, k_BKME: Array, v_BKME: Array, arrays: Arrays
) -> tuple[Array, tuple[Any, ...]]:
    outs, log_sums = [], []
    for start, stop in tiles.rows:
        rows = slice(start, stop)
        columns = tiles.keys_seen(start, stop, arrays.prefix_BM is not None)
        scores_BKMGL = _scores(tiles, q_BKGLE, k_BKME, arrays, rows, columns)
        peak_BK1GL = scores_BKMGL.max(2, keepdims=True)
        weights_BKMGL = jnp.exp(scores_BKMGL - peak_BK1GL)
        sum_BK1GL = weights_BKMGL.sum(2, keepdims=True)
        weights_BKMGL = weights_BKMGL.astype(v_BKME.dtype)
        out_BKEGL = (
            product("bkem,bkmgl->bkegl", _transposed(v_BKME[..., columns, :]), weights_BKMGL) / sum_BK1GL
        )
        outs.append(out_BKEGL.astype(q_BKGLE.dtype))
        log_sums.append(peak_BK1GL + jnp.log(sum_BK1GL))
    out_BKGLE = jnp.moveaxis(jnp.concatenate(outs, axis=-1), 2, -1)
    log_sum_BK1GL = jnp.concatenate(log_sums, axis=-1)
    return out_BKGLE, (q_BKGLE, k_BKME, v_BKME, arrays, out_BKGLE, log_sum_BK1GL)


def _blocks_backward(
    tiles: _Tiles, saved: tuple[Any, ...], dout_BKGLE: Array
) -> tuple[Array, Array, Array, Arrays]:
    """Walks over blocks of keys: their own gradients are then complete at once, and only dq accumulates."""
    q_BKGLE, k_BKME, v_BKME, arrays, out_BKGLE, log_sum_BK1GL = saved
    B, K, G, L, E = q_BKGLE.shape
    # The sum over m of attn * dattn, which softmax's gradient needs, is dout . out: one number per row.
    inner_BK1GL = product("bkgle,bkgle->bkgl", dout_BKGLE, out_BKGLE)[:, :, None]
    dq_BKEGL = jnp.zeros((B, K, E, G, L), jnp.float32)
    dks, dvs, dbiases = [], [], []
    for start, stop in tiles.columns:
        columns = slice(start, stop)
        rows = tiles.queries_seeing(start, stop, arrays.prefix_BM is not None)
        scores_BKMGL = _scores(tiles, q_BKGLE, k_BKME, arrays, rows, columns)
        attn_BKMGL = jnp.exp(scores_BKMGL - log_sum_BK1GL[..., rows])
        q_block, dout_block = q_BKGLE[..., rows, :], dout_BKGLE[..., rows, :]
        k_block, v_block = k_BKME[..., columns, :], v_BKME[..., columns, :]
        dattn_BKMGL = product("bkme,bkgle->bkmgl", v_block, dout_block)
        dscores_BKMGL = attn_BKMGL * (dattn_BKMGL - inner_BK1GL[..., rows])
        if arrays.bias_HLM is not None:
            unseen = ((0, 0), (0, 0), (rows.start, L - rows.stop), (0, 0))
            dbiases.append(jnp.pad(dscores_BKMGL.sum(0).transpose(0, 2, 3, 1), unseen))
        if (cap := tiles.static.soft_cap) is not None:
            dscores_BKMGL *= 1 - (_capped_scores(tiles.static, q_block, k_block) / cap) ** 2
        dscores_BKMGL = (tiles.static.scale * dscores_BKMGL).astype(q_BKGLE.dtype)
        dvs.append(product("bkmgl,bkgle->bkme", attn_BKMGL.astype(dout_block.dtype), dout_block))
        dks.append(product("bkmgl,bkgle->bkme", dscores_BKMGL, q_block))
        dq_BKEGL = dq_BKEGL.at[..., rows].add(
            product("bkem,bkmgl->bkegl", _transposed(k_block), dscores_BKMGL)
        )
    dk_BKME = jnp.concatenate(dks, axis=-2).astype(k_BKME.dtype)
    dv_BKME = jnp.concatenate(dvs, axis=-2).astype(v_BKME.dtype)
    dbias_HLM = None
    if arrays.bias_HLM is not None:
        dbias_KGLM = jnp.concatenate(dbiases, axis=-1).astype(arrays.bias_HLM.dtype)
        dbias_HLM = dbias_KGLM.reshape(arrays.bias_HLM.shape)
    darrays = Arrays(None, None, None, dbias_HLM)
    return jnp.moveaxis(dq_BKEGL.astype(q_BKGLE.dtype), 2, -1), dk_BKME, dv_BKME, darrays


_blocks.defvjp(_blocks_forward, _blocks_backward)
