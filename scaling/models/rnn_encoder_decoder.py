"""The recurrent encoder-decoder that learned to align (Bahdanau et al. 2014, arXiv:1409.0473, appendix A).

A bidirectional encoder of gated recurrent units, and a decoder that at every step looks at the source by
additive attention. As the paper has it, except that
- the readout sees the new state s_i, as its equation 4 says (appendix A.2.2 writes s_{i-1});
- biases, which the paper leaves out of its equations, are spelled out;
- weights start at normal(0, `init_std`), 0.01 in the paper, also those of the attention, which there are
  smaller or zero; recurrent ones start orthogonal as there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from scaling.config.baselines import RNNEncoderDecoderConfig
from scaling.models.axes import constrain, param
from scaling.models.functional import linear, normal
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import cast, dropout

Columns = dict[str, tuple[int, int]]
Weights = dict[str, Array]
# (sums, others, weights, fixed) to (outputs, what each of the weights was multiplied with).
Scan = Callable[[Array, Any, Weights, Any], tuple[Any, Weights]]


def weights_outside(scan: Scan, columns: Columns) -> Callable[[Array, Any, Weights, Any], Any]:
    """`scan` without its second result, and with each weight gradient in one product.

    Args:
        scan: `sums` (L, B, S) is what products are added to, `others` are further arrays that want gradients,
            `weights` matrices (K, N) that nothing else uses, `fixed` gets no gradient. The second result has
            for each matrix what it was multiplied with at every step, (L, B, K), in the compute type.
        columns: the first column of `sums` that the product of each matrix is added to, and that after its
            last.
    """

    @jax.custom_vjp
    def wrapped(sums: Array, others: Any, weights: Weights, fixed: Any) -> Any:
        return scan(sums, others, weights, fixed)[0]

    def forward(sums: Array, others: Any, weights: Weights, fixed: Any) -> tuple[Any, Any]:
        def read(sums: Array, others: Any) -> tuple[Any, Weights]:
            return scan(sums, others, weights, fixed)

        outputs, pull_back, multiplied = jax.vjp(read, sums, others, has_aux=True)
        return outputs, (pull_back, multiplied, weights)

    def backward(saved: Any, doutputs: Any) -> tuple[Array, Any, Weights, None]:
        pull_back, multiplied, weights = saved
        dsums_LBS, dothers = pull_back(doutputs)

        def gradient(name: str) -> Array:
            dproduct_LBN = dsums_LBS[..., slice(*columns[name])]
            dkernel_KN = jnp.einsum(
                "LBK,LBN->KN", multiplied[name], dproduct_LBN, preferred_element_type=jnp.float32
            )
            return dkernel_KN.astype(weights[name].dtype)

        return dsums_LBS, dothers, {name: gradient(name) for name in weights}, None

    wrapped.defvjp(forward, backward)
    return wrapped


def product(x: Array, kernel_KN: Array) -> Array:
    """x @ kernel in fp32."""
    return jnp.matmul(x, kernel_KN, preferred_element_type=jnp.float32)


def gru_step(sums_BG: Array, s_BD: Array, weights: Weights) -> tuple[Array, Weights]:
    """The next state of a gated recurrent unit (Cho et al. 2014; Bahdanau et al. 2014, appendix A.1.1).

    Args:
        sums_BG: G = 3 D: what reset gate, update gate and candidate get besides the state; fp32.
        s_BD: the state, fp32.
        weights: `gates` (D, 2 D) and `candidate` (D, D), in the compute type.

    Returns:
        The state, fp32, and what the two matrices were multiplied with.
    """
    D, dtype = s_BD.shape[1], weights["gates"].dtype
    state_BD = s_BD.astype(dtype)
    gates_BG = jax.nn.sigmoid(sums_BG[:, : 2 * D] + product(state_BD, weights["gates"]))
    reset_BD, update_BD = gates_BG[:, :D], gates_BG[:, D:]
    kept_BD = (reset_BD * s_BD).astype(dtype)
    candidate_BD = jnp.tanh(sums_BG[:, 2 * D :] + product(kept_BD, weights["candidate"]))
    return s_BD + update_BD * (candidate_BD - s_BD), {"gates": state_BD, "candidate": kept_BD}


def split_state(state_DG: Array) -> Weights:
    """The recurrent weights of a unit (D, 3 D) as `gru_step` takes them."""
    D = state_DG.shape[0]
    return {"gates": state_DG[:, : 2 * D], "candidate": state_DG[:, 2 * D :]}


def gru_columns(D: int) -> Columns:
    """Where the products of a unit's recurrent weights are added."""
    return {"gates": (0, 2 * D), "candidate": (2 * D, 3 * D)}


def gru(sums_LBG: Array, state_DG: Array, real_LB: Array | None, *, reverse: bool = False) -> Array:
    """States (L, B, D) of a unit that starts from zero at the first position, or with `reverse` at the last.

    `sums_LBG` is as in `gru_step`, in the compute type; where `real_LB` is false the state stays as it was.
    """
    D, dtype = state_DG.shape[0], sums_LBG.dtype

    def scan(sums_LBG: Array, _: Any, weights: Weights, real_LB: Array | None) -> tuple[Array, Weights]:
        def step(s_BD: Array, each: tuple[Array, Array | None]) -> tuple[Array, tuple[Array, Weights]]:
            sums_BG, real_B = each
            next_BD, multiplied = gru_step(sums_BG.astype(jnp.float32), s_BD, weights)
            if real_B is not None:
                next_BD = jnp.where(real_B[:, None], next_BD, s_BD)
            return next_BD, (next_BD.astype(dtype), multiplied)

        start_BD = jnp.zeros((sums_LBG.shape[1], D), jnp.float32)
        return jax.lax.scan(step, start_BD, (sums_LBG, real_LB), reverse=reverse)[1]

    return weights_outside(scan, gru_columns(D))(sums_LBG, None, split_state(state_DG), real_LB)


_HIDDEN = -1e30  # the score of a source position that is not there; finite, so that no row is all infinite


class GRU(nnx.Module):
    """The weights of a gated recurrent unit; reset gate, update gate and candidate are concatenated."""

    def __init__(self, config: RNNEncoderDecoderConfig, key: Array) -> None:
        E, D, kind = config.d_embedding, config.d_model, config.param_dtype
        input_key, *state_keys = jax.random.split(key, 4)
        orthogonal = jax.nn.initializers.orthogonal()
        state = jnp.concatenate([orthogonal(k, (D, D), jnp.float32) for k in state_keys], axis=1)
        self.input = param(normal(input_key, (E, 3 * D), config.init_std, kind), "embed", "mlp")
        self.state = param(state.astype(kind), "embed", "mlp")
        self.bias = param(jnp.zeros((3 * D,), kind), "mlp")

    def sums(self, x_LBE: Array) -> Array:
        """What the input adds to the unit's three parts, (L, B, 3 D)."""
        sums_LBG = linear(x_LBE, cast(self.input, x_LBE), cast(self.bias, x_LBE))
        return constrain(sums_LBG, "length", "batch", None)


class AdditiveAttention(nnx.Module):
    """The weights of score(s, h) = v . tanh(W s + U h + b): query W, key U, score v."""

    def __init__(self, config: RNNEncoderDecoderConfig, key: Array) -> None:
        D, A, kind, std = config.d_model, config.d_attention, config.param_dtype, config.init_std
        query_key, key_key, score_key = jax.random.split(key, 3)
        self.query = param(normal(query_key, (D, A), std, kind), "embed", "mlp")
        self.key = param(normal(key_key, (2 * D, A), std, kind), "embed", "mlp")
        self.bias = param(jnp.zeros((A,), kind), "mlp")
        self.score = param(normal(score_key, (A,), std, kind), "mlp")


@jax.checkpoint
def _scores(query_BA: Array, keys_BLA: Array, score_A: Array) -> Array:
    """Scores (B, L), fp32. The hidden layer, A wide for every pair, is computed again backward."""
    hidden_BLA = jnp.tanh(query_BA[:, None] + keys_BLA.astype(jnp.float32))
    return jnp.einsum("BLA,A->BL", hidden_BLA, score_A.astype(jnp.float32))


def _decode(
    sums_TBS: Array, others: dict[str, Array], weights: Weights, real_BL: Array | None
) -> tuple[tuple[Array, Array, Array], Weights]:
    """States (T, B, D), contexts (T, B, C) and attention (T, B, L) of the decoder.

    `sums_TBS` holds what the unit gets of the previous token (3 D), then the attention's bias (A); `others`
    the keys (B, L, A), the annotations of the source (B, L, C), the score (A,), and the first state (B, D).
    """
    G = weights["context"].shape[1]
    dtype = sums_TBS.dtype

    def step(s_BD: Array, sums_BS: Array) -> tuple[Array, tuple[tuple[Array, Array, Array], Weights]]:
        sums_BS = sums_BS.astype(jnp.float32)
        before_BD = s_BD.astype(dtype)
        query_BA = sums_BS[:, G:] + product(before_BD, weights["query"])
        scores_BL = _scores(query_BA, others["keys"], others["score"])
        if real_BL is not None:
            scores_BL = jnp.where(real_BL, scores_BL, _HIDDEN)
        attention_BL = jax.nn.softmax(scores_BL)
        context_BC = jnp.einsum(
            "BL,BLC->BC", attention_BL.astype(dtype), others["source"], preferred_element_type=jnp.float32
        ).astype(dtype)
        sums_BG = sums_BS[:, :G] + product(context_BC, weights["context"])
        s_BD, multiplied = gru_step(sums_BG, s_BD, weights)
        multiplied |= {"query": before_BD, "context": context_BC}
        return s_BD, ((s_BD.astype(dtype), context_BC, attention_BL), multiplied)

    return jax.lax.scan(step, others["start"].astype(jnp.float32), sums_TBS)[1]


class RNNEncoderDecoder(nnx.Module):
    """The encoder-decoder. A row of `inputs` is one source; its `segment_ids` are 0 on padding."""

    def __init__(self, config: RNNEncoderDecoderConfig, key: Array) -> None:
        keys = iter(jax.random.split(key, 9))
        V, E, D, kind = config.vocab_size, config.d_embedding, config.d_model, config.param_dtype
        R, std = config.d_readout, config.init_std

        def embedding(key: Array, width: int) -> nnx.Param:
            return param(normal(key, (V, width), std, kind), "vocab", "embed")

        source_key, target_key = next(keys), next(keys)
        shared = config.share_embeddings
        self.token_embedding = embedding(source_key, E) if shared else None
        self.source_embedding = None if shared else embedding(source_key, E)
        self.target_embedding = None if shared else embedding(target_key, E)
        self.forwards = GRU(config, next(keys))
        self.backwards = GRU(config, next(keys))
        self.attention = AdditiveAttention(config, next(keys))
        self.start = param(normal(next(keys), (D, D), std, kind), "embed", "mlp")
        self.start_bias = param(jnp.zeros((D,), kind), "mlp")
        self.decoder = GRU(config, next(keys))
        context_key, readout_key = jax.random.split(next(keys))
        self.context = param(normal(context_key, (2 * D, 3 * D), std, kind), "embed", "mlp")
        self.readout = param(normal(readout_key, (3 * D + E, 2 * R), std, kind), "embed", "mlp")
        self.readout_bias = param(jnp.zeros((2 * R,), kind), "mlp")
        self.head_bias = param(jnp.zeros((V,), kind), "vocab")
        self.untied_head = None if config.tie_embeddings else embedding(next(keys), R)
        self.config = config

    def _embedding(self, side: nnx.Param | None) -> nnx.Param:
        table = self.token_embedding if side is None else side
        assert table is not None
        return table

    def _embed(self, side: nnx.Param | None, tokens_BL: Array, key: Array | None) -> Array:
        """Embeddings (L, B, E) in the compute type."""
        table_VE = self._embedding(side)[...].astype(self.config.compute_dtype)
        x_LBE = constrain(table_VE[tokens_BL.T], "length", "batch", None)
        return dropout(x_LBE, self.config.dropout, key)

    def _encode(self, batch: Batch, key: Array | None) -> tuple[Array, Array | None]:
        """Annotations (B, L, 2 D) of the source, and which of its positions are real."""
        segments_BL = batch.get("segment_ids")
        real_BL = None if segments_BL is None else segments_BL != 0
        real_LB = None if real_BL is None else real_BL.T
        x_LBE = self._embed(self.source_embedding, batch["inputs"], key)
        both = (
            gru(
                unit.sums(x_LBE),
                constrain(cast(unit.state, x_LBE), None, None),
                real_LB,
                reverse=unit is self.backwards,
            )
            for unit in (self.forwards, self.backwards)
        )
        source_BLC = jnp.swapaxes(jnp.concatenate(list(both), axis=-1), 0, 1)
        return constrain(source_BLC, "batch", "length", None), real_BL

    def _run(self, batch: Batch, key: Array | None) -> tuple[Array, Array]:
        """What the head multiplies (B, T, R), and attention (B, T, L)."""
        config = self.config
        D, A = config.d_model, config.d_attention
        keys: list[Any] = [None] * 3 if key is None else list(jax.random.split(key, 3))
        source_BLC, real_BL = self._encode(batch, keys[0])
        attention = self.attention
        # The backward state of the first position has read the complete source.
        first_BD = linear(
            source_BLC[:, 0, D:], cast(self.start, source_BLC), cast(self.start_bias, source_BLC)
        )
        others = {
            "keys": constrain(linear(source_BLC, cast(attention.key, source_BLC)), "batch", "length", None),
            "source": source_BLC,
            "score": constrain(cast(attention.score, source_BLC), None),
            "start": jnp.tanh(first_BD),
        }
        y_TBE = self._embed(self.target_embedding, batch["decoder_inputs"], keys[1])
        sums_TBG = self.decoder.sums(y_TBE)
        bias_TBA = jnp.broadcast_to(cast(attention.bias, y_TBE), (*y_TBE.shape[:2], A))
        weights = {
            name: constrain(w.astype(y_TBE.dtype), None, None)
            for name, w in (
                *split_state(self.decoder.state[...]).items(),
                ("context", self.context[...]),
                ("query", attention.query[...]),
            )
        }
        columns = gru_columns(D) | {"context": (0, 3 * D), "query": (3 * D, 3 * D + A)}
        s_TBD, context_TBC, attention_TBL = weights_outside(_decode, columns)(
            jnp.concatenate([sums_TBG, bias_TBA], axis=-1), others, weights, real_BL
        )
        # Without this the partitioner of jax 0.10 gets the gradient of the concatenation wrong on a mesh of
        # data, fsdp and tensor (tests/parallel/test_baselines_on_meshes.py).
        seen_TBK = constrain(jnp.concatenate([s_TBD, y_TBE, context_TBC], axis=-1), "length", "batch", None)
        pairs_TBR = linear(seen_TBK, cast(self.readout, y_TBE), cast(self.readout_bias, y_TBE))
        # Maxout over neighbours (Goodfellow et al. 2013; appendix A.2.2).
        t_TBR = pairs_TBR.reshape(*pairs_TBR.shape[:2], config.d_readout, 2).max(axis=-1)
        t_BTR = jnp.swapaxes(dropout(t_TBR, config.dropout, keys[2]), 0, 1)
        return constrain(t_BTR, "batch", "length", "act_embed"), jnp.swapaxes(attention_TBL, 0, 1)

    def states(self, batch: Batch, dropout_key: Array | None = None) -> Array:
        """What the head multiplies at every position of `decoder_inputs`, (B, T, R).

        Dropout falls on the embeddings of both sides and on the readout (the paper has none).
        """
        return self._run(batch, dropout_key)[0]

    def alignment(self, batch: Batch) -> Array:
        """Attention (B, T, L), fp32: where in the source each target position looked."""
        return self._run(batch, None)[1]

    def terms(self, batch: Batch, dropout_key: Array | None = None) -> Terms:
        """What the loss of a batch is computed from; `dropout_key` turns dropout on."""
        return Terms(self.states(batch, dropout_key), batch["targets"], batch.get("weights"), {})

    def head_VD(self) -> Array:
        """The output head (V, R) in the compute type: the target embedding where it is tied."""
        head = self._embedding(self.target_embedding) if self.untied_head is None else self.untied_head
        return head[...].astype(self.config.compute_dtype)

    def head_bias_V(self) -> Array:
        """What is added to the logits."""
        return self.head_bias[...]
