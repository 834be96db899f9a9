"""Attention without a cache, over whole sequences: a readable reference and faster twins.

`full` forms the whole (L, M) score matrix. `blocks` walks over blocks of rows and forms only the part of
each that the mask can leave, which halves the work of a long causal sequence and drops what lies left of a
band; it keeps one log-sum-exp a row and forms the probabilities again on the way back, as FlashAttention
does (Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4), so no (L, M) array outlives the forward pass.
Both are plain array code that GSPMD partitions over batch and heads. Where the sequence itself is split over
devices `ring` takes their place (`scaling.models.ring`). On TPU (`scaling.models.splash`; keys of a split
sequence are gathered first) and NVIDIA's GPUs (`scaling.models.cudnn`) a fused kernel does it, where it takes
what it is given.

`blocks` holds scores with the keys in front of the queries, (M, L). Of the matrix products of both passes
it is then always the narrow operand (k, v: E wide) that has to be turned round for a product, never the
scores: XLA's CPU back end makes such a turn as a copy, and the copies of scores took a tenth of a step.
"""

from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array

from scaling.config.tiling import Bounds, attention_blocks
from scaling.models import cudnn, splash
from scaling.models.axes import Placement, placement
from scaling.models.ring import ring_attention, split_axis
from scaling.models.taps import tap

Implementation = Literal["full", "blocks", "ring", "splash", "cudnn"]

# Finite, so that a row whose every visible score is masked gives a uniform row and no NaN.
_MASKED = -1e30


class _Form(NamedTuple):
    """What is known of an attention before there is data: hashable, so that a custom VJP can carry it."""

    causal: bool
    band: int | None
    scale: float
    rows: Bounds  # blocks of queries
    columns: Bounds  # blocks of keys

    def keys_seen(self, start: int, stop: int, whole: bool) -> slice:
        """The keys that the queries start:stop may see; `whole` where a mask may reach ahead."""
        if not self.causal or whole:
            return slice(0, self.columns[-1][1])
        return slice(0 if self.band is None else max(0, start - self.band + 1), stop)

    def queries_seeing(self, start: int, stop: int, whole: bool) -> slice:
        """The queries that may see the keys start:stop."""
        length = self.rows[-1][1]
        if not self.causal or whole:
            return slice(0, length)
        return slice(start, length if self.band is None else min(length, stop + self.band - 1))


class _Given(NamedTuple):
    """Arrays that say what is seen, and what is added to scores; each may be None."""

    segment_ids_BL: Array | None
    key_segment_ids_BM: Array | None
    prefix_BM: Array | None
    bias_KGLM: Array | None


def attention(
    q_BLHE: Array,
    k_BMKE: Array,
    v_BMKE: Array,
    *,
    causal: bool = True,
    segment_ids_BL: Array | None = None,
    key_segment_ids_BM: Array | None = None,
    prefix_BM: Array | None = None,
    band: int | None = None,
    bias_HLM: Array | None = None,
    scale: float | None = None,
    block: int | None = None,
    implementation: Implementation | None = None,
    dropout_rate: float = 0.0,
    key: Array | None = None,
) -> Array:
    """Softmax attention; where it is causal, position l sees the positions m <= l.

    Args:
        q_BLHE: queries, in the compute type.
        k_BMKE: keys; M = L where causal. K divides H; each key head serves H / K query heads (Ainslie et al.
            2023, arXiv:2305.13245).
        v_BMKE: values.
        causal: whether a position sees no later one.
        segment_ids_BL: attention stays inside a segment: a document of a packed row, or what is no padding.
            None where a row is one.
        key_segment_ids_BM: segments of the keys, where they are not those of the queries.
        prefix_BM: non-zero at keys that all of their segment sees, whatever comes later: the prefix LM (Liu
            et al. 2018, arXiv:1801.10198; Raffel et al. 2019, section 3.2.1).
        band: how many keys a query sees, its own position the last of them: the locally banded layers of
            GPT-3 (Brown et al. 2020, section 2.1; Child et al. 2019, arXiv:1904.10509). None sees all.
        bias_HLM: added to the scores of every row of the batch (relative positions); differentiable.
        scale: what scores are multiplied by; E ** -0.5 where None.
        block: rows in a block of `blocks`; None chooses. It need not divide L.
        implementation: `full`, `blocks`, `ring` where the sequence is split over devices or the kernels
            `splash` (on TPU) and `cudnn` (on NVIDIA's GPUs); they agree to rounding. None takes the kernel of
            the platform that the step is traced for, where the arrays suit it, and else `ring` or `blocks`.
            Dropout always takes `full`.
        dropout_rate: share of the probabilities dropped.
        key: PRNG key, needed where `dropout_rate` is above 0.

    Returns:
        out_BLHE in the type of `q_BLHE`. Scores, softmax and sums over keys are accumulated in fp32.

    Raises:
        ValueError: heads that K does not divide, unequal lengths of a causal attention, a band or block below
            1, dropout with no key, an unknown implementation.
    """
    B, L, H, E = q_BLHE.shape
    M, K = k_BMKE.shape[1:3]
    if causal and M != L:
        raise ValueError(f"causal attention needs as many keys as queries, got {M} and {L}")
    if H % K:
        raise ValueError(f"{H} heads are not a multiple of {K} key-value heads")
    if (band is not None and band < 1) or (block is not None and block < 1):
        raise ValueError(f"band and block must be at least 1, got {band} and {block}")
    if dropout_rate > 0.0 and key is None:
        raise ValueError("attention dropout needs a key")
    scale = E**-0.5 if scale is None else scale
    factor = scale

    def scores() -> Array:
        q_BLKGE = q_BLHE.reshape(B, L, K, H // K, E)
        return factor * _product("blkge,bmke->bkglm", q_BLKGE, k_BMKE)

    tap("attention logits", scores)
    if key_segment_ids_BM is None:
        key_segment_ids_BM = segment_ids_BL
    placed = placement()
    axis = split_axis(placed, L, M)
    segments = None
    if segment_ids_BL is not None and key_segment_ids_BM is not None:
        segments = (segment_ids_BL, key_segment_ids_BM)
    plain = prefix_BM is None and bias_HLM is None and dropout_rate == 0.0
    if implementation is None:
        kernel = _kernel(placed, axis, q_BLHE, k_BMKE, segments is not None) if plain else None
        implementation = kernel or ("blocks" if axis is None else "ring")
    if implementation not in get_args(Implementation):
        raise ValueError(f"implementation is one of {get_args(Implementation)}, got {implementation!r}")
    if implementation in ("splash", "cudnn") and dropout_rate == 0.0:
        if placed is None or not plain:
            raise ValueError("a fused kernel needs to know its mesh, and takes no prefix and no bias")
        if implementation == "splash":
            return splash.splash_attention(
                q_BLHE, k_BMKE, v_BMKE, segments, causal, band, scale, placed, axis
            )
        return cudnn.cudnn_attention(q_BLHE, k_BMKE, v_BMKE, segments, causal, band, scale, placed)
    if implementation == "ring" and dropout_rate == 0.0:
        if placed is None or axis is None:
            raise ValueError("ring attention needs a mesh that splits the sequence")
        return ring_attention(
            q_BLHE,
            k_BMKE,
            v_BMKE,
            axis=axis,
            placed=placed,
            causal=causal,
            band=band,
            scale=scale,
            segments=segments,
            prefix_BM=prefix_BM,
            bias_HLM=bias_HLM,
        )
    # G query heads share a key head. Batch dimensions lead, as every back end's batched product wants them.
    q_BKGLE = q_BLHE.reshape(B, L, K, H // K, E).transpose(0, 2, 3, 1, 4)
    k_BKME = k_BMKE.transpose(0, 2, 1, 3)
    v_BKME = v_BMKE.transpose(0, 2, 1, 3)
    bias_KGLM = None if bias_HLM is None else bias_HLM.reshape(K, H // K, L, M)
    given = _Given(segment_ids_BL, key_segment_ids_BM, prefix_BM, bias_KGLM)
    form = _Form(causal, band, scale, attention_blocks(L, block), attention_blocks(M, block))
    if implementation == "full" or dropout_rate > 0.0:
        out_BKGLE = _full(form, q_BKGLE, k_BKME, v_BKME, given, dropout_rate, key)
    else:
        out_BKGLE = _blocks(form, q_BKGLE, k_BKME, v_BKME, given)
    return out_BKGLE.transpose(0, 3, 1, 2, 4).reshape(B, L, H, E)


def _kernel(
    placed: Placement | None, axis: str | None, q_BLHE: Array, k_BMKE: Array, segments: bool
) -> Literal["splash", "cudnn"] | None:
    """The fused kernel of the platform, where it takes these arrays; `axis` splits their sequence."""
    if placed is None:
        return None
    (L, H), (M, K) = q_BLHE.shape[1:3], k_BMKE.shape[1:3]
    ways = 1 if axis is None else placed.mesh.shape[axis]
    if splash.runs_on(placed) and splash.fits(L // ways, M, H, K):
        return "splash"
    if axis is None and cudnn.runs_on(placed) and cudnn.fits(q_BLHE, k_BMKE, segments):
        return "cudnn"
    return None


def _visible(form: _Form, given: _Given, rows: slice, columns: slice) -> Array | None:
    """Which keys the queries of `rows` see among `columns`: (B or 1, 1, 1, L, M); None where all of them."""
    visible: Array | None = None
    if form.causal:
        distance_LM = (
            jnp.arange(rows.start, rows.stop)[:, None] - jnp.arange(columns.start, columns.stop)[None, :]
        )
        seen_LM = distance_LM >= 0
        if form.band is not None:
            seen_LM &= distance_LM < form.band
        visible = seen_LM[None]
        if given.prefix_BM is not None:
            visible = visible | (given.prefix_BM[:, None, columns] != 0)
    if given.segment_ids_BL is not None and given.key_segment_ids_BM is not None:
        same_BLM = given.segment_ids_BL[:, rows, None] == given.key_segment_ids_BM[:, None, columns]
        visible = same_BLM if visible is None else visible & same_BLM
    return None if visible is None else visible[:, None, None]


def _full(
    form: _Form,
    q_BKGLE: Array,
    k_BKME: Array,
    v_BKME: Array,
    given: _Given,
    dropout_rate: float,
    key: Array | None,
) -> Array:
    scores_BKGLM = form.scale * _product("bkgle,bkme->bkglm", q_BKGLE, k_BKME)
    if given.bias_KGLM is not None:
        scores_BKGLM = scores_BKGLM + given.bias_KGLM.astype(jnp.float32)
    visible = _visible(form, given, slice(0, q_BKGLE.shape[3]), slice(0, k_BKME.shape[2]))
    if visible is not None:
        scores_BKGLM = jnp.where(visible, scores_BKGLM, _MASKED)
    attn_BKGLM = jax.nn.softmax(scores_BKGLM, axis=-1)
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


def _scores(form: _Form, q_BKGLE: Array, k_BKME: Array, given: _Given, rows: slice, columns: slice) -> Array:
    """Masked scores_BKMGL of the queries `rows` and the keys `columns`."""
    scores_BKMGL = form.scale * _product("bkme,bkgle->bkmgl", k_BKME[..., columns, :], q_BKGLE[..., rows, :])
    if given.bias_KGLM is not None:
        bias_KGLM = given.bias_KGLM[..., rows, columns].astype(jnp.float32)
        scores_BKMGL = scores_BKMGL + bias_KGLM.transpose(0, 3, 1, 2)
    visible = _visible(form, given, rows, columns)
    if visible is None:
        return scores_BKMGL
    return jnp.where(visible.transpose(0, 1, 4, 2, 3), scores_BKMGL, _MASKED)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocks(form: _Form, q_BKGLE: Array, k_BKME: Array, v_BKME: Array, given: _Given) -> Array:
    return _blocks_forward(form, q_BKGLE, k_BKME, v_BKME, given)[0]


def _blocks_forward(
    form: _Form, q_BKGLE: Array, k_BKME: Array, v_BKME: Array, given: _Given
) -> tuple[Array, tuple[Any, ...]]:
    outs, log_sums = [], []
    for start, stop in form.rows:
        rows = slice(start, stop)
        columns = form.keys_seen(start, stop, given.prefix_BM is not None)
        scores_BKMGL = _scores(form, q_BKGLE, k_BKME, given, rows, columns)
        peak_BK1GL = scores_BKMGL.max(2, keepdims=True)
        weights_BKMGL = jnp.exp(scores_BKMGL - peak_BK1GL)
        sum_BK1GL = weights_BKMGL.sum(2, keepdims=True)
        weights_BKMGL = weights_BKMGL.astype(v_BKME.dtype)
        out_BKEGL = _product("bkem,bkmgl->bkegl", _turned(v_BKME[..., columns, :]), weights_BKMGL) / sum_BK1GL
        outs.append(out_BKEGL.astype(q_BKGLE.dtype))
        log_sums.append(peak_BK1GL + jnp.log(sum_BK1GL))
    out_BKGLE = jnp.moveaxis(jnp.concatenate(outs, axis=-1), 2, -1)
    log_sum_BK1GL = jnp.concatenate(log_sums, axis=-1)
    return out_BKGLE, (q_BKGLE, k_BKME, v_BKME, given, out_BKGLE, log_sum_BK1GL)


def _blocks_backward(
    form: _Form, saved: tuple[Any, ...], dout_BKGLE: Array
) -> tuple[Array, Array, Array, _Given]:
    """Walks over blocks of keys: their own gradients are then whole at once, and only dq adds up."""
    q_BKGLE, k_BKME, v_BKME, given, out_BKGLE, log_sum_BK1GL = saved
    B, K, G, L, E = q_BKGLE.shape
    # The sum over m of attn * dattn, which softmax's gradient needs, is dout . out: one number a row.
    inner_BK1GL = _product("bkgle,bkgle->bkgl", dout_BKGLE, out_BKGLE)[:, :, None]
    dq_BKEGL = jnp.zeros((B, K, E, G, L), jnp.float32)
    dks, dvs, dbiases = [], [], []
    for start, stop in form.columns:
        columns = slice(start, stop)
        rows = form.queries_seeing(start, stop, given.prefix_BM is not None)
        scores_BKMGL = _scores(form, q_BKGLE, k_BKME, given, rows, columns)
        attn_BKMGL = jnp.exp(scores_BKMGL - log_sum_BK1GL[..., rows])
        q_block, dout_block = q_BKGLE[..., rows, :], dout_BKGLE[..., rows, :]
        k_block, v_block = k_BKME[..., columns, :], v_BKME[..., columns, :]
        dattn_BKMGL = _product("bkme,bkgle->bkmgl", v_block, dout_block)
        dscores_BKMGL = attn_BKMGL * (dattn_BKMGL - inner_BK1GL[..., rows])
        if given.bias_KGLM is not None:
            unseen = ((0, 0), (0, 0), (rows.start, L - rows.stop), (0, 0))
            dbiases.append(jnp.pad(dscores_BKMGL.sum(0).transpose(0, 2, 3, 1), unseen))
        dscores_BKMGL = (form.scale * dscores_BKMGL).astype(q_BKGLE.dtype)
        dvs.append(_product("bkmgl,bkgle->bkme", attn_BKMGL.astype(dout_block.dtype), dout_block))
        dks.append(_product("bkmgl,bkgle->bkme", dscores_BKMGL, q_block))
        dq_BKEGL = dq_BKEGL.at[..., rows].add(_product("bkem,bkmgl->bkegl", _turned(k_block), dscores_BKMGL))
    dk_BKME = jnp.concatenate(dks, axis=-2).astype(k_BKME.dtype)
    dv_BKME = jnp.concatenate(dvs, axis=-2).astype(v_BKME.dtype)
    dbias_KGLM = None
    if given.bias_KGLM is not None:
        dbias_KGLM = jnp.concatenate(dbiases, axis=-1).astype(given.bias_KGLM.dtype)
    dgiven = _Given(None, None, None, dbias_KGLM)
    return jnp.moveaxis(dq_BKEGL.astype(q_BKGLE.dtype), 2, -1), dk_BKME, dv_BKME, dgiven


_blocks.defvjp(_blocks_forward, _blocks_backward)
