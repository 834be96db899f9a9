"""A stack of Transformer layers: stored stacked, scanned or unrolled, rematerialised as configured."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import TransformerConfig
from scaling.models.axes import constrain, placement
from scaling.models.dense import LINEAR
from scaling.models.layers import Attend, Attention, FeedForward, Norm, dropout, times
from scaling.models.mixture import Losses, MixtureOfExperts, no_losses
from scaling.models.pipeline import pipelined
from scaling.models.taps import tap

# What a rematerialised layer keeps from the forward pass; the rest is computed again in the backward pass.
REMAT_POLICIES: dict[str, Callable[..., bool]] = {
    "dots": jax.checkpoint_policies.save_only_these_names(LINEAR),
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Layer(nnx.Module):
    """One layer: self-attention, cross-attention in a decoder that has one, feed-forward; each beside a
    residual."""

    def __init__(
        self, config: TransformerConfig, key: jax.Array, *, cross: bool = False, kv_heads: int | None = None
    ) -> None:
        attention_key, feed_forward_key = jax.random.split(key)
        self.attention_norm = Norm(config)
        self.attention = Attention(config, attention_key, kv_heads)
        self.cross_norm = Norm(config) if cross else None
        self.cross_attention = Attention(config, jax.random.fold_in(key, 2)) if cross else None
        self.feed_forward_norm = Norm(config)
        # Mixtures stand in some of the layers alone, and so are stacked apart (`stacked_layers`).
        feed_forward = FeedForward(config, feed_forward_key) if config.mixture is None else None
        self.feed_forward: FeedForward | None = nnx.data(feed_forward)
        self.mixture: MixtureOfExperts | None = nnx.data(None)
        self.among_mixtures = config.mixture is not None
        self.pre_norm = config.norm == "pre"
        self.dropout = config.dropout
        self.residual_multiplier = config.residual_multiplier

    def __call__(
        self,
        x_BLD: jax.Array,
        attend: Attend,
        key: jax.Array | None = None,
        *,
        across: Callable[[Attention, jax.Array], jax.Array] | None = None,
        real_BL: jax.Array | None = None,
    ) -> tuple[jax.Array, Losses | None]:
        """x_BLD to x_BLD, and the losses of a mixture's router (0 without one; None in a stack of none).

        `key` turns residual dropout on; `across` computes cross-attention from its module and x_BLD;
        `real_BL` is false on padding, which takes no room in experts.
        """
        keys = [None, None, None] if key is None else [*jax.random.split(key), jax.random.fold_in(key, 2)]

        def beside(
            name: str, norm: Norm, part: Callable[[jax.Array], jax.Array], x_BLD: jax.Array, key: Any
        ) -> Any:
            y_BLD = times(part(norm(x_BLD) if self.pre_norm else x_BLD), self.residual_multiplier)
            tap(f"{name} output", lambda: y_BLD)
            x_BLD = x_BLD + dropout(y_BLD, self.dropout, key)
            if not self.pre_norm:
                x_BLD = norm(x_BLD)
            return constrain(x_BLD, "batch", "length", "act_embed")

        attend_self = partial(self.attention, attend=attend)
        x_BLD = beside("attention", self.attention_norm, attend_self, x_BLD, keys[0])
        if self.cross_norm is not None and self.cross_attention is not None:
            assert across is not None
            cross = partial(across, self.cross_attention)
            x_BLD = beside("cross-attention", self.cross_norm, cross, x_BLD, keys[2])
        if self.mixture is None:
            assert self.feed_forward is not None
            x_BLD = beside("feed-forward", self.feed_forward_norm, self.feed_forward, x_BLD, keys[1])
            tap("residual stream", lambda: x_BLD)
            return x_BLD, no_losses() if self.among_mixtures else None
        routed: list[Losses] = []

        def experts(x_BLD: jax.Array) -> jax.Array:
            assert self.mixture is not None
            y_BLD, losses = self.mixture(x_BLD, keys[1], real_BL)
            routed.append(losses)
            return y_BLD

        x_BLD = beside("feed-forward", self.feed_forward_norm, experts, x_BLD, keys[1])
        tap("residual stream", lambda: x_BLD)
        return x_BLD, routed[0]


class Around(NamedTuple):
    """What layers read beside x_BLD, the same at every depth."""

    rows: Any = None  # leads with B in every array: goes where its rows go
    common: Any = None  # the same for all rows


NOTHING_AROUND = Around()

# What one layer does: (kind, layer, x_BLD, what belongs to this depth, what is around) to (x_BLD, what it
# gives out). The kind is its name, or where it is known only at run time its number in `layer_kinds`.
Apply = Callable[[str | jax.Array, Layer, jax.Array, Any, Around], tuple[jax.Array, Any]]


def stacked_layers(
    config: TransformerConfig,
    key: jax.Array,
    count: int,
    *,
    cross: bool = False,
    kv_heads: int | None = None,
) -> Layer:
    """`count` layers stacked: every parameter leads with N; those of feed-forwards with as many as there are.

    Where there are mixtures, the last of every `mixture.every` layers is one.
    """
    keys = jax.random.split(key, count)
    layers = jax.vmap(lambda k: Layer(config, k, cross=cross, kv_heads=kv_heads))(keys)
    if config.mixture is not None:
        every = config.mixture.every
        mixed, dense = keys[every - 1 :: every], [i for i in range(count) if (i + 1) % every]
        if dense:
            layers.feed_forward = jax.vmap(lambda k: FeedForward(config, k))(keys[jnp.array(dense)])
        layers.mixture = jax.vmap(lambda k: MixtureOfExperts(config, k))(mixed)
    return layers


def unstack(tree: Any, count: int) -> list[Any]:
    """The `count` entries along the leading axis of a stacked tree.

    By `lax.split`, whose transpose is one concatenation: indexing would make the backward pass add up
    `count` padded copies of the whole stack.
    """
    leaves = jax.tree.leaves(tree)
    split = [jax.lax.split(leaf, [1] * count, axis=0) for leaf in leaves]
    return [
        jax.tree.unflatten(jax.tree.structure(tree), [part[i].reshape(part[i].shape[1:]) for part in split])
        for i in range(count)
    ]


def layer_kinds(pattern: Sequence[str]) -> list[str]:
    """The kinds of layers there are, in the order in which `run_layers` numbers them."""
    return sorted(set(pattern))


def run_layers(
    config: TransformerConfig,
    apply: Apply,
    layers: Layer,
    x_BLD: jax.Array,
    extras: Any,
    around: Around = NOTHING_AROUND,
    *,
    count: int,
    pattern: Sequence[str] = ("dense",),
    shared: bool = False,
) -> tuple[jax.Array, Any]:
    """All `count` layers in order, scanned or unrolled, rematerialised as configured.

    Where the step is placed on a mesh with pipeline stages, each has as many of the layers, whole repetitions
    of the pattern; they give nothing out then, and `extras` are keys or None.

    Scanned and unrolled compute the same numbers from the same stacked weights. A scan runs one group's code
    for every depth; a group is one layer, or `mixture.every` of them. Where kinds of layers alternate,
    `apply` gets the number of the kind and branches on it in the attention alone, so that the program holds
    the rest of a layer once.

    Args:
        config: `scan_layers`, `remat` and `mixture` are read.
        apply: what one layer does.
        layers: as of `stacked_layers`; with `shared` one layer, used at every depth (ALBERT).
        x_BLD: what enters the first layer.
        extras: leads with N in every array: what belongs to each depth (keys of dropout, a cache); or None.
        around: what layers read beside x_BLD.
        count: N.
        pattern: kinds of layers, repeated over the depth.
        shared: whether all depths have the same parameters.

    Returns:
        What leaves the last layer, and what the layers gave out, stacked by N.
    """
    placed = placement()
    if placed is None or placed.stages == 1:
        return _run(config, apply, layers, x_BLD, extras, around, count, pattern, shared)

    def stage(layers: Layer, x_BLD: jax.Array, keys: Any, rows: Any, common: Any) -> jax.Array:
        own = count // placed.stages
        return _run(config, apply, layers, x_BLD, keys, Around(rows, common), own, pattern, False)[0]

    return pipelined(placed, stage, layers, x_BLD, extras, around.rows, around.common), None


def _run(
    config: TransformerConfig,
    apply: Apply,
    layers: Layer,
    x_BLD: jax.Array,
    extras: Any,
    around: Around,
    count: int,
    pattern: Sequence[str],
    shared: bool,
) -> tuple[jax.Array, Any]:
    """`run_layers` where all layers are together."""
    every = 1 if config.mixture is None else config.mixture.every
    kinds = layer_kinds(pattern)
    names = [pattern[i % len(pattern)] for i in range(count)]

    def step(
        kind: str | jax.Array | None, layer: Layer, x_BLD: jax.Array, extra: Any
    ) -> tuple[jax.Array, Any]:
        return apply(kinds[0] if kind is None else kind, layer, x_BLD, extra, around)

    if not config.scan_layers:
        given = [None] * count if extras is None else unstack(extras, count)
        outs = []
        for name, layer, extra in zip(names, _separate(layers, count, every, shared), given, strict=True):
            x_BLD, out = _rematerialised(config, partial(step, name))(layer, x_BLD, extra)
            outs.append(out)
        return x_BLD, jax.tree.map(lambda *each: jnp.stack(each), *outs)

    body = _rematerialised(config, step)
    numbers = jnp.array([kinds.index(name) for name in names], jnp.int32) if len(kinds) > 1 else None
    if every == 1:
        scanned = None if shared else layers
        return jax.lax.scan(
            lambda x_BLD, each: body(each[0], layers if shared else each[1], x_BLD, each[2]),
            x_BLD,
            (numbers, scanned, extras),
            length=count,
        )

    def group(x_BLD: jax.Array, each: tuple[Any, Any, Any]) -> tuple[jax.Array, Any]:
        group_numbers, (common, dense, mixture), group_extras = each
        outs = []
        for i in range(every):
            number, extra = jax.tree.map(lambda leaf, i=i: leaf[i], (group_numbers, group_extras))
            layer = _layer(common, dense, mixture, i, every)
            x_BLD, out = body(number, layer, x_BLD, extra)
            outs.append(out)
        return x_BLD, jax.tree.map(lambda *parts: jnp.stack(parts), *outs)

    def grouped(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(count // every, -1, *leaf.shape[1:]), tree)

    common, dense, mixture = _parts(layers)
    x_BLD, outs = jax.lax.scan(
        group,
        x_BLD,
        (grouped(numbers), (grouped(common), grouped(dense), mixture), grouped(extras)),
        length=count // every,
    )
    return x_BLD, jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), outs)


def _parts(layers: Layer) -> tuple[Layer, FeedForward | None, MixtureOfExperts | None]:
    """What every layer has, and the feed-forwards that are stacked apart."""
    common = jax.tree.map(lambda leaf: leaf, layers)
    common.feed_forward = common.mixture = None
    return common, layers.feed_forward, layers.mixture


def _layer(common: Any, dense: Any, mixture: Any, i: int, every: int) -> Layer:
    """Layer i of a group."""
    layer = jax.tree.map(lambda leaf: leaf[i], common)
    if i == every - 1:
        layer.mixture = mixture
    else:
        layer.feed_forward = jax.tree.map(lambda leaf: leaf[i], dense)
    return layer


def _separate(layers: Layer, count: int, every: int, shared: bool) -> list[Layer]:
    """The layers one by one."""
    if shared:
        return [layers] * count
    if layers.mixture is None:
        return unstack(layers, count)
    common, dense, mixture = _parts(layers)
    separate = unstack(common, count)
    denses = iter(unstack(dense, count - count // every) if dense is not None else [])
    mixtures = iter(unstack(mixture, count // every))
    for i, layer in enumerate(separate):
        if (i + 1) % every:
            layer.feed_forward = next(denses)
        else:
            layer.mixture = next(mixtures)
    return separate


def _rematerialised(config: TransformerConfig, function: Callable[..., Any]) -> Callable[..., Any]:
    if config.remat == "none":
        return function
    # Inside a scan nothing can be merged with the forward pass, so the barrier that prevents it is waste.
    return jax.checkpoint(function, policy=REMAT_POLICIES[config.remat], prevent_cse=not config.scan_layers)
