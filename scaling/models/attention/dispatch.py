"""Which implementation computes an attention, and why no fused kernel does."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple, get_args

from jax import Array

from scaling.models.attention import cudnn, splash
from scaling.models.attention.blocks import block_attention
from scaling.models.attention.reference import Arrays, Static, capped, product, reference_attention
from scaling.models.attention.ring import ring_attention, split_axis
from scaling.models.axes import MeshPlacement, placement, tap

Implementation = Literal["reference", "blocks", "ring", "splash", "cudnn"]
KERNELS = ("splash", "cudnn")


class Choice(NamedTuple):
    """The implementation of an attention; `why_not` is why it is no fused kernel."""

    attention: str  # its form, as "causal over 2,048 positions, 16 heads of 64 sharing 8 key heads"
    implementation: Implementation
    why_not: str | None


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
    soft_cap: float | None = None,
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
            et al. 2018, arXiv:1801.10198; Raffel et al. 2019, section 3.2.1). Needs a causal attention, and
            `splash` that a prefix is the beginning of its segment.
        band: how many keys a query sees, its own position the last of them: the locally banded layers of
            GPT-3 (Brown et al. 2020, section 2.1; Child et al. 2019, arXiv:1904.10509). None sees all.
        bias_HLM: added to the scores of every row of the batch (relative positions); differentiable.
        scale: multiplies the scores; None is E ** -0.5.
        soft_cap: squashes the scaled scores to cap * tanh(scores / cap), before biases and masks (Gemma Team
            2024, arXiv:2408.00118, section 2).
        block: rows in a block of `blocks`; None chooses. It need not divide L.
        implementation: they agree to rounding. None takes the fused kernel of the platform that the step is
            traced for (`splash`, `cudnn`) if it supports the arrays, `ring` if the sequence is split over
            devices, else `blocks`. Dropout always takes `reference`. `choices` records what is taken.
        dropout_rate: share of the probabilities dropped.
        dropout_key: PRNG key, required if `dropout_rate` is above 0.

    Returns:
        out_BLHE in the type of `q_BLHE`. Scores, softmax and sums over keys are accumulated in float32.

    Raises:
        ValueError: heads that K does not divide, unequal lengths of a causal attention, a band or block below
            1, a soft cap that is not positive, dropout without a key, an unknown implementation, or one that
            does not support the arrays.
    """
    B, L, H, E = q_BLHE.shape
    M, K = k_BMKE.shape[1:3]
    if causal and M != L:
        raise ValueError(f"causal attention needs as many keys as queries, got {M} and {L}")
    if H % K:
        raise ValueError(f"{H} heads are not a multiple of {K} key-value heads")
    if (band is not None and band < 1) or (block is not None and block < 1):
        raise ValueError(f"band and block must be at least 1, got {band} and {block}")
    if soft_cap is not None and soft_cap <= 0.0:
        raise ValueError(f"soft_cap must be positive, got {soft_cap}")
    if dropout_rate > 0.0 and dropout_key is None:
        raise ValueError("attention dropout needs a key")
    scale = E**-0.5 if scale is None else scale
    static = Static(causal, band if causal else None, scale, soft_cap)
    tap("attention logits", lambda: capped(soft_cap, scale * _scores(q_BLHE, k_BMKE)))
    tap("scaled queries", lambda: scale**0.5 * q_BLHE)
    tap("scaled keys", lambda: scale**0.5 * k_BMKE)
    if segment_ids_BL is None or key_segment_ids_BM is None:
        key_segment_ids_BM = segment_ids_BL
    arrays = Arrays(segment_ids_BL, key_segment_ids_BM, prefix_BM if causal else None, bias_HLM)
    placed = placement()
    axis = split_axis(placed, L, M)
    kernel, why_not = _kernel(static, q_BLHE, k_BMKE, arrays, placed, axis, dropout_rate)
    if implementation is None:
        implementation = kernel or ("blocks" if axis is None else "ring")
    if dropout_rate > 0.0:
        implementation = "reference"
    if implementation not in get_args(Implementation):
        raise ValueError(f"implementation is one of {get_args(Implementation)}, got {implementation!r}")
    if (found := _CHOICES.get()) is not None:
        found.append(Choice(_form(static, q_BLHE, k_BMKE, arrays), implementation, why_not))
    if implementation in KERNELS:
        if placed is None or implementation != kernel:
            raise ValueError(f"{implementation}: {why_not or 'it is the kernel of another platform'}")
        if implementation == "splash":
            return splash.splash_attention(static, q_BLHE, k_BMKE, v_BMKE, arrays, placed, axis)
        return cudnn.cudnn_attention(static, q_BLHE, k_BMKE, v_BMKE, arrays, placed)
    if implementation == "ring":
        if placed is None or axis is None:
            raise ValueError("ring attention needs a mesh that splits the sequence")
        return ring_attention(static, q_BLHE, k_BMKE, v_BMKE, arrays, placed, axis)
    # G query heads share a key head. Batch dimensions lead, as every back end's batched product wants them.
    q_BKGLE = q_BLHE.reshape(B, L, K, H // K, E).transpose(0, 2, 3, 1, 4)
    k_BKME = k_BMKE.transpose(0, 2, 1, 3)
    v_BKME = v_BMKE.transpose(0, 2, 1, 3)
    if implementation == "reference":
        out_BKGLE = reference_attention(static, q_BKGLE, k_BKME, v_BKME, arrays, dropout_rate, dropout_key)
    else:
        out_BKGLE = block_attention(static, q_BKGLE, k_BKME, v_BKME, arrays, block)
    return out_BKGLE.transpose(0, 3, 1, 2, 4).reshape(B, L, H, E)


def _scores(q_BLHE: Array, k_BMKE: Array) -> Array:
    """scores_BKGLM, float32."""
    B, L, H, E = q_BLHE.shape
    K = k_BMKE.shape[2]
    return product("blkge,bmke->bkglm", q_BLHE.reshape(B, L, K, H // K, E), k_BMKE)


def _kernel(
    static: Static,
    q_BLHE: Array,
    k_BMKE: Array,
    arrays: Arrays,
    placed: MeshPlacement | None,
    axis: str | None,
    dropout_rate: float,
) -> tuple[Literal["splash", "cudnn"] | None, str | None]:
    """The fused kernel of the platform, or why there is none; `axis` splits the sequence."""
    if placed is None:
        return None, "the mesh is not known"
    name: Literal["splash", "cudnn"]
    if splash.runs_on(placed):
        ways = 1 if axis is None else placed.mesh.shape[axis]
        name, why_not = "splash", splash.why_not(static, arrays, q_BLHE.shape[1], ways)
    elif cudnn.runs_on(placed):
        name, why_not = "cudnn", cudnn.why_not(static, q_BLHE, k_BMKE, arrays, placed, axis)
    else:
        return None, f"{placed.mesh.devices.flat[0].device_kind} has no fused kernel here"
    if dropout_rate > 0.0:
        why_not = "no fused kernel drops attention probabilities (model.dropout)"
    return (None, why_not) if why_not else (name, None)


_CHOICES: ContextVar[list[Choice] | None] = ContextVar("choices", default=None)


@contextmanager
def choices() -> Iterator[list[Choice]]:
    """A list that collects the choice of each attention that is traced inside."""
    found: list[Choice] = []
    token = _CHOICES.set(found)
    try:
        yield found
    finally:
        _CHOICES.reset(token)


def _form(static: Static, q_BLHE: Array, k_BMKE: Array, arrays: Arrays) -> str:
    """An attention in words."""
    (_, L, H, E), (M, K) = q_BLHE.shape, k_BMKE.shape[1:3]
    kind = "cross-attention" if L != M else "causal" if static.causal else "bidirectional"
    extras = {
        f"a window of {static.band:,}" if static.band else "": static.band,
        f"scores capped at {static.soft_cap:g}" if static.soft_cap else "": static.soft_cap,
        "segments": arrays.segments,
        "a prefix": arrays.prefix_BM,
        "a bias": arrays.bias_HLM,
    }
    shape = f"{kind}, {L:,} positions" if L == M else f"{kind}, {L:,} over {M:,} positions"
    heads = f"{H} heads of {E}" + (f" on {K} key heads" if K != H else "")
    return ", ".join([shape, heads, *(words for words, given in extras.items() if given is not None)])
