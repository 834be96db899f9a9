"""The decoder: GPT-1 (post-norm), GPT-2 and GPT-3 (pre-norm, dense and banded layers), LLaMA shapes."""

import jax
from flax import nnx

from scaling.config.model import DecoderConfig
from scaling.models.axes import constrain, param, tap
from scaling.models.functional import normal, times
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import Bands, LayerCache, LayerInputs, LayerOutputs, LayerState, Norm, dropout
from scaling.models.mixture import router_losses
from scaling.models.stack import Stack, stacked_layers


class Decoder(nnx.Module):
    """A decoder-only language model. Layers are stored stacked: every parameter of a layer leads with N.

    Build it under `jax.eval_shape` for shapes alone, or under `jax.jit` with output shardings.
    """

    def __init__(self, config: DecoderConfig, key: jax.Array) -> None:
        token_key, position_key, layers_key, head_key = jax.random.split(key, 4)
        V, D, kind = config.vocab_size, config.d_model, config.param_dtype
        self.token_embedding = param(normal(token_key, (V, D), config.init_std, kind), "vocab", "embed")
        table = None
        if config.positions == "learned":
            table = normal(position_key, (config.max_length, D), config.position_init_std, kind)
        self.position_embedding = None if table is None else param(table, "position", "embed")
        self.layers = stacked_layers(
            config,
            layers_key,
            config.n_layers,
            causal=True,
            kv_heads=config.n_kv_heads,
            rotary_base=config.rotary_base if config.positions == "rotary" else None,
        )
        self.final_norm = Norm(config) if config.norm == "pre" else None
        head = None if config.tie_embeddings else normal(head_key, (V, D), config.init_std, kind)
        self.untied_head = None if head is None else param(head, "vocab", "embed")
        self.config = config

    def __call__(
        self,
        tokens_BL: jax.Array,
        *,
        segment_ids_BL: jax.Array | None = None,
        positions_BL: jax.Array | None = None,
        prefix_BL: jax.Array | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Final hidden states (B, L, D) of tokens (B, L); `head_VD` turns them into logits.

        `segment_ids_BL` keeps attention within a document of a packed row; `positions_BL` counts from the
        start of the row by default; `prefix_BL` is non-zero where a token is seen by all of its segment;
        `dropout_key` turns dropout on.
        """
        return self.run(tokens_BL, LayerInputs(segment_ids_BL, positions_BL, prefix_BL), dropout_key)[0]

    def run(
        self,
        tokens_BL: jax.Array,
        inputs: LayerInputs,
        dropout_key: jax.Array | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[jax.Array, LayerOutputs]:
        """What the head multiplies, (B, L, D), and what the layers returned besides.

        `cache` holds keys and values of earlier positions, of all layers (N, B, M, K, E).
        """
        config = self.config
        x_BLD = self.embed(tokens_BL, inputs.positions_BL)
        layer_keys = None
        if dropout_key is not None and config.dropout > 0:
            embedding_key, layers_key = jax.random.split(dropout_key)
            x_BLD = dropout(x_BLD, config.dropout, embedding_key)
            layer_keys = jax.random.split(layers_key, config.n_layers)
        states = LayerState(layer_keys, cache)
        x_BLD, outputs = Stack(config, bands(config))(self.layers, x_BLD, inputs, states)
        x_BLD = x_BLD if self.final_norm is None else self.final_norm(x_BLD)
        return times(x_BLD, config.output_multiplier), outputs

    def embed(self, tokens_BL: jax.Array, positions_BL: jax.Array | None) -> jax.Array:
        """Token plus learned position embeddings, (B, L, D) in the compute type."""
        dtype = self.config.compute_dtype
        x_BLD = self.token_embedding[...].astype(dtype)[tokens_BL]
        if self.position_embedding is not None:
            position_MD = self.position_embedding[...].astype(dtype)
            x_BLD += position_MD[: tokens_BL.shape[1]] if positions_BL is None else position_MD[positions_BL]
        tap("embedding", lambda: x_BLD)
        return constrain(x_BLD, "batch", "length", "act_embed")

    def head_VD(self) -> jax.Array:
        """The output head in the compute type: the token embedding if it is tied."""
        head = self.token_embedding if self.untied_head is None else self.untied_head
        return head[...].astype(self.config.compute_dtype)

    def head_bias_V(self) -> None:
        """Decoders have none."""
        return None

    def states(self, batch: Batch) -> jax.Array:
        """Final hidden states (B, L, D) of a batch, without dropout."""
        return self.run(batch["inputs"], _inputs(batch))[0]

    def terms(self, batch: Batch, dropout_key: jax.Array | None = None) -> Terms:
        """What the loss of a batch is computed from."""
        x_BLD, outputs = self.run(batch["inputs"], _inputs(batch), dropout_key)
        routers = router_losses(self.config.mixture, [outputs.router])
        return Terms(x_BLD, batch["targets"], batch.get("weights"), *routers)


def bands(config: DecoderConfig) -> Bands:
    """The bands of GPT-3's alternating dense and banded layers, by the repeated `layer_pattern`."""
    kinds = sorted(set(config.layer_pattern))
    pattern = tuple(kinds.index(kind) for kind in config.layer_pattern)
    widths = tuple(config.band_width if kind == "banded" else None for kind in kinds)
    return Bands(widths, pattern * (config.n_layers // len(pattern)))


def _inputs(batch: Batch) -> LayerInputs:
    return LayerInputs(batch.get("segment_ids"), batch.get("positions"), batch.get("prefix"))
