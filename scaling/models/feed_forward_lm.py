"""The neural probabilistic language model: a window of embeddings, a hidden layer, a vocabulary.

Bengio, Ducharme, Vincent and Jauvin 2003, "A Neural Probabilistic Language Model", JMLR 3:1137-1155.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from scaling.config.baselines import FeedForwardLMConfig
from scaling.models.axes import constrain, param
from scaling.models.functional import linear, normal
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import cast, dropout
from scaling.models.stack import unstack


class Hidden(nnx.Module):
    """One further hidden layer (the paper has none)."""

    def __init__(self, config: FeedForwardLMConfig, key: Array) -> None:
        D, kind = config.d_model, config.param_dtype
        self.kernel = param(normal(key, (D, D), config.init_std, kind), "embed", "mlp")
        self.bias = param(jnp.zeros((D,), kind), "mlp")

    def __call__(self, x_BLD: Array) -> Array:
        """x_BLD to x_BLD before the activation."""
        return linear(x_BLD, cast(self.kernel, x_BLD), cast(self.bias, x_BLD))


class FeedForwardLM(nnx.Module):
    """y = b + U tanh(d + H x) + W x, with x the embeddings of the last tokens, the latest first (section 2).

    `window` is H and `window_bias` d. The head is [U W], over the hidden layer and, with `direct`, the
    embeddings too; otherwise it is U alone.
    """

    def __init__(self, config: FeedForwardLMConfig, key: Array) -> None:
        token_key, window_key, hidden_key, head_key = jax.random.split(key, 4)
        V, E, D, kind = config.vocab_size, config.d_embedding, config.d_model, config.param_dtype
        std = config.init_std
        self.token_embedding = param(normal(token_key, (V, E), std, kind), "vocab", "embed")
        self.window = param(normal(window_key, (config.d_window, D), std, kind), "embed", "mlp")
        self.window_bias = param(jnp.zeros((D,), kind), "mlp")
        keys = jax.random.split(hidden_key, config.n_layers)[1:]
        self.hidden = jax.vmap(lambda k: Hidden(config, k))(keys) if config.n_layers > 1 else None
        self.head_bias = param(jnp.zeros((V,), kind), "vocab")
        width = D + (config.d_window if config.direct else 0)
        head = None if config.tie_embeddings else normal(head_key, (V, width), std, kind)
        self.untied_head = None if head is None else param(head, "vocab", "embed")
        self.config = config

    def states(self, batch: Batch, dropout_key: Array | None = None) -> Array:
        """What the head multiplies: the hidden layer (B, L, D), with `direct` followed by the embeddings.

        The target of position t is predicted from the inputs t, t - 1, ...; before the start of a row, and of
        a document where `segment_ids` says so, embeddings are zero. Dropout falls on the embeddings and on
        each hidden layer.
        """
        config = self.config
        keys: list[Array | None] = [None] * (config.n_layers + 1)
        if dropout_key is not None:
            keys = list(jax.random.split(dropout_key, config.n_layers + 1))
        activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[config.activation]
        embedding_VE = self.token_embedding[...].astype(config.compute_dtype)
        x_BLE = constrain(embedding_VE[batch["inputs"]], "batch", "length", None)
        window_BLW = windows(
            dropout(x_BLE, config.dropout, keys[0]), config.context, batch.get("segment_ids")
        )
        window_BLW = constrain(window_BLW, "batch", "length", None)
        y_BLD = linear(window_BLW, cast(self.window, x_BLE), cast(self.window_bias, x_BLE))
        y_BLD = dropout(activation(constrain(y_BLD, "batch", "length", "mlp")), config.dropout, keys[1])
        layers = [] if self.hidden is None else unstack(self.hidden, config.n_layers - 1)
        for layer, key in zip(layers, keys[2:], strict=True):
            y_BLD = dropout(activation(layer(y_BLD)), config.dropout, key)
        if config.direct:
            y_BLD = jnp.concatenate([y_BLD, window_BLW], axis=-1)
        return constrain(y_BLD, "batch", "length", "act_embed")

    def terms(self, batch: Batch, dropout_key: Array | None = None) -> Terms:
        """What the loss of a batch is computed from; `dropout_key` turns dropout on."""
        return Terms(self.states(batch, dropout_key), batch["targets"], batch.get("weights"), {})

    def head_VD(self) -> Array:
        """The output head in the compute type: the token embedding where it is tied."""
        head = self.token_embedding if self.untied_head is None else self.untied_head
        return head[...].astype(self.config.compute_dtype)

    def head_bias_V(self) -> Array:
        """What is added to the logits."""
        return self.head_bias[...]


def windows(x_BLE: Array, context: int, segment_ids_BL: Array | None) -> Array:
    """(B, L, context x E): the embeddings that end at each position, the latest first.

    Positions before the row, or in another segment, are zero.
    """
    L = x_BLE.shape[1]
    parts = [x_BLE]
    for back in range(1, context):
        shifted = jnp.pad(x_BLE, ((0, 0), (back, 0), (0, 0)))[:, :L]
        if segment_ids_BL is not None:
            before = jnp.pad(segment_ids_BL, ((0, 0), (back, 0)), constant_values=-1)[:, :L]
            shifted = jnp.where((before == segment_ids_BL)[..., None], shifted, jnp.zeros((), x_BLE.dtype))
        parts.append(shifted)
    return jnp.concatenate(parts, axis=-1)
