"""A stacked LSTM language model (Hochreiter and Schmidhuber 1997; Zaremba et al. 2014, arXiv:1409.2329).

Arrays are time-major inside, (L, B, ...), so that a step of the scan reads one block of memory. What does not
depend on the step before is outside the scan: the input's product with its weights forward, and the gradient
of the recurrent weights backward, each one product over all positions.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from scaling.config.baselines import LSTMConfig
from scaling.models.axes import constrain, param
from scaling.models.functional import linear, normal
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import cast, dropout
from scaling.models.stack import unstack


class LSTMLayer(nnx.Module):
    """One layer's weights: of its input, of its own state, and biases.

    The four gates are concatenated along the last axis, each D wide: input, forget, cell, output.
    """

    def __init__(self, config: LSTMConfig, key: Array) -> None:
        D, kind = config.d_model, config.param_dtype
        input_key, state_key = jax.random.split(key)
        self.input = param(normal(input_key, (D, 4 * D), config.init_std, kind), "embed", "mlp")
        self.state = param(normal(state_key, (D, 4 * D), config.init_std, kind), "embed", "mlp")
        # A forget gate that starts open lets gradients through (Jozefowicz et al. 2015, section 2.2).
        self.bias = param(jnp.zeros((4 * D,), kind).at[D : 2 * D].set(1.0), "mlp")

    def __call__(self, x_LBD: Array, starts_LB: Array | None) -> Array:
        """Hidden states of every step, (L, B, D); where `starts_LB` is true the state before is zero."""
        gates_LBG = linear(x_LBD, cast(self.input, x_LBD), cast(self.bias, x_LBD))
        # Every device runs its rows of the recurrence unsplit: otherwise each step would wait for the
        # network.
        gates_LBG = constrain(gates_LBG, "length", "batch", None)
        state_DG = constrain(cast(self.state, x_LBD), None, None)
        return lstm(gates_LBG, state_DG, starts_LB)


class LSTM(nnx.Module):
    """The language model. Layers are stored stacked: every layer parameter leads with N."""

    def __init__(self, config: LSTMConfig, key: Array) -> None:
        token_key, layers_key, head_key = jax.random.split(key, 3)
        V, D, kind = config.vocab_size, config.d_model, config.param_dtype
        self.token_embedding = param(normal(token_key, (V, D), config.init_std, kind), "vocab", "embed")
        self.layers = jax.vmap(lambda k: LSTMLayer(config, k))(jax.random.split(layers_key, config.n_layers))
        self.head_bias = param(jnp.zeros((V,), kind), "vocab")
        head = None if config.tie_embeddings else normal(head_key, (V, D), config.init_std, kind)
        self.untied_head = None if head is None else param(head, "vocab", "embed")
        self.config = config

    def states(self, batch: Batch, dropout_key: Array | None = None) -> Array:
        """Hidden states of the last layer, (B, L, D).

        The state is zero where a row starts, and where `segment_ids` says that a document does. Dropout is
        applied between layers, never between time steps (Zaremba et al. 2014, section 3.1).
        """
        config = self.config
        keys: list[Array | None] = [None] * (config.n_layers + 1)
        if dropout_key is not None:
            keys = list(jax.random.split(dropout_key, config.n_layers + 1))
        embedding_VD = self.token_embedding[...].astype(config.compute_dtype)
        x_LBD = constrain(embedding_VD[batch["inputs"].T], "length", "batch", None)
        starts_LB = document_starts(batch.get("segment_ids"))
        for layer, key in zip(unstack(self.layers, config.n_layers), keys, strict=False):
            x_LBD = layer(dropout(x_LBD, config.dropout, key), starts_LB)
        x_LBD = dropout(x_LBD, config.dropout, keys[-1])
        return constrain(jnp.swapaxes(x_LBD, 0, 1), "batch", "length", "act_embed")

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


def document_starts(segment_ids_BL: Array | None) -> Array | None:
    """starts_LB: whether a new document begins; None without segment ids."""
    if segment_ids_BL is None:
        return None
    ids_LB = segment_ids_BL.T
    return jnp.concatenate([jnp.zeros_like(ids_LB[:1], bool), ids_LB[1:] != ids_LB[:-1]])


@jax.custom_vjp
def lstm(gates_LBG: Array, state_DG: Array, starts_LB: Array | None) -> Array:
    """Hidden states (L, B, D) of an LSTM that starts from zero (Zaremba et al. 2014, section 3).

    Args:
        gates_LBG: the input's part of the four gates before their activation, G = 4 D: input, forget, cell,
            output; in the compute type.
        state_DG: recurrent weights in the compute type. Products accumulate in fp32, and the cell is fp32.
        starts_LB: where true, the state before is zero.
    """
    return _run(gates_LBG, state_DG, starts_LB)[0]


_Gates = tuple[Array, Array, Array, Array]  # input, forget, cell, output, each D wide


def _run(gates_LBG: Array, state_DG: Array, starts_LB: Array | None) -> tuple[Array, _Gates, Array]:
    """Hidden states, activated gates and cells of every step."""
    B, D = gates_LBG.shape[1], state_DG.shape[0]
    dtype = gates_LBG.dtype

    def step(
        carry: tuple[Array, Array], each: tuple[Array, Array | None]
    ) -> tuple[tuple[Array, Array], tuple[Array, _Gates, Array]]:
        (h_BD, c_BD), (gates_BG, starts_B) = carry, each
        h_BD, c_BD = _cleared(h_BD, starts_B), _cleared(c_BD, starts_B)
        recurrent_BG = jnp.matmul(h_BD, state_DG, preferred_element_type=jnp.float32)
        i, f, g, o = jnp.split(gates_BG.astype(jnp.float32) + recurrent_BG, 4, axis=-1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c_BD = f * c_BD + i * g
        h_BD = (o * jnp.tanh(c_BD)).astype(dtype)
        activated = i.astype(dtype), f.astype(dtype), g.astype(dtype), o.astype(dtype)
        return (h_BD, c_BD), (h_BD, activated, c_BD)

    start = jnp.zeros((B, D), dtype), jnp.zeros((B, D), jnp.float32)
    return jax.lax.scan(step, start, (gates_LBG, starts_LB))[1]


def _cleared(x_BD: Array, starts_B: Array | None) -> Array:
    return x_BD if starts_B is None else jnp.where(starts_B[:, None], jnp.zeros((), x_BD.dtype), x_BD)


def _before(x_LBD: Array, starts_LB: Array | None) -> Array:
    """`x_LBD` of the step before each step, zero at a start."""
    before_LBD = jnp.concatenate([jnp.zeros_like(x_LBD[:1]), x_LBD[:-1]])
    if starts_LB is None:
        return before_LBD
    return jnp.where(starts_LB[..., None], jnp.zeros((), x_LBD.dtype), before_LBD)


_Saved = tuple[Array, _Gates, Array, Array, Array | None]


def _forward(gates_LBG: Array, state_DG: Array, starts_LB: Array | None) -> tuple[Array, _Saved]:
    h_LBD, activated, c_LBD = _run(gates_LBG, state_DG, starts_LB)
    return h_LBD, (h_LBD, activated, c_LBD, state_DG, starts_LB)


def _backward(saved: _Saved, dh_LBD: Array) -> tuple[Array, Array, None]:
    h_LBD, activated, c_LBD, state_DG, starts_LB = saved
    dtype = h_LBD.dtype

    def step(
        carry: tuple[Array, Array], each: tuple[Array, _Gates, Array, Array, Array | None]
    ) -> tuple[tuple[Array, Array], Array]:
        (dh_BD, dc_BD), (dout_BD, gates, c_BD, before_BD, starts_B) = carry, each
        dh_BD = dh_BD + dout_BD.astype(jnp.float32)
        i, f, g, o = (gate.astype(jnp.float32) for gate in gates)
        tanh_c = jnp.tanh(c_BD)
        dc_BD = dc_BD + dh_BD * o * (1.0 - tanh_c * tanh_c)
        dgates = (
            dc_BD * g * i * (1.0 - i),
            dc_BD * before_BD * f * (1.0 - f),
            dc_BD * i * (1.0 - g * g),
            dh_BD * tanh_c * o * (1.0 - o),
        )
        dgates_BG = jnp.concatenate(dgates, axis=-1).astype(dtype)
        dh_BD = jax.lax.dot_general(
            dgates_BG, state_DG, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
        )
        return (_cleared(dh_BD, starts_B), _cleared(dc_BD * f, starts_B)), dgates_BG

    zeros_BD = jnp.zeros(c_LBD.shape[1:], jnp.float32)
    each = (dh_LBD, activated, c_LBD, _before(c_LBD, starts_LB), starts_LB)
    dgates_LBG = jax.lax.scan(step, (zeros_BD, zeros_BD), each, reverse=True)[1]
    # One product over all positions, where autodiff would add one per step.
    dstate_DG = jnp.einsum(
        "LBD,LBG->DG", _before(h_LBD, starts_LB), dgates_LBG, preferred_element_type=jnp.float32
    )
    return dgates_LBG, dstate_DG.astype(state_DG.dtype), None


lstm.defvjp(_forward, _backward)
