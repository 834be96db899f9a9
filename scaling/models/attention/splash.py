"""Attention on TPU by the splash kernel of JAX: blocks that the mask empties are never touched.

The kernel does not know meshes, so each device runs it on its own rows and heads under `jax.shard_map`.
Where the sequence is split, each device has its own queries and gathers the keys of the others.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from scaling.models.axes import MeshPlacement

_LANES = 128  # the kernel's blocks are multiples of the TPU's vector width
_LARGEST_BLOCK = 512


def runs_on(placed: MeshPlacement) -> bool:
    """Whether the kernel compiles for these devices: TPUs from v4 on."""
    kind = placed.mesh.devices.flat[0].device_kind
    return placed.platform == "tpu" and not kind.startswith(("TPU v2", "TPU v3"))


def fits(length: int, keys: int) -> bool:
    """Whether the kernel supports these lengths; otherwise `blocks` computes them."""
    return length % _LANES == 0 and keys % _LANES == 0


def splash_attention(
    q_BLHE: Array,
    k_BMKE: Array,
    v_BMKE: Array,
    segment_ids: tuple[Array, Array] | None,
    causal: bool,
    band: int | None,
    scale: float,
    placed: MeshPlacement,
    axis: str | None = None,
    *,
    interpret: bool = False,
) -> Array:
    """out_BLHE, as `attention` gives it; `segment_ids` are those of queries (B, L) and of keys (B, M).

    `axis` is the mesh axis over which the sequence is split; None if it is not split. `interpret` runs the
    kernel in Python, on any platform.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    L, M = q_BLHE.shape[1], k_BMKE.shape[1]
    spec = placed.partition(("batch", "length", "heads", "head"), q_BLHE.shape)
    # Each device needs the key heads of its query heads; fewer key heads than devices are repeated.
    H, K, parts = q_BLHE.shape[2], k_BMKE.shape[2], _ways(placed, spec, 2)
    if K % parts:
        k_BMKE, v_BMKE = (jnp.repeat(a, math.lcm(K, parts) // K, axis=2) for a in (k_BMKE, v_BMKE))
    whole = placed.partition(("batch", None, "heads", "head"), k_BMKE.shape)
    ways = 1 if axis is None else placed.mesh.shape[axis]
    block, key_block = (
        next(size for size in (_LARGEST_BLOCK, 256, _LANES) if length % size == 0)
        for length in (L // ways, M)
    )
    sizes = kernels.BlockSizes(
        block_q=block,
        block_kv=key_block,
        block_q_dkv=block,
        block_kv_dkv=key_block,
        block_q_dq=block,
        block_kv_dq=key_block,
    )
    mask: masks.Mask
    if not causal:
        mask = masks.FullMask((L // ways, M))  # the same for all of a split sequence
    else:
        mask = masks.CausalMask((L, L)) if band is None else masks.LocalMask((L, L), (band - 1, 0), 0)

    # The kernel reads a key head once for each of the query heads that share it, without a copy.
    kernel = kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * (H // parts)),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=ways if causal else 1,
        interpret=interpret,
    )

    def local(
        kernel: Any, q_BLHE: Array, k_BMKE: Array, v_BMKE: Array, ids: tuple[Array, Array] | None
    ) -> Array:
        q_BHLE, k_BKME, v_BKME = (a.swapaxes(1, 2) for a in (q_BLHE * scale, k_BMKE, v_BMKE))
        if ids is None:
            out_BHLE = jax.vmap(lambda q, k, v: kernel(q, k, v))(q_BHLE, k_BKME, v_BKME)
        else:
            out_BHLE = jax.vmap(kernel)(q_BHLE, k_BKME, v_BKME, kernels.SegmentIds(q=ids[0], kv=ids[1]))
        return out_BHLE.swapaxes(1, 2)

    if placed.mesh.size == 1:
        return local(kernel, q_BLHE, k_BMKE, v_BMKE, segment_ids)
    # The part of the mask that a device's queries need goes to it, like the queries.
    where = PartitionSpec(None, axis if causal else None)
    masked = kernel.manual_sharding_spec(NamedSharding(placed.mesh, where))
    segments = None if segment_ids is None else (PartitionSpec(*spec[:2]), PartitionSpec(*whole[:1]))
    return jax.shard_map(
        local,
        mesh=placed.mesh,
        in_specs=(masked, spec, whole, whole, segments),
        out_specs=spec,
        check_vma=False,
    )(kernel, q_BLHE, k_BMKE, v_BMKE, segment_ids)


def _ways(placed: MeshPlacement, spec: PartitionSpec, dimension: int) -> int:
    """The number of parts into which a dimension of an array is split."""
    entry = spec[dimension] if len(spec) > dimension else None
    return math.prod(
        placed.mesh.shape[axis] for axis in ((entry,) if isinstance(entry, str) else entry or ())
    )
