"""The encoder-decoder: the Transformer of 2017 (Vaswani et al.) and T5 (Raffel et al. 2019)."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import EncoderDecoderConfig
from scaling.models.attention import attention
from scaling.models.axes import constrain, param
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import Attention, Norm, dropout, normal, output_std, times
from scaling.models.mixture import Losses, router_losses
from scaling.models.positions import relative_bias, sinusoids
from scaling.models.stack import Around, Layer, run_layers, stacked_layers
from scaling.models.taps import tap


class Side(nnx.Module):
    """The encoder or the decoder: stacked layers, their relative biases, the final norm of a pre-norm one."""

    def __init__(self, config: EncoderDecoderConfig, key: jax.Array, count: int, *, cross: bool) -> None:
        layers_key, bias_key = jax.random.split(key)
        self.layers = stacked_layers(config, layers_key, count, cross=cross)
        table = None
        if config.positions == "relative":
            std = output_std(config, config.init_std)
            shape = (config.relative_buckets, config.n_heads)
            table = normal(bias_key, shape, std, config.param_dtype)
        self.relative_bias = None if table is None else param(table, "position", "heads")
        self.final_norm = Norm(config) if config.norm == "pre" else None

    def finish(self, x_BLD: jax.Array) -> jax.Array:
        """The final norm of a pre-norm model."""
        return x_BLD if self.final_norm is None else self.final_norm(x_BLD)


class EncoderDecoder(nnx.Module):
    """A sequence-to-sequence Transformer; both sides share the token embedding.

    Build it under `jax.eval_shape` for shapes alone, or under `jax.jit` with output shardings.
    """

    def __init__(self, config: EncoderDecoderConfig, key: jax.Array) -> None:
        token_key, encoder_key, decoder_key, head_key = jax.random.split(key, 4)
        V, D, kind = config.vocab_size, config.d_model, config.param_dtype
        std = 1.0 if config.init == "fan_in" else config.init_std
        self.token_embedding = param(normal(token_key, (V, D), std, kind), "vocab", "embed")
        self.encoder = Side(config, encoder_key, config.n_layers, cross=False)
        self.decoder = Side(config, decoder_key, config.decoder_layers, cross=True)
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

    @property
    def scale(self) -> float | None:
        """What attention scores are multiplied by; None for the usual 1 / sqrt(E)."""
        config = self.config
        if config.scale_attention:
            return config.score_scale
        return (config.base_d_head or config.d_head) / config.d_head

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
        return self._encode(tokens_BL, segment_ids_BL, dropout_key)[0]

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
        return self._decode(tokens_BT, memory_BMD, memory_segment_ids_BM, segment_ids_BT, dropout_key)[0]

    def _encode(
        self, tokens_BL: jax.Array, segment_ids_BL: jax.Array | None, dropout_key: jax.Array | None
    ) -> tuple[jax.Array, Losses | None]:
        config, side = self.config, self.encoder
        x_BLD, keys, last_key = self._enter(self.embed(tokens_BL), config.n_layers, dropout_key)
        bias_HLM = self._bias(side, x_BLD.shape[1], causal=False)

        def apply(
            kind: str | jax.Array, layer: Layer, x_BLD: jax.Array, key: jax.Array | None, around: Around
        ) -> tuple[jax.Array, Losses | None]:
            segment_ids_BL = around.rows
            real_BL = None if segment_ids_BL is None or config.mixture is None else segment_ids_BL != 0
            attention_key, residual_key, _ = _split(key)
            attend = partial(
                attention,
                causal=False,
                segment_ids_BL=segment_ids_BL,
                bias_HLM=around.common,
                scale=self.scale,
                dropout_rate=config.dropout if key is not None else 0.0,
                key=attention_key,
            )
            return layer(x_BLD, attend, residual_key, real_BL=real_BL)

        around = Around(segment_ids_BL, bias_HLM)
        x_BLD, losses = run_layers(config, apply, side.layers, x_BLD, keys, around, count=config.n_layers)
        return dropout(side.finish(x_BLD), config.dropout, last_key), losses

    def _decode(
        self,
        tokens_BT: jax.Array,
        memory_BMD: jax.Array,
        memory_segment_ids_BM: jax.Array | None,
        segment_ids_BT: jax.Array | None,
        dropout_key: jax.Array | None,
    ) -> tuple[jax.Array, Losses | None]:
        config, side = self.config, self.decoder
        x_BTD, keys, last_key = self._enter(self.embed(tokens_BT), config.decoder_layers, dropout_key)
        bias_HLM = self._bias(side, x_BTD.shape[1], causal=True)
        source_BT = None
        if memory_segment_ids_BM is not None:
            ones_BT = jnp.ones(tokens_BT.shape, memory_segment_ids_BM.dtype)
            source_BT = ones_BT if segment_ids_BT is None else segment_ids_BT

        def apply(
            kind: str | jax.Array, layer: Layer, x_BTD: jax.Array, key: jax.Array | None, around: Around
        ) -> tuple[jax.Array, Losses | None]:
            segment_ids_BT, source_BT, memory_BMD, memory_segment_ids_BM = around.rows
            real_BT = None if segment_ids_BT is None or config.mixture is None else segment_ids_BT != 0
            attention_key, residual_key, cross_key = _split(key)
            rate = config.dropout if key is not None else 0.0
            attend = partial(
                attention,
                segment_ids_BL=segment_ids_BT,
                bias_HLM=around.common,
                scale=self.scale,
                dropout_rate=rate,
                key=attention_key,
            )
            attend_source = partial(
                attention,
                causal=False,
                segment_ids_BL=source_BT,
                key_segment_ids_BM=memory_segment_ids_BM,
                scale=self.scale,
                dropout_rate=rate,
                key=cross_key,
            )

            def across(cross: Attention, x_BTD: jax.Array) -> jax.Array:
                return cross.across(x_BTD, cross.keys_and_values(memory_BMD), attend_source)

            return layer(x_BTD, attend, residual_key, across=across, real_BL=real_BT)

        around = Around((segment_ids_BT, source_BT, memory_BMD, memory_segment_ids_BM), bias_HLM)
        x_BTD, losses = run_layers(
            config, apply, side.layers, x_BTD, keys, around, count=config.decoder_layers
        )
        return self.before_head(dropout(side.finish(x_BTD), config.dropout, last_key)), losses

    def before_head(self, x_BTD: jax.Array) -> jax.Array:
        """What the head multiplies: T5's tied head takes hidden states times 1 / sqrt(d_model), muP's any
        times its multiplier."""
        config = self.config
        x_BTD = times(x_BTD, config.output_multiplier)
        scaled = config.positions == "relative" and config.tie_embeddings
        return x_BTD * (config.base_width or config.d_model) ** -0.5 if scaled else x_BTD

    def _bias(self, side: Side, length: int, *, causal: bool) -> jax.Array | None:
        if side.relative_bias is None:
            return None
        farthest = self.config.relative_max_distance
        return relative_bias(side.relative_bias, length, length, farthest, causal)

    def _enter(
        self, x_BLD: jax.Array, layers: int, dropout_key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
        """What enters the first layer, a key for each layer, and one for what leaves the last."""
        config = self.config
        if dropout_key is None or config.dropout == 0:
            return x_BLD, None, None
        embedding_key, layers_key, last_key = jax.random.split(dropout_key, 3)
        # T5 drops what leaves a stack too; the Transformer of 2017 does not.
        last = last_key if config.positions == "relative" else None
        return dropout(x_BLD, config.dropout, embedding_key), jax.random.split(layers_key, layers), last

    def states(self, batch: Batch) -> jax.Array:
        """What the head multiplies, at every position of the target and without dropout: (B, T, D)."""
        return self._of_batch(batch, None)[0]

    def terms(self, batch: Batch, dropout_key: jax.Array | None = None) -> Terms:
        """What the loss of a batch is computed from."""
        x_BTD, losses = self._of_batch(batch, dropout_key)
        routers = router_losses(self.config.mixture, losses)
        return Terms(x_BTD, batch["targets"], batch.get("weights"), *routers)

    def _of_batch(self, batch: Batch, dropout_key: jax.Array | None) -> tuple[jax.Array, list[Losses | None]]:
        encoder_key, decoder_key = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        segments_BL = batch.get("segment_ids")
        memory_BMD, source_losses = self._encode(batch["inputs"], segments_BL, encoder_key)
        x_BTD, target_losses = self._decode(
            batch["decoder_inputs"], memory_BMD, segments_BL, batch.get("decoder_segment_ids"), decoder_key
        )
        return x_BTD, [source_losses, target_losses]


def _split(key: jax.Array | None) -> tuple[jax.Array | None, jax.Array | None, jax.Array | None]:
    """Keys of self-attention, of residuals and of cross-attention."""
    return (None, None, None) if key is None else tuple(jax.random.split(key, 3))  # type: ignore[return-value]
