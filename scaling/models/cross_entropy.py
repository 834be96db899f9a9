"""Next-token loss from hidden states and the output head, without ever holding all the logits.

The (B, L, V) logits of a large vocabulary are the largest array of a training step. Here they are formed a
chunk of positions at a time, and where a gradient is wanted it is formed with them: the gradient of a sum of
token losses depends on what comes after only through one factor, so the chunk's logits are turned into
gradients of `x` and `head` and dropped, with three matrix products and nothing to recompute (as in Liger,
Hsu et al. 2024, arXiv:2410.10989, section 3.2). Accelerators read logits in the compute type and add in
float32. The target's logit is picked by comparison with an iota, so neither direction has a gather or a
scatter, and a sharded vocabulary needs no more than a sum over shards.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from scaling.config.mesh import RUN_AXIS, logits_chunk
from scaling.models.axes import placement, platform


def cross_entropy(
    x_BLD: Array,
    head_VD: Array,
    targets_BL: Array,
    weights_BL: Array | None = None,
    *,
    bias_V: Array | None = None,
    z_loss: float = 0.0,
    chunk: int | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Weighted sum over positions of -log p(target) + z_loss * (log Z)^2, in nats.

    Logits are x . head + bias, accumulated in fp32 whatever the compute type, and on accelerators rounded to
    it; Z is their sum of exponentials, in fp32, and the second term holds it near 1 (PaLM, Chowdhery et al.
    2022, section 5).

    Args:
        x_BLD: hidden states after the last norm, in the compute type.
        head_VD: output head, or the tied embedding, in the compute type.
        targets_BL: integer ids in [0, V). An id outside counts as a logit of 0.
        weights_BL: what each position counts; ones where None. Differentiable too.
        bias_V: added to the logits.
        z_loss: coefficient of the second term.
        chunk: positions of each row formed at once; it need not divide L. None chooses by size and platform.

    Returns:
        The fp32 sum, to differentiate, and fp32 scalars, which carry no gradient: `nll_sum` and
        `z_sum` (weighted sums of -log p and of (log Z)^2, without coefficient), `weight_sum`.
    """
    weights_BL = jnp.ones(targets_BL.shape, jnp.float32) if weights_BL is None else weights_BL
    weights_BL = weights_BL.astype(jnp.float32)
    shards = _shards(x_BLD)
    B, L = targets_BL.shape
    if shards is not None:
        B, L = B // shards.ways(shards.rows), L // shards.ways(shards.length)
    chunk = logits_chunk(B, L, head_VD.shape[0], chunk, platform())
    head = _Head(head_VD, bias_V)
    total, nll_sum, z_sum = _loss(z_loss, chunk, shards, x_BLD, head, targets_BL, weights_BL)
    aux = {"nll_sum": nll_sum, "z_sum": z_sum, "weight_sum": weights_BL.sum()}
    return total, jax.tree.map(jax.lax.stop_gradient, aux)


def token_log_probabilities(
    x_BLD: Array,
    head_VD: Array,
    targets_BL: Array,
    *,
    bias_V: Array | None = None,
    chunk: int | None = None,
) -> Array:
    """logp_BL: the fp32 log-probability of each target, in nats; arguments as of `cross_entropy`."""
    B, L = targets_BL.shape
    chunk = logits_chunk(B, L, head_VD.shape[0], chunk, platform())

    @jax.checkpoint
    def of_chunk(pieces: tuple[Array, Array]) -> Array:
        logits = _logits(pieces[0], _Head(head_VD, bias_V), jnp.float32)
        return _picked(logits, pieces[1]) - jax.nn.logsumexp(logits, axis=-1)

    if chunk >= L:
        return of_chunk((x_BLD, targets_BL))
    logp_CBl = jax.lax.map(of_chunk, (_split(x_BLD, chunk), _split(targets_BL, chunk)))
    return _join(logp_CBl, L)


def _split(a_BL: Array, chunk: int) -> Array:
    """(B, L, ...) to (C, B, chunk, ...), zeros filling the last chunk: the batch axis is not split."""
    B, L = a_BL.shape[:2]
    rest = a_BL.shape[2:]
    padded = jnp.pad(a_BL, ((0, 0), (0, -L % chunk)) + ((0, 0),) * len(rest))
    return jnp.moveaxis(padded.reshape(B, -1, chunk, *rest), 1, 0)


def _join(a_CBl: Array, L: int) -> Array:
    """The inverse of `_split`."""
    C, B, chunk, *rest = a_CBl.shape
    return jnp.moveaxis(a_CBl, 0, 1).reshape(B, C * chunk, *rest)[:, :L]


class _Head(NamedTuple):
    """The map from hidden states to logits."""

    kernel_VD: Array
    bias_V: Array | None


def _logits(x_BLD: Array, head: _Head, kind: Any) -> Array:
    logits_BLV = jnp.einsum("bld,vd->blv", x_BLD, head.kernel_VD, preferred_element_type=kind)
    return logits_BLV if head.bias_V is None else logits_BLV + head.bias_V.astype(kind)


def _kept_logits(x_BLD: Array, head: _Head) -> Array:
    """The logits of a chunk, in the type in which the platform reads them again and again."""
    return _logits(x_BLD, head, jnp.float32 if platform() == "cpu" else x_BLD.dtype)


def _is_target(logits_BLV: Array, targets_BL: Array) -> Array:
    return jax.lax.broadcasted_iota(targets_BL.dtype, logits_BLV.shape, 2) == targets_BL[..., None]


def _picked(logits_BLV: Array, targets_BL: Array) -> Array:
    return jnp.where(_is_target(logits_BLV, targets_BL), logits_BLV, 0.0).sum(-1)


class _Sums(NamedTuple):
    total: Array
    nll: Array
    z: Array


class _Gradients(NamedTuple):
    """Of x_BLD, of the head as (D, V), of its bias (V,), of weights_BL; types are those of what they are of,
    that of the head in fp32 while chunks are added up."""

    x: Array
    head: Array
    bias: Array | None
    weights: Array


def _chunk_sums(
    z_loss: float, logits_BLV: Array, targets_BL: Array, weights_BL: Array
) -> tuple[_Sums, Array, Array]:
    """The chunk's three sums, and for its gradients the log Z and the loss of each token."""
    peak_BL = logits_BLV.max(-1).astype(jnp.float32)
    logits_BLV = logits_BLV.astype(jnp.float32)
    log_z_BL = peak_BL + jnp.log(jnp.exp(logits_BLV - peak_BL[..., None]).sum(-1))
    nll_BL = log_z_BL - _picked(logits_BLV, targets_BL)
    token_BL = nll_BL + z_loss * jnp.square(log_z_BL)
    sums = _Sums(
        total=(weights_BL * token_BL).sum(),
        nll=(weights_BL * nll_BL).sum(),
        z=(weights_BL * jnp.square(log_z_BL)).sum(),
    )
    return sums, log_z_BL, token_BL


@dataclasses.dataclass(frozen=True)
class _Shards:
    """How the rows, the positions and the width of this loss are split over a mesh.

    Left to the compiler, every chunk would gather the head and reduce its gradient over the devices. Under
    `jax.shard_map` each device gathers the head once, adds up the gradient of its own tokens over all chunks,
    and reduces it once.
    """

    mesh: Mesh
    rows: tuple[str, ...]  # mesh axes that split the batch
    length: tuple[str, ...]  # and the positions
    width: tuple[str, ...]  # those among both that split the head's width

    @property
    def tokens(self) -> tuple[str, ...]:
        """The mesh axes that split the tokens."""
        return self.rows + self.length

    def ways(self, axes: tuple[str, ...]) -> int:
        """Into how many parts these mesh axes split."""
        return math.prod(self.mesh.shape[axis] for axis in axes)

    def map(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """`function(x, head, targets, weights)` on each device's tokens."""
        tokens: Any = PartitionSpec(self.rows or None, self.length or None)
        whole: Any = PartitionSpec()
        width: Any = PartitionSpec(self.width or None)
        head: _Head = arrays[1]
        bias = None if head.bias_V is None else whole
        gradients = _Gradients(tokens, width, bias, tokens)
        sums = _Sums(whole, whole, whole)
        return jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=(tokens, _Head(whole, bias), tokens, tokens),
            out_specs=(sums, gradients),
            axis_names={*self.tokens, RUN_AXIS} & set(self.mesh.shape),  # stacked runs are split too
            check_vma=False,
        )(*arrays)

    def reduce(self, sums: _Sums, gradients: _Gradients) -> tuple[_Sums, _Gradients]:
        """Add up over devices what each found for its own tokens."""
        sums = jax.tree.map(lambda a: jax.lax.psum(a, self.tokens), sums)
        head = gradients.head
        rest = tuple(axis for axis in self.tokens if axis not in self.width)
        for axis in self.width:
            head = jax.lax.psum_scatter(head, axis, scatter_dimension=0, tiled=True)
        head = jax.lax.psum(head, rest) if rest else head
        bias = None if gradients.bias is None else jax.lax.psum(gradients.bias, self.tokens)
        return sums, gradients._replace(head=head, bias=bias)


def _shards(x_BLD: Array) -> _Shards | None:
    """The split of a loss over the mesh that the step is traced for; None where its tokens are together."""
    placed = placement()
    if placed is None or placed.mesh.size == 1:
        return None

    def axes(name: str, size: int) -> tuple[str, ...]:
        spec = placed.partition((name,), (size,))
        entry = spec[0] if len(spec) else None
        return (entry,) if isinstance(entry, str) else tuple(entry or ())

    rows, length, width = map(axes, ("batch", "length", "embed"), x_BLD.shape)
    shards = _Shards(placed.mesh, rows, length, tuple(axis for axis in width if axis in rows + length))
    return shards if shards.tokens else None


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _loss(
    z_loss: float,
    chunk: int,
    shards: _Shards | None,
    x_BLD: Array,
    head: _Head,
    targets_BL: Array,
    weights_BL: Array,
) -> _Sums:
    def of_chunk(x: Array, targets: Array, weights: Array) -> _Sums:
        return _chunk_sums(z_loss, _kept_logits(x, head), targets, weights)[0]

    if chunk >= targets_BL.shape[1]:
        return of_chunk(x_BLD, targets_BL, weights_BL)
    pieces = tuple(_split(a, chunk) for a in (x_BLD, targets_BL, weights_BL))
    return jax.tree.map(lambda a_C: a_C.sum(0), jax.lax.map(lambda piece: of_chunk(*piece), pieces))


def _chunk_gradients(
    z_loss: float, x_BLD: Array, head: _Head, targets_BL: Array, weights_BL: Array
) -> tuple[_Sums, _Gradients]:
    """Sums and their gradients; that of the head in fp32, to be added up over chunks."""
    logits_BLV = _kept_logits(x_BLD, head)
    sums, log_z_BL, token_BL = _chunk_sums(z_loss, logits_BLV, targets_BL, weights_BL)
    probability_BLV = jnp.exp(logits_BLV.astype(jnp.float32) - log_z_BL[..., None])
    factor_BL1 = (weights_BL * (1.0 + 2.0 * z_loss * log_z_BL))[..., None]
    target_BLV = jnp.where(_is_target(logits_BLV, targets_BL), weights_BL[..., None], 0.0)
    dlogits_BLV = (factor_BL1 * probability_BLV - target_BLV).astype(x_BLD.dtype)
    if platform() != "tpu":
        # Without a barrier they are formed twice, once for each product. A TPU does that in the products'
        # shadow, and saves writing and reading them.
        dlogits_BLV = jax.lax.optimization_barrier(dlogits_BLV)
    dx_BLD = jnp.einsum("blv,vd->bld", dlogits_BLV, head.kernel_VD, preferred_element_type=jnp.float32)
    # x is transposed here, not the far larger dlogits; only the sum over chunks is transposed back.
    dhead_DV = jnp.einsum("bld,blv->dv", x_BLD, dlogits_BLV, preferred_element_type=jnp.float32)
    dbias_V = None if head.bias_V is None else dlogits_BLV.sum((0, 1), dtype=jnp.float32)
    return sums, _Gradients(dx_BLD.astype(x_BLD.dtype), dhead_DV, dbias_V, token_BL)


def _loss_forward(
    z_loss: float,
    chunk: int,
    shards: _Shards | None,
    x_BLD: Array,
    head: _Head,
    targets_BL: Array,
    weights_BL: Array,
) -> tuple[_Sums, tuple[_Gradients, _Head]]:
    local = partial(_sums_and_gradients, z_loss, chunk)
    if shards is None:
        sums, gradients = local(x_BLD, head, targets_BL, weights_BL)
    else:
        sums, gradients = shards.map(
            lambda *arrays: shards.reduce(*local(*arrays)), x_BLD, head, targets_BL, weights_BL
        )
    # Empty arrays carry the head's types to the backward pass without keeping the head.
    return sums, (gradients, jax.tree.map(lambda a: jnp.zeros((0,), a.dtype), head))


def _sums_and_gradients(
    z_loss: float, chunk: int, x_BLD: Array, head: _Head, targets_BL: Array, weights_BL: Array
) -> tuple[_Sums, _Gradients]:
    """Of these rows, a chunk of positions at a time."""
    L = targets_BL.shape[1]
    if chunk >= L:
        sums, gradients = _chunk_gradients(z_loss, x_BLD, head, targets_BL, weights_BL)
        return sums, gradients._replace(head=gradients.head.astype(head.kernel_VD.dtype))

    def step(carry: Any, piece: tuple[Array, ...]) -> tuple[Any, tuple[Array, Array]]:
        x, targets, weights = piece
        sums, gradients = _chunk_gradients(z_loss, x, head, targets, weights)
        carry = jax.tree.map(jnp.add, carry, (sums, gradients.head, gradients.bias))
        return carry, (gradients.x, gradients.weights)

    zero = jnp.zeros((), jnp.float32)
    pieces = tuple(_split(a, chunk) for a in (x_BLD, targets_BL, weights_BL))
    bias = None if head.bias_V is None else jnp.zeros(head.bias_V.shape, jnp.float32)
    start = (_Sums(zero, zero, zero), jnp.zeros(head.kernel_VD.T.shape, jnp.float32), bias)
    (sums, dhead_DV, dbias_V), (dx_CBlD, dweights_CBl) = jax.lax.scan(step, start, pieces)
    dhead_DV = dhead_DV.astype(head.kernel_VD.dtype)
    return sums, _Gradients(_join(dx_CBlD, L), dhead_DV, dbias_V, _join(dweights_CBl, L))


def _loss_backward(
    z_loss: float,
    chunk: int,
    shards: _Shards | None,
    saved: tuple[_Gradients, _Head],
    cotangents: _Sums,
) -> tuple[Array, _Head, None, Array]:
    gradients, like = saved
    d = cotangents.total  # the other two sums have stop_gradient on them
    dx_BLD = (d * gradients.x).astype(gradients.x.dtype)
    # The barrier keeps the compiler from turning the product itself round to save this small transpose.
    dhead_VD = jax.lax.optimization_barrier(gradients.head).T
    dbias_V = None
    if gradients.bias is not None and like.bias_V is not None:
        dbias_V = (d * gradients.bias).astype(like.bias_V.dtype)
    dhead = _Head((d * dhead_VD).astype(like.kernel_VD.dtype), dbias_V)
    return dx_BLD, dhead, None, d * gradients.weights


_loss.defvjp(_loss_forward, _loss_backward)
