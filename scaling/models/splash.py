"""Attention on TPU by the splash kernel of JAX: blocks that the mask empties are never touched.

The kernel knows nothing of meshes, so each device runs it on its own rows and heads under `jax.shard_map`.
"""

import jax
from jax import Array
from jax.sharding import PartitionSpec

from scaling.models.axes import Placement

_LANES = 128  # the kernel's blocks are multiples of the TPU's vector width
_LARGEST_BLOCK = 512


def runs_on(placed: Placement) -> bool:
    """Whether the kernel compiles for these devices: TPUs from v4 on."""
    kind = placed.mesh.devices.flat[0].device_kind
    return placed.platform == "tpu" and not kind.startswith(("TPU v2", "TPU v3"))


def fits(length: int, keys: int, heads: int, key_heads: int) -> bool:
    """Whether the kernel takes these shapes; otherwise the blocks of plain array code do."""
    return length % _LANES == 0 and keys % _LANES == 0 and heads == key_heads


def splash_attention(
    q_BLHE: Array,
    k_BMHE: Array,
    v_BMHE: Array,
    segment_ids: tuple[Array, Array] | None,
    causal: bool,
    band: int | None,
    scale: float,
    placed: Placement,
    *,
    interpret: bool = False,
) -> Array:
    """out_BLHE, as `attention` gives it; `segment_ids` are those of queries (B, L) and of keys (B, M).

    `interpret` runs the kernel in Python, on any platform.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    L, M = q_BLHE.shape[1], k_BMHE.shape[1]
    spec = placed.partition(("batch", "length", "heads", "head"), q_BLHE.shape)
    block, key_block = (
        next(size for size in (_LARGEST_BLOCK, 256, _LANES) if length % size == 0) for length in (L, M)
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
        mask = masks.FullMask((L, M))
    else:
        mask = masks.CausalMask((L, L)) if band is None else masks.LocalMask((L, L), (band - 1, 0), 0)

    def local(q_BLHE: Array, k_BMHE: Array, v_BMHE: Array, segments: tuple[Array, Array] | None) -> Array:
        heads = masks.MultiHeadMask([mask] * q_BLHE.shape[2])
        kernel = kernels.make_splash_mha(
            heads, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
        )
        q_BHLE, k_BHME, v_BHME = (a.swapaxes(1, 2) for a in (q_BLHE * scale, k_BMHE, v_BMHE))
        if segments is None:
            out_BHLE = jax.vmap(lambda q, k, v: kernel(q, k, v))(q_BHLE, k_BHME, v_BHME)
        else:
            ids = kernels.SegmentIds(q=segments[0], kv=segments[1])
            out_BHLE = jax.vmap(kernel)(q_BHLE, k_BHME, v_BHME, ids)
        return out_BHLE.swapaxes(1, 2)

    if placed.mesh.size == 1:
        return local(q_BLHE, k_BMHE, v_BMHE, segment_ids)
    rows = PartitionSpec(*spec[:1])
    segments = None if segment_ids is None else (rows, rows)
    return jax.shard_map(
        local,
        mesh=placed.mesh,
        in_specs=(spec, spec, spec, segments),
        out_specs=spec,
        check_vma=False,
    )(q_BLHE, k_BMHE, v_BMHE, segment_ids)
