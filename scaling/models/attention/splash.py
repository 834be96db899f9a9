"""Attention on TPU by the splash kernel of JAX: blocks that the mask empties are never touched.

The kernel does not know meshes, so each device runs it on its own rows and heads under `jax.shard_map`.
Where the sequence is split, each device has its own queries and gathers the keys of the others. A key head
that several query heads share is read once for each of them, without a copy.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from scaling.models.attention.reference import Arrays, Static
from scaling.models.attention.sharded import enough_key_heads, parts
from scaling.models.axes import MeshPlacement

_LANES = 128  # the kernel's blocks are multiples of the TPU's vector width
# For TPU v5e the compiler schedules 1,871 cycles for a block of 512 x 512 scores of the forward pass and for
# 1,024 x 1,024 of them 5,824; a step of the grid costs 0.35 microseconds more (Pallas' documentation on
# pipelining). So a step costs as much as this many scores, besides those of its block.
_STEP = 175_000
_LARGEST_BLOCK = 1024  # of heads of up to 256 bytes; blocks of wider ones may not fit in vector memory
_COMPUTED_AT_ONCE = 512  # keys, of a block's


def runs_on(placed: MeshPlacement) -> bool:
    """Whether the kernel compiles for these devices: TPUs from v4 on."""
    kind = placed.mesh.devices.flat[0].device_kind
    return placed.platform == "tpu" and not kind.startswith(("TPU v2", "TPU v3"))


def why_not(static: Static, arrays: Arrays, length: int, ways: int) -> str | None:
    """Why the kernel does not support an attention over `length` queries, split `ways`; None if it does."""
    if arrays.bias_HLM is not None:
        return "the splash kernel adds no biases to scores"
    if arrays.prefix_BM is not None and static.band is not None:
        return "the splash kernel supports a prefix or a window, not both"
    if ways > 1 and length % (ways * _LANES):
        return (
            f"the splash kernel needs {_LANES} positions or a multiple on each device, not {length / ways:g}"
        )
    return None


def block_of(static: Static, length: int, width: int, ways: int = 1) -> tuple[int, int]:
    """Rows of a block that cost the least, and `length` padded to complete blocks.

    Large blocks pay the fixed cost of a step less often; small ones compute less padding and less of what the
    mask hides. `width` is that of a head in vector memory, in bytes. Where the sequence is split `ways`,
    blocks divide a device's share and nothing is padded.
    """
    share = length // ways if ways > 1 else -(-length // _LANES) * _LANES

    def cost(block: int) -> int:
        count = -(-share // block)
        steps = count * count
        if static.causal:
            seen = count if static.band is None else -(-(static.band - 1) // block) + 1
            steps = sum(min(row + 1, seen) for row in range(count))
        return steps * (block * block + _STEP)

    largest = _LARGEST_BLOCK if width <= 256 else _LARGEST_BLOCK // 2
    blocks = range(_LANES, min(largest, share) + 1, _LANES)
    block = min((block for block in blocks if ways == 1 or share % block == 0), key=cost)
    return block, -(-share // block) * block * ways


def splash_attention(
    static: Static,
    q_BLHE: Array,
    k_BMKE: Array,
    v_BMKE: Array,
    arrays: Arrays,
    placed: MeshPlacement,
    axis: str | None = None,
    *,
    interpret: bool = False,
) -> Array:
    """out_BLHE, as `attention` gives it, where `why_not` has no objection.

    `axis` is the mesh axis over which the sequence is split; None if it is not split. `interpret` runs the
    kernel in Python, on any platform.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels

    L, M = q_BLHE.shape[1], k_BMKE.shape[1]
    ways = 1 if axis is None else placed.mesh.shape[axis]
    width = -(-q_BLHE.shape[3] // _LANES) * _LANES * q_BLHE.dtype.itemsize
    block, padded_L = block_of(static, L, width, ways)
    key_block, padded_M = block_of(static, M, width)
    at_once = key_block if key_block % _COMPUTED_AT_ONCE else _COMPUTED_AT_ONCE
    segments = arrays.segments
    if segments is None and not static.causal and padded_M > M:
        segments = (jnp.zeros(q_BLHE.shape[:2], jnp.int32), jnp.zeros(k_BMKE.shape[:2], jnp.int32))
    last_BL = None if arrays.prefix_BM is None else _last_visible(arrays.prefix_BM, segments)
    # A causal mask hides the padding from all queries, being later; otherwise segments do.
    if segments is not None:
        segments = (_padded(segments[0], padded_L, -1), _padded(segments[1], padded_M, -2))
    last_BL = None if last_BL is None else _padded(last_BL, padded_L, padded_M)
    k_BMKE, v_BMKE = enough_key_heads(placed, q_BLHE, k_BMKE, v_BMKE)
    q_BLHE = _padded(q_BLHE * static.scale, padded_L)
    k_BMKE, v_BMKE = _padded(k_BMKE, padded_M), _padded(v_BMKE, padded_M)

    spec = placed.partition(("batch", "length", "heads", "head"), q_BLHE.shape)
    whole = placed.partition(("batch", None, "heads", "head"), k_BMKE.shape)
    sizes = kernels.BlockSizes(
        block_q=block,
        block_kv=key_block,
        block_kv_compute=at_once,
        block_q_dkv=block,
        block_kv_dkv=key_block,
        block_kv_dkv_compute=at_once,
        block_q_dq=block,
        block_kv_dq=key_block,
    )
    heads = q_BLHE.shape[2] // parts(placed, spec, 2)
    kernel: Any = None
    if last_BL is None:
        kernel = _masked_kernel(static, (padded_L, padded_M), ways, heads, sizes, interpret)

    def local(kernel: Any, q: Array, k: Array, v: Array, ids: Any, last_BL: Array | None) -> Array:
        q_BHLE, k_BKME, v_BKME = (a.swapaxes(1, 2) for a in (q, k, v))

        def row(q: Array, k: Array, v: Array, ids: Any, last_L: Array | None) -> Array:
            run = kernel if last_L is None else _prefix_kernel(static, last_L, sizes, interpret)
            return run(q, k, v, None if ids is None else kernels.SegmentIds(*ids))

        return jax.vmap(row)(q_BHLE, k_BKME, v_BKME, ids, last_BL).swapaxes(1, 2)

    if placed.mesh.size == 1:
        return local(kernel, q_BLHE, k_BMKE, v_BMKE, segments, last_BL)[:, :L]
    rows = PartitionSpec(*spec[:2])
    # The part of the mask that a device's queries need goes to it, like the queries.
    where = PartitionSpec(None, axis if static.causal else None)
    masked = None if kernel is None else kernel.manual_sharding_spec(NamedSharding(placed.mesh, where))
    return jax.shard_map(
        local,
        mesh=placed.mesh,
        in_specs=(
            masked,
            spec,
            whole,
            whole,
            None if segments is None else (rows, PartitionSpec(*whole[:1])),
            None if last_BL is None else rows,
        ),
        out_specs=spec,
        check_vma=False,
    )(kernel, q_BLHE, k_BMKE, v_BMKE, segments, last_BL)[:, :L]


def _padded(a: Array, length: int, value: int = 0) -> Array:
    """`a` with its second axis padded to `length`."""
    more = length - a.shape[1]
    if not more:
        return a
    return jnp.pad(a, [(0, 0), (0, more)] + [(0, 0)] * (a.ndim - 2), constant_values=value)


def _masked_kernel(
    static: Static, shape: tuple[int, int], ways: int, heads: int, sizes: Any, interpret: bool
) -> Any:
    """The kernel of a mask that is known before there is data; it skips the blocks that the mask empties."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    mask: masks.Mask
    if not static.causal:
        mask = masks.FullMask((shape[0] // ways, shape[1]))  # the same for all of a split sequence
    elif static.band is None:
        mask = masks.CausalMask(shape)
    else:
        mask = masks.LocalMask(shape, (static.band - 1, 0), 0)
    return kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * heads),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=ways if static.causal else 1,
        attn_logits_soft_cap=static.soft_cap,
        interpret=interpret,
    )


def _no_later(last: Array, keys: Array) -> Array:
    return last >= keys


def _prefix_kernel(static: Static, last_L: Array, sizes: Any, interpret: bool) -> Any:
    """The kernel of a row whose query l sees the keys up to `last_L[l]`.

    The kernel takes the positions of queries as data and computes a causal mask from them. Here a query's
    position is that of the last key that it sees. All blocks are computed.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

    info = MaskInfo(None, None, None, None, q_sequence=last_L)  # type: ignore[arg-type]
    return kernels.SplashAttentionKernel(
        info,
        info,
        info,
        block_sizes=sizes,
        is_mqa=False,
        save_residuals=False,
        mask_value=kernels.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=static.soft_cap,
        residual_checkpoint_name=None,
        mask_function=_no_later,
        interpret=interpret,
    )


def _last_visible(prefix_BL: Array, segments: tuple[Array, Array] | None) -> Array:
    """last_BL, the last key that each query sees: in a prefix its last token, otherwise the query itself.

    A prefix is the beginning of its segment.
    """
    inside_BL = prefix_BL != 0
    ends_BL = ~inside_BL
    if segments is not None:
        ids_BL = segments[0]
        ends_BL |= jnp.pad(ids_BL[:, 1:] != ids_BL[:, :-1], ((0, 0), (1, 0)))
    L = prefix_BL.shape[1]
    at_L = jnp.arange(L, dtype=jnp.int32)
    # The first position after each where the prefix, or its segment, has ended.
    end_BL = jax.lax.cummin(jnp.where(ends_BL, at_L, L), axis=1, reverse=True)
    after_BL = jnp.pad(end_BL[:, 1:], ((0, 0), (0, 1)), constant_values=L)
    return jnp.where(inside_BL, after_BL - 1, at_L)
