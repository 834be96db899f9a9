"""Attention on NVIDIA GPUs by cuDNN's fused kernel, through JAX: scores are not stored in memory.

JAX's own rules for splitting the kernel do not know our axes, so each device runs it on its own rows and
heads under `jax.shard_map`. A sequence that is split over devices uses the ring instead.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from scaling.models.attention.reference import Arrays, Static
from scaling.models.attention.sharded import enough_key_heads
from scaling.models.axes import MeshPlacement

_WIDEST_HEAD = 128  # on all GPUs with the kernel
_WIDEST_HEAD_ON_HOPPER = 256
# Segments and prefixes reach the kernel as numbers added to scores, one for each query and key of a row.
_LONGEST_WITH_MASK = 8192


def runs_on(placed: MeshPlacement) -> bool:
    """Whether the devices have the kernel: NVIDIA's GPUs from Ampere (compute capability 8) on."""
    if placed.platform != "gpu":
        return False
    return placed.mesh.devices.flat[0].device_kind.startswith("NVIDIA") and _capability(placed) >= 8


def _capability(placed: MeshPlacement) -> int:
    """Compute capability, the part before the dot; 0 where it is no number (AMD's gfx942 and the like)."""
    major = str(getattr(placed.mesh.devices.flat[0], "compute_capability", "")).partition(".")[0]
    return int(major) if major.isdigit() else 0


def why_not(
    static: Static, q_BLHE: Array, k_BMKE: Array, arrays: Arrays, placed: MeshPlacement, axis: str | None
) -> str | None:
    """Why the kernel does not support these arrays; None if it does."""
    (_, L, _, E), M = q_BLHE.shape, k_BMKE.shape[1]
    widest = _WIDEST_HEAD if _capability(placed) < 9 else _WIDEST_HEAD_ON_HOPPER
    if axis is not None:
        return "cuDNN's kernel does not run over a sequence split over devices (mesh.context)"
    if q_BLHE.dtype not in (jnp.bfloat16, jnp.float16):
        return f"cuDNN's kernel computes in bfloat16 or float16, not {q_BLHE.dtype}"
    if widest < E or E % 8:
        return f"cuDNN's kernel needs heads of at most {widest} features, a multiple of 8, not {E}"
    if static.soft_cap is not None:
        return "JAX offers no soft-capping of scores in cuDNN's kernel"
    if L % 2 or M % 2:
        return f"cuDNN's kernel trains on even lengths, not on {L} queries and {M} keys"
    masked = arrays.segments is not None or arrays.prefix_BM is not None
    if masked and max(L, M) > _LONGEST_WITH_MASK:
        return (
            f"segments and prefixes reach cuDNN's kernel as an array of queries by keys, too large beyond "
            f"{_LONGEST_WITH_MASK} positions"
        )
    return None


def cudnn_attention(
    static: Static,
    q_BLHE: Array,
    k_BMKE: Array,
    v_BMKE: Array,
    arrays: Arrays,
    placed: MeshPlacement,
    *,
    by: Literal["cudnn", "xla"] = "cudnn",
) -> Array:
    """out_BLHE, as `attention` gives it, where `why_not` has no objection.

    A band needs a causal attention. `by="xla"` computes JAX's plain form of the same call, on any platform.
    """
    k_BMKE, v_BMKE = enough_key_heads(placed, q_BLHE, k_BMKE, v_BMKE)
    spec = placed.partition(("batch", None, "heads", "head"), q_BLHE.shape)
    causal = static.causal and arrays.prefix_BM is None

    def local(q: Array, k: Array, v: Array, ids: Any, prefix_BM: Array | None, bias: Array | None) -> Array:
        mask_BLM = None if ids is None else ids[0][..., None] == ids[1][:, None]
        if prefix_BM is not None:
            distance_LM = jnp.arange(q.shape[1])[:, None] - jnp.arange(k.shape[1])
            seen_LM = distance_LM >= 0
            if static.band is not None:
                seen_LM &= distance_LM < static.band
            seen_BLM = seen_LM | (prefix_BM != 0)[:, None]
            mask_BLM = seen_BLM if mask_BLM is None else mask_BLM & seen_BLM
        return jax.nn.dot_product_attention(
            q,
            k,
            v,
            bias=None if bias is None else bias[None].astype(q.dtype),
            mask=None if mask_BLM is None else mask_BLM[:, None],
            scale=static.scale,
            is_causal=causal,
            local_window_size=(static.band - 1, 0) if causal and static.band is not None else None,
            implementation=by,
        )

    if placed.mesh.size == 1:
        return local(q_BLHE, k_BMKE, v_BMKE, arrays.segments, arrays.prefix_BM, arrays.bias_HLM)
    rows = PartitionSpec(*spec[:1])
    heads = PartitionSpec(*spec[2:3])
    return jax.shard_map(
        local,
        mesh=placed.mesh,
        in_specs=(
            spec,
            spec,
            spec,
            None if arrays.segments is None else (rows, rows),
            None if arrays.prefix_BM is None else rows,
            None if arrays.bias_HLM is None else heads,
        ),
        out_specs=spec,
        check_vma=False,
    )(q_BLHE, k_BMKE, v_BMKE, arrays.segments, arrays.prefix_BM, arrays.bias_HLM)
