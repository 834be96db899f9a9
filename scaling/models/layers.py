"""The parts of a Transformer layer: norm, attention projections, feed-forward, dropout."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import TransformerConfig
from scaling.models.axes import constrain, param
from scaling.models.dense import linear
from scaling.models.pointwise import ACTIVATIONS, layer_norm, rms_norm

# From queries (B, L, H, E), keys and values (B, M, K, E) to weighted sums of values (B, L, H, E): training,
# packing and cached decoding differ only here.
Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def normal(key: jax.Array, shape: tuple[int, ...], std: float, dtype: str) -> jax.Array:
    """Normal(0, std) of `shape`, drawn in float32."""
    return (std * jax.random.normal(key, shape, jnp.float32)).astype(dtype)


def fan_in(config: TransformerConfig, std: float, *inputs: int) -> float:
    """What a hidden weight's entries start with: `std` at the base width, or 1 / sqrt of the numbers it sums
    over. Under muP both go by 1 / sqrt(width) (Yang et al. 2022, table 8)."""
    return float(math.prod(inputs)) ** -0.5 if config.init == "fan_in" else std * config.width_ratio**-0.5


def output_std(config: TransformerConfig, std: float) -> float:
    """What the entries of an output head start with: under muP the same at every width, for
    `output_multiplier` makes up for it."""
    return (config.d_model / config.width_ratio) ** -0.5 if config.init == "fan_in" else std


def residual_std(config: TransformerConfig) -> float:
    """`init_std`, less where output projections add up over depth (Radford et al. 2019, section 2.3).

    With `base_depth`, by that depth: the multiplier on residual branches does the rest.
    """
    depth = config.base_depth or config.n_layers
    return config.init_std / (2 * depth) ** 0.5 if config.residual_init_scaling else config.init_std


def times(x: jax.Array, multiplier: float) -> jax.Array:
    """`x`, times a multiplier of the parametrisation where it is not 1."""
    return x if multiplier == 1.0 else x * multiplier


def cast(parameter: nnx.Param, like: jax.Array) -> jax.Array:
    """A parameter's value in the compute type, which is the type of `like`."""
    return parameter[...].astype(like.dtype)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Inverted dropout; the identity without a key (Srivastava et al. 2014)."""
    if rate == 0.0 or key is None:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


class Norm(nnx.Module):
    """Layer normalisation (Ba et al. 2016) or RMS normalisation over the last axis, computed in float32."""

    def __init__(self, config: TransformerConfig, width: int | None = None) -> None:
        shape = (width or config.d_model,)
        biased = config.bias and config.norm_kind == "layer"
        self.scale = param(jnp.ones(shape, config.param_dtype), "norm")
        self.bias = param(jnp.zeros(shape, config.param_dtype), "norm") if biased else None
        self.kind, self.epsilon = config.norm_kind, config.norm_epsilon

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Normalise; the result has the type of `x_BLD`."""
        if self.kind == "rms":
            return rms_norm(self.epsilon)(x_BLD, self.scale[...])
        return layer_norm(self.epsilon)(x_BLD, self.scale[...], None if self.bias is None else self.bias[...])


class Linear(nnx.Module):
    """One linear map outside the layers, from `into` features to `out`; `output` is an output head's."""

    def __init__(
        self, config: TransformerConfig, into: int, out: int, key: jax.Array, *, output: bool = False
    ) -> None:
        std = output_std(config, config.init_std) if output else fan_in(config, config.init_std, into)
        kind = config.param_dtype
        self.kernel = param(normal(key, (into, out), std, kind), "embed", None if output else "mlp")
        self.bias = param(jnp.zeros((out,), kind), "norm") if config.bias else None
        self.multiplier = config.output_multiplier if output else 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., into) to (..., out)."""
        x = times(x, self.multiplier)
        return linear(x, cast(self.kernel, x), None if self.bias is None else cast(self.bias, x))


class Attention(nnx.Module):
    """Multi-head attention's four projections around an `Attend` (Vaswani et al. 2017, section 3.2).

    `kv_heads` below the number of heads shares each key and value head between several queries' heads.
    """

    def __init__(self, config: TransformerConfig, key: jax.Array, kv_heads: int | None = None) -> None:
        D, H, E = config.d_model, config.n_heads, config.d_head
        K = kv_heads or H
        q_key, k_key, v_key, o_key = jax.random.split(key, 4)
        std, kind = fan_in(config, config.init_std, D), config.param_dtype
        out_std = fan_in(config, residual_std(config), H, E)
        # Where scores are not scaled by 1 / sqrt(E), the initial queries are (T5: Raffel et al. 2019).
        unscaled = config.init == "fan_in" and not getattr(config, "scale_attention", True)
        q_std = std * (config.base_d_head or E) ** -0.5 if unscaled else std
        self.query = param(normal(q_key, (D, H, E), q_std, kind), "embed", "heads", "head")
        self.key = param(normal(k_key, (D, K, E), std, kind), "embed", "heads", "head")
        self.value = param(normal(v_key, (D, K, E), std, kind), "embed", "heads", "head")
        self.out = param(normal(o_key, (H, E, D), out_std, kind), "heads", "head", "embed")
        biases = config.bias
        self.query_bias = param(jnp.zeros((H, E), kind), "heads", "head") if biases else None
        self.key_bias = param(jnp.zeros((K, E), kind), "heads", "head") if biases else None
        self.value_bias = param(jnp.zeros((K, E), kind), "heads", "head") if biases else None
        self.out_bias = param(jnp.zeros((D,), kind), "norm") if biases else None

    def __call__(self, x_BLD: jax.Array, attend: Attend) -> jax.Array:
        """Self-attention: project, attend, project back to the width."""
        B, L, D = x_BLD.shape
        H, E = self.query.shape[1:]
        K = self.key.shape[1]
        G = H // K
        # One product for the three projections, key heads outermost with the queries that they serve:
        # tensor parallelism splits those.
        query_DKGE = cast(self.query, x_BLD).reshape(D, K, G, E)
        shared = [cast(w, x_BLD)[:, :, None] for w in (self.key, self.value)]
        kernel_DKRE = jnp.concatenate([query_DKGE, *shared], axis=2)  # R = G + 2
        bias = None
        if self.query_bias is not None and self.key_bias is not None and self.value_bias is not None:
            query_KGE = cast(self.query_bias, x_BLD).reshape(K, G, E)
            biases = [cast(b, x_BLD)[:, None] for b in (self.key_bias, self.value_bias)]
            bias = jnp.concatenate([query_KGE, *biases], axis=1).reshape(K * (G + 2) * E)
        y_BLKRE = linear(x_BLD, kernel_DKRE.reshape(D, K * (G + 2) * E), bias).reshape(B, L, K, G + 2, E)
        y_BLKRE = constrain(y_BLKRE, "batch", "length", "heads", None, "head")
        q_BLHE = y_BLKRE[:, :, :, :G].reshape(B, L, H, E)
        return self.finish(attend(q_BLHE, y_BLKRE[:, :, :, G], y_BLKRE[:, :, :, G + 1]))

    def keys_and_values(self, memory_BMD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values (B, M, K, E) of another sequence."""
        B, M, D = memory_BMD.shape
        K, E = self.key.shape[1:]
        kernel_DK2E = jnp.stack([cast(w, memory_BMD) for w in (self.key, self.value)], axis=2)
        bias = None
        if self.key_bias is not None and self.value_bias is not None:
            biases = [cast(b, memory_BMD) for b in (self.key_bias, self.value_bias)]
            bias = jnp.stack(biases, axis=1).reshape(K * 2 * E)
        y_BMK2E = linear(memory_BMD, kernel_DK2E.reshape(D, K * 2 * E), bias).reshape(B, M, K, 2, E)
        y_BMK2E = constrain(y_BMK2E, "batch", "length", "heads", None, "head")
        return y_BMK2E[:, :, :, 0], y_BMK2E[:, :, :, 1]

    def across(
        self, x_BLD: jax.Array, keys_and_values: tuple[jax.Array, jax.Array], attend: Attend
    ) -> jax.Array:
        """Cross-attention: the queries of `x_BLD` over the keys and values of another sequence."""
        B, L, D = x_BLD.shape
        H, E = self.query.shape[1:]
        bias = None if self.query_bias is None else cast(self.query_bias, x_BLD).reshape(H * E)
        q_BLHE = linear(x_BLD, cast(self.query, x_BLD).reshape(D, H * E), bias).reshape(B, L, H, E)
        q_BLHE = constrain(q_BLHE, "batch", "length", "heads", "head")
        return self.finish(attend(q_BLHE, *keys_and_values))

    def finish(self, mixed_BLHE: jax.Array) -> jax.Array:
        """The output projection, (B, L, D)."""
        B, L, H, E = mixed_BLHE.shape
        out_bias = None if self.out_bias is None else cast(self.out_bias, mixed_BLHE)
        out_FD = cast(self.out, mixed_BLHE).reshape(H * E, self.out.shape[-1])
        return linear(mixed_BLHE.reshape(B, L, H * E), out_FD, out_bias)


class FeedForward(nnx.Module):
    """Two projections with an activation between them; gated, the activation of a third multiplies the first
    (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: TransformerConfig, key: jax.Array) -> None:
        D, F, kind = config.d_model, config.d_ff, config.param_dtype
        up_key, down_key = jax.random.split(key)
        std = fan_in(config, config.init_std, D)
        out_std = fan_in(config, residual_std(config), F)
        self.up = param(normal(up_key, (D, F), std, kind), "embed", "mlp")
        gate_key = jax.random.fold_in(up_key, 1)
        self.gate = param(normal(gate_key, (D, F), std, kind), "embed", "mlp") if config.gated else None
        self.down = param(normal(down_key, (F, D), out_std, kind), "mlp", "embed")
        self.up_bias = param(jnp.zeros((F,), kind), "mlp") if config.bias else None
        self.gate_bias = param(jnp.zeros((F,), kind), "mlp") if config.bias and config.gated else None
        self.down_bias = param(jnp.zeros((D,), kind), "norm") if config.bias else None
        self.activation = config.activation

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Up to the feed-forward width, activate, down."""
        activate = ACTIVATIONS[self.activation]
        up_bias = None if self.up_bias is None else cast(self.up_bias, x_BLD)
        y_BLF = linear(x_BLD, cast(self.up, x_BLD), up_bias)
        if self.gate is None:
            y_BLF = activate(y_BLF)
        else:
            gate_bias = None if self.gate_bias is None else cast(self.gate_bias, x_BLD)
            y_BLF = activate(linear(x_BLD, cast(self.gate, x_BLD), gate_bias)) * y_BLF
        y_BLF = constrain(y_BLF, "batch", "length", "mlp")
        down_bias = None if self.down_bias is None else cast(self.down_bias, x_BLD)
        return linear(y_BLF, cast(self.down, x_BLD), down_bias)
