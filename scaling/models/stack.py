"""A stack of Transformer layers: stored stacked, run one by one, in a scan or as stages of a pipeline."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from scaling.config.model import TransformerConfig
from scaling.models.axes import MeshPlacement, placement
from scaling.models.functional import LINEAR
from scaling.models.layers import Bands, FeedForward, Layer, LayerInputs, LayerOutputs, LayerState
from scaling.models.mixture import MixtureOfExperts, grouped, members, unstack
from scaling.models.pipeline import pipelined

# What a rematerialised layer keeps from the forward pass; the rest is computed again in the backward pass.
REMAT_POLICIES: dict[str, Callable[..., bool]] = {
    "dots": jax.checkpoint_policies.save_only_these_names(LINEAR),
    "full": jax.checkpoint_policies.nothing_saveable,
}


def stacked_layers(
    config: TransformerConfig,
    key: jax.Array,
    count: int,
    *,
    causal: bool,
    cross: bool = False,
    kv_heads: int | None = None,
    rotary_base: float | None = None,
) -> Layer:
    """`count` layers stacked: every parameter leads with N.

    With mixtures the last of every `mixture.every` layers has one: they and the feed-forwards of the others
    lead with as many as there are.
    """
    keys = jax.random.split(key, count)

    def one(key: jax.Array) -> Layer:
        return Layer(config, key, causal=causal, cross=cross, kv_heads=kv_heads, rotary_base=rotary_base)

    layers = jax.vmap(one)(keys)
    if config.mixture is not None:
        every = config.mixture.every
        mixed, dense = keys[every - 1 :: every], [i for i in range(count) if (i + 1) % every]
        if dense:
            layers.feed_forward = jax.vmap(lambda k: FeedForward(config, k))(keys[jnp.array(dense)])
        layers.mixture = jax.vmap(lambda k: MixtureOfExperts(config, k))(mixed)
    return layers


@dataclass(frozen=True)
class Stack:
    """N layers in order, run as `config` says: unrolled or scanned, rematerialised or not, or in stages.

    The reference is a loop, `_unrolled`. A scan runs one layer's code for every depth, and compiles once; the
    two compute the same numbers. On a mesh with pipeline stages, each stage has as many of the layers,
    complete repetitions of the pattern of bands; layers return only x_BLD there, and read no cache.

    Attributes:
        config: `scan_layers`, `remat` and `mixture` are read.
        bands: which positions each layer attends to; N of them.
        shared: whether all depths have the same parameters (ALBERT).
    """

    config: TransformerConfig
    bands: Bands
    shared: bool = False

    def __call__(
        self, layers: Layer, x_BLD: jax.Array, inputs: LayerInputs, states: LayerState
    ) -> tuple[jax.Array, LayerOutputs]:
        """x_BLD after the last layer, and what the layers returned besides, stacked.

        Args:
            layers: as of `stacked_layers`; one layer if it is shared.
            x_BLD: what enters the first layer.
            inputs: what all layers read.
            states: what each layer has of its own; every array leads with N.
        """
        placed = placement()
        if placed is not None and placed.stages > 1:
            return self._in_stages(placed, layers, x_BLD, inputs, states)
        run = self._scanned if self.config.scan_layers else self._unrolled
        return run(layers, x_BLD, inputs, states)

    @property
    def _group(self) -> int:
        """Layers in a step of a scan."""
        return 1 if self.config.mixture is None else self.config.mixture.every

    def _unrolled(
        self, layers: Layer, x_BLD: jax.Array, inputs: LayerInputs, states: LayerState
    ) -> tuple[jax.Array, LayerOutputs]:
        count, every = len(self.bands.of_layer), self._group
        if self.shared:
            separate = [layers] * count
        elif every == 1:
            separate = unstack(layers, count)
        else:
            groups = unstack(grouped(layers, every), count // every)
            separate = [layer for group in groups for layer in members(group, every)]
        outputs = []
        for layer, state, band in zip(separate, unstack(states, count), self.bands.of_layer, strict=True):
            step = self._rematerialised(partial(self._layer, inputs, band))
            x_BLD, output = step(layer, x_BLD, state)
            outputs.append(output)
        return x_BLD, jax.tree.map(lambda *each: jnp.stack(each), *outputs)

    def _scanned(
        self, layers: Layer, x_BLD: jax.Array, inputs: LayerInputs, states: LayerState
    ) -> tuple[jax.Array, LayerOutputs]:
        """A step of the scan is one layer, or a group of `mixture.every` of them."""
        count, every = len(self.bands.of_layer), self._group
        # Layers that differ share the code of all but their attention, which branches on the band.
        several = len(self.bands.widths) > 1
        numbers_N = jnp.array(self.bands.of_layer, jnp.int32) if several else None

        def run(layer: Layer, x_BLD: jax.Array, state: LayerState, band: jax.Array | None) -> Any:
            return self._layer(inputs, 0 if band is None else band, layer, x_BLD, state)

        step = self._rematerialised(run)
        if every == 1:
            own = None if self.shared else layers
            return jax.lax.scan(
                lambda x_BLD, each: step(layers if self.shared else each[0], x_BLD, *each[1:]),
                x_BLD,
                (own, states, numbers_N),
                length=count,
            )

        def group(x_BLD: jax.Array, each: tuple[Any, Any, Any]) -> tuple[jax.Array, LayerOutputs]:
            outputs = []
            own = (unstack(part, every) for part in each[1:])
            for layer, state, band in zip(members(each[0], every), *own, strict=True):
                x_BLD, output = step(layer, x_BLD, state, band)
                outputs.append(output)
            return x_BLD, jax.tree.map(lambda *parts: jnp.stack(parts), *outputs)

        def in_groups(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.reshape(count // every, every, *leaf.shape[1:]), tree)

        each = (grouped(layers, every), in_groups(states), in_groups(numbers_N))
        x_BLD, outputs = jax.lax.scan(group, x_BLD, each, length=count // every)
        return x_BLD, jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), outputs)

    def _in_stages(
        self, placed: MeshPlacement, layers: Layer, x_BLD: jax.Array, inputs: LayerInputs, states: LayerState
    ) -> tuple[jax.Array, LayerOutputs]:
        of_stage = self.bands.of_layer[: len(self.bands.of_layer) // placed.stages]
        part = replace(self, bands=Bands(self.bands.widths, of_stage))
        run = part._scanned if self.config.scan_layers else part._unrolled

        def stage(layers: Layer, x_BLD: jax.Array, keys: Any, rows: LayerInputs, bias: Any) -> jax.Array:
            return run(layers, x_BLD, rows._replace(bias=bias), LayerState(keys))[0]

        rows = inputs._replace(bias=None)
        x_BLD = pipelined(placed, stage, layers, x_BLD, states.dropout_key, rows, inputs.bias)
        return x_BLD, LayerOutputs(None, None)

    def _layer(
        self, inputs: LayerInputs, band: int | jax.Array, layer: Layer, x_BLD: jax.Array, state: LayerState
    ) -> tuple[jax.Array, LayerOutputs]:
        return layer(x_BLD, inputs, state, self.bands.widths, band)

    def _rematerialised(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self.config.remat == "none":
            return function
        # Inside a scan nothing can be merged with the forward pass, so the barrier that prevents it is waste.
        policy = REMAT_POLICIES[self.config.remat]
        return jax.checkpoint(function, policy=policy, prevent_cse=not self.config.scan_layers)
