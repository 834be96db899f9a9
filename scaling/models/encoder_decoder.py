"""The encoder-decoder: the Transformer of 2017 (Vaswani et al.) and T5 (Raffel et al. 2019)."""

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import EncoderDecoderConfig
from scaling.models.axes import constrain, param, tap
from scaling.models.functional import normal, output_std, relative_bias, relative_bias_at, sinusoids, times
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import Bands, LayerCache, LayerInputs, LayerOutputs, LayerState, Norm, dropout
from scaling.models.mixture import Losses, router_losses
from scaling.models.stack import Stack, stacked_layers


class Side(nnx.Module):
    """The encoder or the decoder: stacked layers, their relative biases, the final norm of a pre-norm one."""

    def __init__(self, config: EncoderDecoderConfig, key: jax.Array, count: int, *, decoder: bool) -> None:
        layers_key, bias_key = jax.random.split(key)
        self.layers = stacked_layers(config, layers_key, count, causal=decoder, cross=decoder)
        table = None
        if config.positions == "relative":
            std = output_std(config, config.init_std)
            shape = (config.relative_buckets, config.n_heads)
            table = normal(bias_key, shape, std, config.param_dtype)
        self.relative_bias = None if table is None else param(table, "position", "heads")
        self.final_norm = Norm(config) if config.norm == "pre" else None
        self.config, self.count, self.causal = config, count, decoder

    def __call__(
        self,
        x_BLD: jax.Array,
        inputs: LayerInputs,
        dropout_key: jax.Array | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[jax.Array, LayerOutputs]:
        """x_BLD after the last layer and the final norm, and what the layers returned besides."""
        config = self.config
        layer_keys = last_key = None
        if dropout_key is not None and config.dropout > 0:
            embedding_key, layers_key, last_key = jax.random.split(dropout_key, 3)
            x_BLD = dropout(x_BLD, config.dropout, embedding_key)
            layer_keys = jax.random.split(layers_key, self.count)
        if self.relative_bias is not None:
            farthest, length = config.relative_max_distance, x_BLD.shape[1]
            if cache is None:
                bias = relative_bias(self.relative_bias, length, length, farthest, self.causal)
            else:
                assert inputs.positions_BL is not None
                keys = cache.keys.shape[2]
                bias = relative_bias_at(self.relative_bias, inputs.positions_BL, keys, farthest)
            inputs = inputs._replace(bias=bias)
        states, bands = LayerState(layer_keys, cache), Bands((None,), (0,) * self.count)
        x_BLD, outputs = Stack(config, bands)(self.layers, x_BLD, inputs, states)
        x_BLD = x_BLD if self.final_norm is None else self.final_norm(x_BLD)
        # T5 also drops what leaves a stack; the Transformer of 2017 does not.
        rate = config.dropout if config.positions == "relative" else 0.0
        return dropout(x_BLD, rate, last_key), outputs


class EncoderDecoder(nnx.Module):
    """A sequence-to-sequence Transformer; both sides share the token embedding.

    Build it under `jax.eval_shape` for shapes alone, or under `jax.jit` with output shardings.
    """

    def __init__(self, config: EncoderDecoderConfig, key: jax.Array) -> None:
        token_key, encoder_key, decoder_key, head_key = jax.random.split(key, 4)
        V, D, kind = config.vocab_size, config.d_model, config.param_dtype
        std = 1.0 if config.init == "fan_in" else config.init_std
        self.token_embedding = param(normal(token_key, (V, D), std, kind), "vocab", "embed")
        self.encoder = Side(config, encoder_key, config.n_layers, decoder=False)
        self.decoder = Side(config, decoder_key, config.decoder_layers, decoder=True)
        head_std = output_std(config, config.init_std)
        head = None if config.tie_embeddings else normal(head_key, (V, D), head_std, kind)
        self.untied_head = None if head is None else param(head, "vocab", "embed")
        self.config = config

    def head_VD(self) -> jax.Array:
        """The output head in the compute type."""
        head = self.token_embedding if self.untied_head is None else self.untied_head
        return head[...].astype(self.config.compute_dtype)

    def head_bias_V(self) -> None:
        """Encoder-decoders have none."""
        return None

    def embed(self, tokens_BL: jax.Array, positions_BL: jax.Array | None = None) -> jax.Array:
        """Token embeddings (B, L, D), with sinusoidal positions added where the model has those."""
        config = self.config
        x_BLD = self.token_embedding[...].astype(config.compute_dtype)[tokens_BL]
        if config.positions == "sinusoidal":
            at = jnp.arange(tokens_BL.shape[1]) if positions_BL is None else positions_BL
            # Vaswani et al. 2017, section 3.4: the shared embedding is multiplied by sqrt(d_model).
            # Under muP by the base's, for embeddings and their learning rates are the same at every width.
            root = (config.base_width or config.d_model) ** 0.5
            x_BLD = x_BLD * root + sinusoids(at, config.d_model).astype(x_BLD.dtype)
        tap("embedding", lambda: x_BLD)
        return constrain(x_BLD, "batch", "length", "act_embed")

    def encode(
        self,
        tokens_BL: jax.Array,
        *,
        segment_ids_BL: jax.Array | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """The source's hidden states (B, L, D); `segment_ids_BL` is 0 on padding."""
        return self.encoder(self.embed(tokens_BL), LayerInputs(segment_ids_BL), dropout_key)[0]

    def decode(
        self,
        tokens_BT: jax.Array,
        memory_BMD: jax.Array,
        *,
        memory_segment_ids_BM: jax.Array | None = None,
        segment_ids_BT: jax.Array | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """What the head multiplies, (B, T, D), at the decoder's inputs given the source's hidden states."""
        inputs = LayerInputs(
            segment_ids_BT, memory_BMD=memory_BMD, memory_segment_ids_BM=memory_segment_ids_BM
        )
        return self.run_decoder(tokens_BT, inputs, dropout_key)[0]

    def run_decoder(
        self,
        tokens_BT: jax.Array,
        inputs: LayerInputs,
        dropout_key: jax.Array | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[jax.Array, LayerOutputs]:
        """What the head multiplies, (B, T, D), and what the decoder's layers returned besides.

        `cache` holds keys and values of earlier positions and of the source, of all layers (N, B, M, K, E).
        """
        config = self.config
        x_BTD = self.embed(tokens_BT, inputs.positions_BL)
        x_BTD, outputs = self.decoder(x_BTD, inputs, dropout_key, cache)
        # T5's tied head takes hidden states times 1 / sqrt(d_model), muP's any times its multiplier.
        x_BTD = times(x_BTD, config.output_multiplier)
        if config.positions == "relative" and config.tie_embeddings:
            x_BTD = x_BTD * (config.base_width or config.d_model) ** -0.5
        return x_BTD, outputs

    def states(self, batch: Batch) -> jax.Array:
        """What the head multiplies, at every position of the target and without dropout: (B, T, D)."""
        return self._run(batch, None)[0]

    def terms(self, batch: Batch, dropout_key: jax.Array | None = None) -> Terms:
        """What the loss of a batch is computed from."""
        x_BTD, losses = self._run(batch, dropout_key)
        routers = router_losses(self.config.mixture, losses)
        return Terms(x_BTD, batch["targets"], batch.get("weights"), *routers)

    def _run(self, batch: Batch, dropout_key: jax.Array | None) -> tuple[jax.Array, list[Losses | None]]:
        encoder_key, decoder_key = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        source = LayerInputs(batch.get("segment_ids"))
        memory_BMD, encoded = self.encoder(self.embed(batch["inputs"]), source, encoder_key)
        inputs = LayerInputs(
            batch.get("decoder_segment_ids"),
            memory_BMD=memory_BMD,
            memory_segment_ids_BM=batch.get("segment_ids"),
        )
        x_BTD, decoded = self.run_decoder(batch["decoder_inputs"], inputs, decoder_key)
        return x_BTD, [encoded.router, decoded.router]
