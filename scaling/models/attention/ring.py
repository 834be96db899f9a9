"""Attention over a sequence that is split over devices: keys and values go round a ring.

Each device keeps its own queries and holds one piece of keys and values at a time; pieces travel from
neighbour to neighbour while the softmax is put together piece by piece (Ring Attention: Liu et al. 2023,
arXiv:2310.01889, algorithm 1). On the way back the pieces go round once more, and their gradients with them,
as FlashAttention's second pass does inside one device (Dao et al. 2022, arXiv:2205.14135, algorithm 4): what
is kept between the passes is the output and one log-sum-exp a query.

Pieces that a causal mask or a band hides from all of a device's queries are not computed. The devices with
the last pieces of a causal sequence have the most to compute, and the others wait for them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from scaling.config.mesh import attention_blocks
from scaling.models.attention.reference import MASKED, Arrays, Static, capped, product
from scaling.models.attention.sharded import enough_key_heads
from scaling.models.axes import MeshPlacement


class Ring(NamedTuple):
    """What is known before there is data: hashable, so that a custom VJP can carry it."""

    axis: str
    ways: int
    static: Static
    prefixed: bool


class Piece(NamedTuple):
    """What goes round: keys and values (B, K, m, E), and of each key its segment and whether it is prefix."""

    k_BKmE: Array
    v_BKmE: Array
    segment_ids_Bm: Array | None
    prefix_Bm: Array | None


class Own(NamedTuple):
    """What stays: queries (B, K, G, l, E), their segments, and what is added to their scores (K, G, l, M)."""

    q_BKGlE: Array
    segment_ids_Bl: Array | None
    bias_KGlM: Array | None


def split_axis(placed: MeshPlacement | None, length: int, keys: int) -> str | None:
    """The mesh axis that queries and keys of these lengths are both split over; None if they are not
    split."""
    if placed is None:
        return None
    axes = {placed.partition(("length",), (n,)) for n in (length, keys)}
    entry = next(iter(axes))
    return None if len(axes) != 1 or not len(entry) else entry[0]


def ring_attention(
    static: Static,
    q_BLHE: Array,
    k_BMKE: Array,
    v_BMKE: Array,
    arrays: Arrays,
    placed: MeshPlacement,
    axis: str,
) -> Array:
    """out_BLHE, as `attention` gives it, of arrays whose lengths are split over the mesh axis `axis`."""
    k_BMKE, v_BMKE = enough_key_heads(placed, q_BLHE, k_BMKE, v_BMKE)
    q_spec = placed.partition(("batch", "length", "heads", "head"), q_BLHE.shape)
    segments, prefix_BM, bias_HLM = arrays.segments, arrays.prefix_BM, arrays.bias_HLM
    rows = PartitionSpec(*q_spec[:2])
    heads = q_spec[2] if len(q_spec) > 2 else None
    ring = Ring(axis, placed.mesh.shape[axis], static, prefix_BM is not None)

    def local(q: Array, k: Array, v: Array, ids: Any, prefix: Any, bias: Any) -> Array:
        B, length, heads, E = q.shape
        K = k.shape[2]
        q_BKGlE = q.reshape(B, length, K, heads // K, E).transpose(0, 2, 3, 1, 4)
        bias_KGlM = None if bias is None else bias.reshape(K, heads // K, *bias.shape[1:])
        queries, keys = (None, None) if ids is None else ids
        piece = Piece(k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), keys, prefix)
        out_BKGlE = _attend(ring, Own(q_BKGlE, queries, bias_KGlM), piece)
        return out_BKGlE.transpose(0, 3, 1, 2, 4).reshape(B, length, heads, E)

    return jax.shard_map(
        local,
        mesh=placed.mesh,
        in_specs=(
            q_spec,
            q_spec,
            q_spec,
            None if segments is None else (rows, rows),
            None if prefix_BM is None else rows,
            None if bias_HLM is None else PartitionSpec(heads, axis),
        ),
        out_specs=q_spec,
        check_vma=False,
    )(q_BLHE, k_BMKE, v_BMKE, segments, prefix_BM, bias_HLM)


def _passed_on(ring: Ring, tree: Any) -> Any:
    """What the neighbour before this device held."""
    to = [(i, (i + 1) % ring.ways) for i in range(ring.ways)]
    return jax.tree.map(lambda a: jax.lax.ppermute(a, ring.axis, to), tree)


def _holder(ring: Ring, turn: Any) -> Array:
    """The device whose piece this one holds after so many turns."""
    return (jax.lax.axis_index(ring.axis) - turn) % ring.ways


def _hidden(ring: Ring, holder: Array, queries: int, keys: int) -> Array:
    """Whether the mask hides all of the holder's keys from all of this device's queries."""
    if not ring.static.causal or ring.prefixed:
        return jnp.zeros((), bool)
    first = jax.lax.axis_index(ring.axis) * queries
    hidden = holder * keys > first + queries - 1
    if ring.static.band is not None:
        hidden |= (holder + 1) * keys - 1 <= first - ring.static.band
    return hidden


def _capped_scores(static: Static, q_BKGlE: Array, k_BKmE: Array) -> Array:
    """scores_BKGlm before biases and masks."""
    return capped(static.soft_cap, static.scale * product("bkgle,bkme->bkglm", q_BKGlE, k_BKmE))


def _scores(ring: Ring, own: Own, piece: Piece, holder: Array, rows: slice) -> Array:
    """Masked scores_BKGlm, float32, of the queries `rows` of this device and all keys of a piece."""
    queries, keys = own.q_BKGlE.shape[3], piece.k_BKmE.shape[2]
    scores = _capped_scores(ring.static, own.q_BKGlE[:, :, :, rows], piece.k_BKmE)
    if own.bias_KGlM is not None:
        bias_KGlm = jax.lax.dynamic_slice_in_dim(own.bias_KGlM[:, :, rows], holder * keys, keys, axis=3)
        scores += bias_KGlm.astype(jnp.float32)
    visible: Array | None = None
    if ring.static.causal:
        query_l = jax.lax.axis_index(ring.axis) * queries + jnp.arange(rows.start, rows.stop)
        distance_lm = query_l[:, None] - (holder * keys + jnp.arange(keys))[None]
        seen_lm = distance_lm >= 0
        if ring.static.band is not None:
            seen_lm &= distance_lm < ring.static.band
        visible = seen_lm[None]
        if piece.prefix_Bm is not None:
            visible = visible | (piece.prefix_Bm[:, None] != 0)
    if own.segment_ids_Bl is not None and piece.segment_ids_Bm is not None:
        same_Blm = own.segment_ids_Bl[:, rows, None] == piece.segment_ids_Bm[:, None]
        visible = same_Blm if visible is None else visible & same_Blm
    return scores if visible is None else jnp.where(visible[:, None, None], scores, MASKED)


def _rows(own: Own) -> list[slice]:
    """Blocks of queries whose scores are held at once."""
    return [slice(*bounds) for bounds in attention_blocks(own.q_BKGlE.shape[3])]


def _round(ring: Ring, step: Callable[[Array, Any, Any], Any], carried: Any, travelling: Any) -> Any:
    """`step(holder, carried, travelling)` with every piece; both, the travelling ones one turn from home."""

    def turn(state: Any, number: Array) -> tuple[Any, None]:
        carried, travelling = state
        return step(_holder(ring, number), carried, _passed_on(ring, travelling)), None

    state = step(_holder(ring, 0), carried, travelling)
    return jax.lax.scan(turn, state, jnp.arange(1, ring.ways))[0]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(ring: Ring, own: Own, piece: Piece) -> Array:
    return _forward(ring, own, piece)[0]


def _forward(ring: Ring, own: Own, piece: Piece) -> tuple[Array, tuple[Any, ...]]:
    *shape, E = own.q_BKGlE.shape
    queries, keys = shape[-1], piece.k_BKmE.shape[2]

    def step(holder: Array, carried: Any, piece: Piece) -> Any:
        def seen(carried: Any) -> Any:
            parts = []
            for rows in _rows(own):
                out, peak, total = (a[:, :, :, rows] for a in carried)
                scores = _scores(ring, own, piece, holder, rows)
                higher = jnp.maximum(peak, scores.max(-1))
                weights = jnp.exp(scores - higher[..., None])
                shrunk = jnp.exp(peak - higher)
                mixed = product("bkglm,bkme->bkgle", weights.astype(piece.v_BKmE.dtype), piece.v_BKmE)
                parts.append((shrunk[..., None] * out + mixed, higher, shrunk * total + weights.sum(-1)))
            return tuple(jnp.concatenate(part, axis=3) for part in zip(*parts, strict=True))

        return jax.lax.cond(_hidden(ring, holder, queries, keys), lambda c: c, seen, carried), piece

    nothing = (jnp.zeros((*shape, E)), jnp.full(shape, 2 * MASKED), jnp.zeros(shape))
    (out, peak, total), _ = _round(ring, step, nothing, piece)
    out_BKGlE = (out / total[..., None]).astype(own.q_BKGlE.dtype)
    return out_BKGlE, (own, piece, out_BKGlE, peak + jnp.log(total))


def _backward(ring: Ring, saved: tuple[Any, ...], dout_BKGlE: Array) -> tuple[Own, Piece]:
    own, piece, out_BKGlE, log_sum_BKGl = saved
    queries, keys = own.q_BKGlE.shape[3], piece.k_BKmE.shape[2]
    # The sum over keys of attn * dattn, which softmax's gradient needs, is dout . out: one number a query.
    inner_BKGl = product("bkgle,bkgle->bkgl", dout_BKGlE, out_BKGlE)

    def step(holder: Array, carried: Any, travelling: Any) -> Any:
        piece, dk, dv = travelling

        def seen(state: Any) -> Any:
            dq, dbias, dk, dv = state
            for rows in _rows(own):
                scores = _scores(ring, own, piece, holder, rows)
                attn = jnp.exp(scores - log_sum_BKGl[..., rows, None])
                q, dout = own.q_BKGlE[:, :, :, rows], dout_BKGlE[:, :, :, rows]
                dattn = product("bkgle,bkme->bkglm", dout, piece.v_BKmE)
                dscores = attn * (dattn - inner_BKGl[..., rows, None])
                if dbias is not None:
                    start = (0, 0, rows.start, holder * keys)
                    dbias = jax.lax.dynamic_update_slice(dbias, dscores.sum(0), start)
                if (cap := ring.static.soft_cap) is not None:
                    dscores *= 1 - (_capped_scores(ring.static, q, piece.k_BKmE) / cap) ** 2
                dscores = (ring.static.scale * dscores).astype(q.dtype)
                dq = dq.at[:, :, :, rows].add(product("bkglm,bkme->bkgle", dscores, piece.k_BKmE))
                dk = dk + product("bkglm,bkgle->bkme", dscores, q)
                dv = dv + product("bkglm,bkgle->bkme", attn.astype(dout.dtype), dout)
            return dq, dbias, dk, dv

        state = (*carried, dk, dv)
        dq, dbias, dk, dv = jax.lax.cond(_hidden(ring, holder, queries, keys), lambda s: s, seen, state)
        return (dq, dbias), (piece, dk, dv)

    dq = jnp.zeros(own.q_BKGlE.shape)
    dbias = None if own.bias_KGlM is None else jnp.zeros(own.bias_KGlM.shape)
    zeros = (jnp.zeros(piece.k_BKmE.shape), jnp.zeros(piece.v_BKmE.shape))
    (dq, dbias), (_, dk, dv) = _round(ring, step, (dq, dbias), (piece, *zeros))
    dk, dv = _passed_on(ring, (dk, dv))
    if dbias is not None:
        dbias = dbias.astype(own.bias_KGlM.dtype)
    dpiece = Piece(dk.astype(piece.k_BKmE.dtype), dv.astype(piece.v_BKmE.dtype), None, None)
    return Own(dq.astype(own.q_BKGlE.dtype), None, dbias), dpiece


_attend.defvjp(_forward, _backward)
