"""The decoder: GPT-1 (post-norm), GPT-2 and GPT-3 (pre-norm, dense and banded layers)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import DecoderConfig
from scaling.models.attention import causal_attention
from scaling.models.axes import constrain, param
from scaling.models.dense import LINEAR
from scaling.models.layers import Attend, Attention, FeedForward, LayerNorm, dropout, normal

# What a rematerialised layer keeps from the forward pass; the rest is computed again in the backward pass.
REMAT_POLICIES: dict[str, Callable[..., bool]] = {
    "dots": jax.checkpoint_policies.save_only_these_names(LINEAR),
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Layer(nnx.Module):
    """One decoder layer: attention and feed-forward, each beside a residual."""

    def __init__(self, config: DecoderConfig, key: jax.Array) -> None:
        attention_key, feed_forward_key = jax.random.split(key)
        self.attention_norm = LayerNorm(config)
        self.attention = Attention(config, attention_key)
        self.feed_forward_norm = LayerNorm(config)
        self.feed_forward = FeedForward(config, feed_forward_key)
        self.pre_norm = config.norm == "pre"
        self.dropout = config.dropout

    def __call__(self, x_BLD: jax.Array, attend: Attend, key: jax.Array | None = None) -> jax.Array:
        """x_BLD to x_BLD; `key` turns residual dropout on."""
        keys = (None, None) if key is None else jax.random.split(key)
        for norm, part, k in (
            (self.attention_norm, partial(self.attention, attend=attend), keys[0]),
            (self.feed_forward_norm, self.feed_forward, keys[1]),
        ):
            if self.pre_norm:
                x_BLD = x_BLD + dropout(part(norm(x_BLD)), self.dropout, k)
            else:
                x_BLD = norm(x_BLD + dropout(part(x_BLD), self.dropout, k))
            x_BLD = constrain(x_BLD, "batch", "length", "act_embed")
        return x_BLD


class Decoder(nnx.Module):
    """A decoder-only language model. Layers are stored stacked: every layer parameter leads with N.

    Build it under `jax.eval_shape` for shapes alone, or under `jax.jit` with output shardings.
    """

    def __init__(self, config: DecoderConfig, key: jax.Array) -> None:
        token_key, position_key, layers_key, head_key = jax.random.split(key, 4)
        V, D, kind = config.vocab_size, config.d_model, config.param_dtype
        self.token_embedding = param(normal(token_key, (V, D), config.init_std, kind), "vocab", "embed")
        self.position_embedding = param(
            normal(position_key, (config.max_length, D), config.position_init_std, kind), "position", "embed"
        )
        self.layers = jax.vmap(lambda k: Layer(config, k))(jax.random.split(layers_key, config.n_layers))
        self.final_norm = LayerNorm(config) if config.norm == "pre" else None
        head = None if config.tie_embeddings else normal(head_key, (V, D), config.init_std, kind)
        self.untied_head = None if head is None else param(head, "vocab", "embed")
        self.config = config

    def head_VD(self) -> jax.Array:
        """The output head in the compute type: the token embedding where it is tied."""
        head = self.token_embedding if self.untied_head is None else self.untied_head
        return head[...].astype(self.config.compute_dtype)

    def embed(self, tokens_BL: jax.Array, positions_BL: jax.Array | None) -> jax.Array:
        """Token plus position embeddings, (B, L, D) in the compute type."""
        dtype = self.config.compute_dtype
        x_BLD = self.token_embedding[...].astype(dtype)[tokens_BL]
        position_MD = self.position_embedding[...].astype(dtype)
        at = position_MD[: tokens_BL.shape[1]] if positions_BL is None else position_MD[positions_BL]
        return constrain(x_BLD + at, "batch", "length", "act_embed")

    def __call__(
        self,
        tokens_BL: jax.Array,
        *,
        segment_ids_BL: jax.Array | None = None,
        positions_BL: jax.Array | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Final hidden states (B, L, D) of tokens (B, L); `head_VD` turns them into logits.

        `segment_ids_BL` keeps attention within a document of a packed row; `positions_BL` counts from the
        start of the row where it is not given; `dropout_key` turns dropout on.
        """
        config = self.config
        keys = None
        x_BLD = self.embed(tokens_BL, positions_BL)
        if dropout_key is not None and config.dropout > 0:
            embedding_key, layers_key = jax.random.split(dropout_key)
            x_BLD = dropout(x_BLD, config.dropout, embedding_key)
            keys = jax.random.split(layers_key, config.n_layers)

        def attend_as(kind: str, key: jax.Array | None) -> Attend:
            return partial(
                causal_attention,
                segment_ids_BL=segment_ids_BL,
                band=config.band_width if kind == "banded" else None,
                dropout_rate=config.dropout if key is not None else 0.0,
                key=key,
            )

        def run(kind: str | jax.Array, layer: Layer, x_BLD: jax.Array, key: jax.Array | None) -> jax.Array:
            attention_key = residual_key = None
            if key is not None:
                attention_key, residual_key = jax.random.split(key)
            if isinstance(kind, str):
                return layer(x_BLD, attend_as(kind, attention_key), residual_key)
            branches = [attend_as(name, attention_key) for name in layer_kinds(config)]
            return layer(x_BLD, lambda q, k, v: jax.lax.switch(kind, branches, q, k, v), residual_key)

        return self.finish(run_layers(config, run, self.layers, x_BLD, keys))

    def finish(self, x_BLD: jax.Array) -> jax.Array:
        """The final norm of a pre-norm model."""
        return x_BLD if self.final_norm is None else self.final_norm(x_BLD)

    def logits(self, x_BLD: jax.Array) -> jax.Array:
        """Logits (B, L, V) in float32 of final hidden states; training never holds them whole."""
        return jnp.einsum("BLD,VD->BLV", x_BLD, self.head_VD(), preferred_element_type=jnp.float32)


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


def layer_kinds(config: DecoderConfig) -> list[str]:
    """The kinds of layers there are, in the order in which `run_layers` numbers them."""
    return sorted(set(config.layer_pattern))


def run_layers(
    config: DecoderConfig,
    run: Callable[[str | jax.Array, Layer, jax.Array, jax.Array | None], jax.Array],
    layers: Layer,
    x_BLD: jax.Array,
    keys: jax.Array | None,
) -> jax.Array:
    """All layers in order, scanned or unrolled, rematerialised as configured.

    Scanned and unrolled compute the same numbers from the same stacked weights. A scan runs one layer's code
    for every depth: where kinds of layers alternate, `run` gets the number of the kind and branches on it in
    the attention alone, so that the program holds the rest of a layer once.
    """

    def step(
        kind: str | jax.Array | None, layer: Layer, x_BLD: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        return run(kinds[0] if kind is None else kind, layer, x_BLD, key)

    kinds, pattern = layer_kinds(config), config.layer_pattern
    if not config.scan_layers:
        for i, layer in enumerate(unstack(layers, config.n_layers)):
            one = _rematerialised(config, partial(step, pattern[i % len(pattern)]))
            x_BLD = one(layer, x_BLD, None if keys is None else keys[i])
        return x_BLD

    body = _rematerialised(config, step)
    numbers = None
    if len(kinds) > 1:
        repeats = config.n_layers // len(pattern)
        numbers = jnp.array([kinds.index(kind) for kind in pattern] * repeats, jnp.int32)
    return jax.lax.scan(
        lambda x_BLD, each: (body(each[0], each[1], x_BLD, each[2]), None), x_BLD, (numbers, layers, keys)
    )[0]


def _rematerialised(config: DecoderConfig, function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    if config.remat == "none":
        return function
    # Inside a scan nothing can be merged with the forward pass, so the barrier that prevents it is waste.
    return jax.checkpoint(function, policy=REMAT_POLICIES[config.remat], prevent_cse=not config.scan_layers)
