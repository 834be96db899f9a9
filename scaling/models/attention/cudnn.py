"""Attention on NVIDIA GPUs by cuDNN's fused kernel, through JAX: scores are not stored in memory.

JAX's own rules for splitting the kernel do not know our axes, so each device runs it on its own rows and
heads under `jax.shard_map`. A sequence that is split over devices uses the ring instead.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from scaling.models.axes import MeshPlacement

_WIDEST_HEAD = 128  # on all GPUs with the kernel; Hopper supports wider heads
# Segments reach the kernel as numbers added to scores, one for each query and key of a row.
_LONGEST_WITH_SEGMENTS = 8192


def runs_on(placed: MeshPlacement) -> bool:
    """Whether the devices have the kernel: NVIDIA's GPUs from Ampere (compute capability 8) on."""
    if placed.platform != "gpu":
        return False
    device = placed.mesh.devices.flat[0]
    capability = str(getattr(device, "compute_capability", ""))  # AMD's are called gfx942 and the like
    return device.device_kind.startswith("NVIDIA") and not capability.startswith(("5.", "6.", "7."))


def fits(q_BLHE: Array, k_BMKE: Array, segments: bool) -> bool:
    """Whether the kernel supports these arrays; otherwise `blocks` computes them."""
    L, M, E = q_BLHE.shape[1], k_BMKE.shape[1], q_BLHE.shape[3]
    if q_BLHE.dtype not in (jnp.bfloat16, jnp.float16) or E > _WIDEST_HEAD or E % 8:
        return False
    return not segments or (max(L, M) <= _LONGEST_WITH_SEGMENTS and L % 2 == M % 2 == 0)


def cudnn_attention(
    q_BLHE: Array,
    k_BMKE: Array,
    v_BMKE: Array,
    segments: tuple[Array, Array] | None,
    causal: bool,
    band: int | None,
    scale: float,
    placed: MeshPlacement,
    *,
    by: Literal["cudnn", "xla"] = "cudnn",
) -> Array:
    """out_BLHE, as `attention` gives it; `segments` are those of queries (B, L) and of keys (B, M).

    A band needs a causal attention. `by="xla"` computes JAX's plain form of the same call, on any platform.
    """
    H, K = q_BLHE.shape[2], k_BMKE.shape[2]
    names = ("batch", None, "heads", "head")
    q_spec, k_spec = (placed.partition(names, a.shape) for a in (q_BLHE, k_BMKE))
    if q_spec != k_spec:  # fewer key heads than the ways that heads are split
        k_BMKE, v_BMKE = (jnp.repeat(a, H // K, axis=2) for a in (k_BMKE, v_BMKE))

    def local(q: Array, k: Array, v: Array, segments: tuple[Array, Array] | None) -> Array:
        mask_B1LM = None if segments is None else (segments[0][..., None] == segments[1][:, None])[:, None]
        return jax.nn.dot_product_attention(
            q,
            k,
            v,
            mask=mask_B1LM,
            scale=scale,
            is_causal=causal,
            local_window_size=None if band is None else (band - 1, 0),
            implementation=by,
        )

    if placed.mesh.size == 1:
        return local(q_BLHE, k_BMKE, v_BMKE, segments)
    rows = PartitionSpec(*q_spec[:1])
    return jax.shard_map(
        local,
        mesh=placed.mesh,
        in_specs=(q_spec, q_spec, q_spec, None if segments is None else (rows, rows)),
        out_specs=q_spec,
        check_vma=False,
    )(q_BLHE, k_BMKE, v_BMKE, segments)
