"""How heads are split over a mesh, for the implementations that run under `jax.shard_map`."""

import math

import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from scaling.models.axes import MeshPlacement


def parts(placed: MeshPlacement, spec: PartitionSpec, dimension: int) -> int:
    """The number of parts into which a dimension of an array is split."""
    entry = spec[dimension] if len(spec) > dimension else None
    return math.prod(
        placed.mesh.shape[axis] for axis in ((entry,) if isinstance(entry, str) else entry or ())
    )


def enough_key_heads(
    placed: MeshPlacement, q_BLHE: Array, k_BMKE: Array, v_BMKE: Array
) -> tuple[Array, Array]:
    """Keys and values whose heads are split as the query heads are, so that each device holds those it needs.

    Fewer key heads than devices are repeated, as often as it takes.
    """
    spec = placed.partition(("batch", None, "heads", "head"), q_BLHE.shape)
    K, ways = k_BMKE.shape[2], parts(placed, spec, 2)
    if K % ways == 0:
        return k_BMKE, v_BMKE
    k_BMKE, v_BMKE = (jnp.repeat(a, math.lcm(K, ways) // K, axis=2) for a in (k_BMKE, v_BMKE))
    return k_BMKE, v_BMKE
