"""Pipeline parallelism: each stage of devices has its own layers, and parts of a batch follow each other.

A shift register under plain `jax.jit` (GSPMD: Xu et al. 2021, arXiv:2105.04663, section 3.3): all stages
compute at once, each on its own microbatch, as one `jax.vmap` over an axis that is split over the mesh axis
`stage`; between two ticks their outputs move on by one stage, a permutation between neighbours. M
microbatches leave S stages after M + S - 1 ticks, so for (S - 1) / (M + S - 1) of the time a stage computes
results that are discarded (GPipe: Huang et al. 2019, arXiv:1811.06965, section 2.3).

Outside the stages the batch is split over `stage` too, so that devices do not repeat each other's
embedding and head. Each stage starts with a queue of its own rows, and queues move towards the first stage as
microbatches enter. The output of the last stage joins the end of the queues, and returns to its own stage
after the last tick.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from scaling.models.axes import MeshPlacement, constrain, placed_on

STAGE = "stage"

# What a stage does: (its layers, x_BLD, keys of dropout or None, rows, common) to x_BLD.
Stage = Callable[[Any, jax.Array, Any, Any, Any], jax.Array]


def pipelined(
    placed: MeshPlacement,
    stage: Stage,
    layers: Any,
    x_BLD: jax.Array,
    keys_N: jax.Array | None,
    rows: Any,
    common: Any,
) -> jax.Array:
    """What leaves the last of all layers, (B, L, D): `stage` after `stage`, microbatches behind each other.

    Args:
        placed: a mesh with S > 1 devices along `stage`, and M microbatches, a multiple of S.
        stage: what N / S layers do with one microbatch.
        layers: every array leads with N, a multiple of S.
        x_BLD: what enters the first layer; M divides B.
        keys_N: a key of dropout for each layer, to which every microbatch adds its number; or None.
        rows: arrays that lead with B and travel with their rows (segments, positions, another sequence).
        common: arrays that are the same for all layers and rows (relative biases).
    """
    S, M = placed.mesh.shape[STAGE], placed.microbatches
    P = M // S
    inside = placed.inside_stage()

    def laid(a: jax.Array, between: int) -> jax.Array:
        """(S, ..., rows, positions, ...) on its stages; `between` axes precede the rows."""
        own = a.shape[1 + between :]
        spec = inside.partition(("batch", "length", *[None] * len(own))[: len(own)], own)
        spec = PartitionSpec(STAGE, *[None] * between, *spec)
        return jax.lax.with_sharding_constraint(a, NamedSharding(placed.mesh, spec))

    def queued(a: jax.Array) -> jax.Array:
        """(B, ...) to (S, P, B / M, ...), taking every P-th row so that no row changes its device."""
        a = a.reshape(S, a.shape[0] // M, P, *a.shape[1:])
        return laid(a.swapaxes(1, 2), 1)

    def on_stages(a: jax.Array) -> jax.Array:
        """One copy per stage, so that gradients are summed over ticks before they are summed over stages."""
        spec = PartitionSpec(STAGE, *[PartitionSpec.UNCONSTRAINED] * a.ndim)
        copies = jnp.broadcast_to(a, (S, *a.shape))
        return jax.lax.with_sharding_constraint(copies, NamedSharding(placed.mesh, spec))

    def stacked(a: jax.Array) -> jax.Array:
        return a.reshape(S, a.shape[0] // S, *a.shape[1:])

    layers, keys_SN = jax.tree.map(stacked, (layers, keys_N))
    common = jax.tree.map(on_stages, common)

    def at(which: int, a: jax.Array, b: jax.Array) -> jax.Array:
        """`a` at one stage, `b` at the others."""
        here = jnp.arange(S).reshape(S, *[1] * (a.ndim - 1)) == which
        return jnp.where(here, a, b)

    def compute(layers: Any, x: jax.Array, keys: Any, microbatch: jax.Array, rows: Any, common: Any) -> Any:
        if keys is not None:
            keys = jax.vmap(lambda key: jax.random.fold_in(key, jnp.maximum(microbatch, 0)))(keys)
        with placed_on(inside):
            return stage(layers, x, keys, rows, common)

    over_stages = jax.vmap(compute, spmd_axis_name=STAGE)

    def tick(state: tuple[Any, Any], number: jax.Array) -> tuple[tuple[Any, Any], None]:
        queues, left = state
        place = number % P
        heads = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, place, 1, keepdims=False), queues)
        x, rows = jax.tree.map(lambda head, a: laid(at(0, head, jnp.roll(a, 1, 0)), 0), heads, left)
        x = laid(over_stages(layers, x, keys_SN, number - jnp.arange(S), rows, common), 0)
        left = (x, rows)
        moved = jax.tree.map(lambda a, head: laid(at(S - 1, a, jnp.roll(head, -1, 0)), 0), left, heads)
        queues = jax.tree.map(
            lambda a, new: jax.lax.dynamic_update_index_in_dim(a, new, place, 1), queues, moved
        )
        return (queues, left), None

    queues = jax.tree.map(queued, (x_BLD, rows))
    nothing = jax.tree.map(lambda a: jnp.zeros_like(a[:, 0]), queues)
    ((x_SPQLD, _), _), _ = jax.lax.scan(tick, (queues, nothing), jnp.arange(M + S - 1))
    x_SQPLD = laid(jnp.roll(x_SPQLD, 1 - S, 1), 1).swapaxes(1, 2)
    return constrain(x_SQPLD.reshape(x_BLD.shape), "batch", "length", "act_embed")
