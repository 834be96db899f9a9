"""The encoder: BERT (Devlin et al. 2018), RoBERTa (Liu et al. 2019), ALBERT (Lan et al. 2020)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import EncoderConfig
from scaling.models.axes import constrain, param, tap
from scaling.models.functional import ACTIVATIONS, normal, times
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import Bands, Layer, LayerInputs, LayerState, Linear, Norm, dropout
from scaling.models.stack import Stack, stacked_layers


class Encoder(nnx.Module):
    """A bidirectional Transformer with the heads of pre-training.

    Layers are stored stacked, or once where they are shared. Build it under `jax.eval_shape` for shapes
    alone, or under `jax.jit` with output shardings.
    """

    def __init__(self, config: EncoderConfig, key: jax.Array) -> None:
        keys = jax.random.split(key, 8)
        V, D, kind = config.vocab_size, config.d_model, config.param_dtype
        W = config.embedding_size or D
        self.token_embedding = param(normal(keys[0], (V, W), config.init_std, kind), "vocab", "embed")
        table = normal(keys[1], (config.max_length, W), config.position_init_std, kind)
        self.position_embedding = param(table, "position", "embed")
        types = normal(keys[2], (config.token_types, W), config.init_std, kind)
        self.type_embedding = param(types, "position", "embed") if config.token_types else None
        self.embedding_norm = Norm(config, W)
        self.embedding_projection = Linear(config, W, D, keys[3]) if config.projects_embedding else None
        if config.share_layers:
            self.layers = Layer(config, keys[4], causal=False)
        else:
            self.layers = stacked_layers(config, keys[4], config.n_layers, causal=False)
        self.final_norm = Norm(config) if config.norm == "pre" else None
        self.pooler = Linear(config, D, D, keys[5]) if config.pooler else None
        self.sentence_head = (
            Linear(config, D, 2, jax.random.fold_in(keys[5], 1), output=True)
            if config.sentence_head
            else None
        )
        self.mlm_head = Linear(config, D, W, keys[6]) if config.mlm_head else None
        self.mlm_norm = Norm(config, W) if config.mlm_head else None
        biased = config.mlm_head and config.bias
        self.vocabulary_bias = param(jnp.zeros((V,), kind), "vocab") if biased else None
        untied = config.mlm_head and not config.tie_embeddings
        head = normal(keys[7], (V, W), config.init_std, kind) if untied else None
        self.untied_head = None if head is None else param(head, "vocab", "embed")
        self.config = config

    def head_VD(self) -> jax.Array:
        """The output head in the compute type, as wide as the embedding."""
        head = self.token_embedding if self.untied_head is None else self.untied_head
        return head[...].astype(self.config.compute_dtype)

    def head_bias_V(self) -> jax.Array | None:
        """The bias of the output head."""
        return None if self.vocabulary_bias is None else self.vocabulary_bias[...]

    def __call__(
        self,
        tokens_BL: jax.Array,
        *,
        segment_ids_BL: jax.Array | None = None,
        positions_BL: jax.Array | None = None,
        token_types_BL: jax.Array | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Hidden states (B, L, D) after the last layer.

        `segment_ids_BL` keeps attention inside a segment (0: padding); `positions_BL` counts from the start
        of the row, and `token_types_BL` is 0, where they are not given.
        """
        config = self.config
        dtype, L = config.compute_dtype, tokens_BL.shape[1]
        x_BLW = self.token_embedding[...].astype(dtype)[tokens_BL]
        table_MW = self.position_embedding[...].astype(dtype)
        x_BLW += table_MW[:L] if positions_BL is None else table_MW[positions_BL]
        if self.type_embedding is not None:
            types = self.type_embedding[...].astype(dtype)
            x_BLW += types[0] if token_types_BL is None else types[token_types_BL]
        tap("embedding", lambda: x_BLW)
        x_BLW = self.embedding_norm(constrain(x_BLW, "batch", "length", "act_embed"))
        keys = None
        if dropout_key is not None and config.dropout > 0:
            embedding_key, layers_key = jax.random.split(dropout_key)
            x_BLW = dropout(x_BLW, config.dropout, embedding_key)
            keys = jax.random.split(layers_key, config.n_layers)
        x_BLD = x_BLW if self.embedding_projection is None else self.embedding_projection(x_BLW)

        stack = Stack(config, Bands((None,), (0,) * config.n_layers), shared=config.share_layers)
        x_BLD, _ = stack(self.layers, x_BLD, LayerInputs(segment_ids_BL), LayerState(keys))
        return x_BLD if self.final_norm is None else self.final_norm(x_BLD)

    def masked_states(self, x_BLD: jax.Array) -> jax.Array:
        """The transform before the vocabulary (Devlin et al. 2018's released code), (B, L, embedding width),
        times muP's multiplier.

        Without an MLM head, hidden states as they are.
        """
        if self.mlm_head is None or self.mlm_norm is None:
            return x_BLD
        x_BLW = self.mlm_norm(ACTIVATIONS[self.config.activation](self.mlm_head(x_BLD)))
        return times(x_BLW, self.config.output_multiplier)

    def pooled(self, x_BLD: jax.Array) -> jax.Array:
        """(B, D): the first position through the pooler and tanh."""
        if self.pooler is None:
            return x_BLD[:, 0]
        return jnp.tanh(self.pooler(x_BLD[:, :1]))[:, 0]

    def sentence_logits(self, x_BLD: jax.Array) -> jax.Array:
        """(B, 2) in float32: of the sentence classifier on the pooled position.

        Raises:
            ValueError: the model has no sentence head.
        """
        if self.sentence_head is None:
            raise ValueError("this encoder has no sentence_head")
        return self.sentence_head(self.pooled(x_BLD)[:, None])[:, 0].astype(jnp.float32)

    def states(self, batch: Batch) -> jax.Array:
        """What the head multiplies, at every position and without dropout."""
        return self.masked_states(self._of_batch(batch, None))

    def terms(self, batch: Batch, dropout_key: jax.Array | None = None) -> Terms:
        """What the loss of a batch is computed from.

        With `head_positions` below 1, the head is computed at so many positions of each row, those of the
        greatest weight first; rows with more of them lose the rest.
        """
        x_BLD = self._of_batch(batch, dropout_key)
        auxiliary = {}
        if "sentence_targets" in batch and self.sentence_head is not None:
            log_p_B2 = jax.nn.log_softmax(self.sentence_logits(x_BLD))
            targets_B = batch["sentence_targets"]
            real_B = targets_B >= 0  # rows that fill up a batch have no answer
            picked_B1 = jnp.take_along_axis(log_p_B2, jnp.maximum(targets_B, 0)[:, None], axis=1)
            auxiliary["sentence_loss"] = -jnp.where(real_B, picked_B1[:, 0], 0.0).sum() / real_B.sum()
        targets_BL, weights_BL = batch["targets"], batch.get("weights")
        if self.config.head_positions < 1 and weights_BL is not None:
            count = predicted_positions(self.config, targets_BL.shape[1])
            weights_BL, at_BP = jax.lax.top_k(weights_BL, count)
            x_BLD = jnp.take_along_axis(x_BLD, at_BP[:, :, None], axis=1)
            targets_BL = jnp.take_along_axis(targets_BL, at_BP, axis=1)
        return Terms(self.masked_states(x_BLD), targets_BL, weights_BL, auxiliary)

    def _of_batch(self, batch: Batch, dropout_key: jax.Array | None) -> jax.Array:
        return self(
            batch["inputs"],
            segment_ids_BL=batch.get("segment_ids"),
            positions_BL=batch.get("positions"),
            token_types_BL=batch.get("token_types"),
            dropout_key=dropout_key,
        )


def predicted_positions(config: EncoderConfig, length: int) -> int:
    """Positions of a row at which the vocabulary head is computed."""
    return math.ceil(config.head_positions * length)
