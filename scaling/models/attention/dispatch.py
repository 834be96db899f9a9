"""Which implementation computes an attention."""

from typing import Literal, get_args

from jax import Array

from scaling.models.attention import cudnn, splash
from scaling.models.attention.blocks import block_attention
from scaling.models.attention.reference import Arrays, Static, product, reference_attention
from scaling.models.attention.ring import ring_attention, split_axis
from scaling.models.axes import MeshPlacement, placement, tap

Implementation = Literal["reference", "blocks", "ring", "splash", "cudnn"]


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
    dropout_key: Array | None = None,
) -> Array:
    """Softmax attention. If it is causal, position l sees the positions m <= l.

    Args:
        q_BLHE: queries, in the compute type.
        k_BMKE: keys; M = L if causal. K divides H; each key head serves H / K query heads (Ainslie et al.
            2023, arXiv:2305.13245).
        v_BMKE: values.
        causal: whether a position sees no later one.
        segment_ids_BL: attention stays within a segment: a document of a packed row, or what is not padding.
            None if a row is one segment.
        key_segment_ids_BM: segments of the keys, if they are not those of the queries.
        prefix_BM: non-zero at keys that all of their segment sees, whatever comes later: the prefix LM (Liu
            et al. 2018, arXiv:1801.10198; Raffel et al. 2019, section 3.2.1).
        band: how many keys a query sees, its own position the last of them: the locally banded layers of
            GPT-3 (Brown et al. 2020, section 2.1; Child et al. 2019, arXiv:1904.10509). None sees all.
        bias_HLM: added to the scores of every row of the batch (relative positions); differentiable.
        scale: multiplies the scores; None is E ** -0.5.
        block: rows in a block of `blocks`; None chooses. It need not divide L.
        implementation: they agree to rounding. None takes the fused kernel of the platform that the step is
            traced for (`splash`, `cudnn`) if it supports the arrays, `ring` if the sequence is split over
            devices, else `blocks`. Dropout always takes `reference`.
        dropout_rate: share of the probabilities dropped.
        dropout_key: PRNG key, required if `dropout_rate` is above 0.

    Returns:
        out_BLHE in the type of `q_BLHE`. Scores, softmax and sums over keys are accumulated in float32.

    Raises:
        ValueError: heads that K does not divide, unequal lengths of a causal attention, a band or block below
            1, dropout without a key, an unknown implementation.
    """
    B, L, H, E = q_BLHE.shape
    M, K = k_BMKE.shape[1:3]
    if causal and M != L:
        raise ValueError(f"causal attention needs as many keys as queries, got {M} and {L}")
    if H % K:
        raise ValueError(f"{H} heads are not a multiple of {K} key-value heads")
    if (band is not None and band < 1) or (block is not None and block < 1):
        raise ValueError(f"band and block must be at least 1, got {band} and {block}")
    if dropout_rate > 0.0 and dropout_key is None:
        raise ValueError("attention dropout needs a key")
    scale = E**-0.5 if scale is None else scale
    tap(
        "attention logits",
        lambda: scale * product("blkge,bmke->bkglm", q_BLHE.reshape(B, L, K, H // K, E), k_BMKE),
    )
    tap("scaled queries", lambda: scale**0.5 * q_BLHE)
    tap("scaled keys", lambda: scale**0.5 * k_BMKE)
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
            raise ValueError("a fused kernel needs to know its mesh, and supports no prefix and no bias")
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
    static = Static(causal, band, scale)
    arrays = Arrays(segment_ids_BL, key_segment_ids_BM, prefix_BM, bias_KGLM)
    if implementation == "reference" or dropout_rate > 0.0:
        out_BKGLE = reference_attention(static, q_BKGLE, k_BKME, v_BKME, arrays, dropout_rate, dropout_key)
    else:
        out_BKGLE = block_attention(static, q_BKGLE, k_BKME, v_BKME, arrays, block)
    return out_BKGLE.transpose(0, 3, 1, 2, 4).reshape(B, L, H, E)


def _kernel(
    placed: MeshPlacement | None, axis: str | None, q_BLHE: Array, k_BMKE: Array, segments: bool
) -> Literal["splash", "cudnn"] | None:
    """The fused kernel of the platform, where it takes these arrays; `axis` splits their sequence."""
    if placed is None:
        return None
    ways = 1 if axis is None else placed.mesh.shape[axis]
    if splash.runs_on(placed) and splash.fits(q_BLHE.shape[1] // ways, k_BMKE.shape[1]):
        return "splash"
    if axis is None and cudnn.runs_on(placed) and cudnn.fits(q_BLHE, k_BMKE, segments):
        return "cudnn"
    return None
