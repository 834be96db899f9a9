"""The parts of a Transformer layer: norm, attention projections, feed-forward, dropout."""

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import DecoderConfig
from scaling.models.axes import constrain, param
from scaling.models.dense import linear
from scaling.models.pointwise import ACTIVATIONS, layer_norm


class Attend(Protocol):
    """From queries, keys and values (B, L, H, E) to a weighted sum of values (B, L, H, E)."""

    def __call__(self, q_BLHE: jax.Array, k_BLHE: jax.Array, v_BLHE: jax.Array) -> jax.Array:
        """Attend; training, packing and cached decoding differ only here."""


def normal(key: jax.Array, shape: tuple[int, ...], std: float, dtype: str) -> jax.Array:
    """Normal(0, std) of `shape`, drawn in float32."""
    return (std * jax.random.normal(key, shape, jnp.float32)).astype(dtype)


def cast(parameter: nnx.Param, like: jax.Array) -> jax.Array:
    """A parameter's value in the compute type, which is the type of `like`."""
    return parameter[...].astype(like.dtype)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Inverted dropout; the identity without a key (Srivastava et al. 2014)."""
    if rate == 0.0 or key is None:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


class LayerNorm(nnx.Module):
    """Layer normalisation over the width, computed in float32 (Ba et al. 2016)."""

    def __init__(self, config: DecoderConfig) -> None:
        self.scale = param(jnp.ones((config.d_model,), config.param_dtype), "norm")
        self.bias = param(jnp.zeros((config.d_model,), config.param_dtype), "norm") if config.bias else None
        self.epsilon = config.norm_epsilon

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Normalise; the result has the type of `x_BLD`."""
        return layer_norm(self.epsilon)(x_BLD, self.scale[...], None if self.bias is None else self.bias[...])


class Attention(nnx.Module):
    """Multi-head attention's four projections around an `Attend` (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, config: DecoderConfig, key: jax.Array) -> None:
        D, H, E = config.d_model, config.n_heads, config.d_head
        q_key, k_key, v_key, o_key = jax.random.split(key, 4)
        out_std = config.init_std
        if config.residual_init_scaling:
            out_std /= (2 * config.n_layers) ** 0.5
        kind = config.param_dtype
        self.query = param(normal(q_key, (D, H, E), config.init_std, kind), "embed", "heads", "head")
        self.key = param(normal(k_key, (D, H, E), config.init_std, kind), "embed", "heads", "head")
        self.value = param(normal(v_key, (D, H, E), config.init_std, kind), "embed", "heads", "head")
        self.out = param(normal(o_key, (H, E, D), out_std, kind), "heads", "head", "embed")
        biases = config.bias
        self.query_bias = param(jnp.zeros((H, E), kind), "heads", "head") if biases else None
        self.key_bias = param(jnp.zeros((H, E), kind), "heads", "head") if biases else None
        self.value_bias = param(jnp.zeros((H, E), kind), "heads", "head") if biases else None
        self.out_bias = param(jnp.zeros((D,), kind), "norm") if biases else None

    def __call__(self, x_BLD: jax.Array, attend: Attend) -> jax.Array:
        """Project, attend, project back to the width."""

        B, L, D = x_BLD.shape
        H, E = self.query.shape[1:]
        # One product for the three projections, heads outermost: tensor parallelism splits those.
        kernel_DH3E = jnp.stack([cast(w, x_BLD) for w in (self.query, self.key, self.value)], axis=2)
        bias = None
        if self.query_bias is not None and self.key_bias is not None and self.value_bias is not None:
            biases = (self.query_bias, self.key_bias, self.value_bias)
            bias = jnp.stack([cast(b, x_BLD) for b in biases], axis=1).reshape(H * 3 * E)
        y_BLH3E = linear(x_BLD, kernel_DH3E.reshape(D, H * 3 * E), bias).reshape(B, L, H, 3, E)
        y_BLH3E = constrain(y_BLH3E, "batch", "length", "heads", None, "head")
        mixed_BLHE = attend(y_BLH3E[:, :, :, 0], y_BLH3E[:, :, :, 1], y_BLH3E[:, :, :, 2])
        out_bias = None if self.out_bias is None else cast(self.out_bias, x_BLD)
        return linear(mixed_BLHE.reshape(B, L, H * E), cast(self.out, x_BLD).reshape(H * E, D), out_bias)


class FeedForward(nnx.Module):
    """Two projections with an activation between them."""

    def __init__(self, config: DecoderConfig, key: jax.Array) -> None:
        D, F = config.d_model, config.d_ff
        up_key, down_key = jax.random.split(key)
        out_std = config.init_std
        if config.residual_init_scaling:
            out_std /= (2 * config.n_layers) ** 0.5
        kind = config.param_dtype
        self.up = param(normal(up_key, (D, F), config.init_std, kind), "embed", "mlp")
        self.down = param(normal(down_key, (F, D), out_std, kind), "mlp", "embed")
        self.up_bias = param(jnp.zeros((F,), kind), "mlp") if config.bias else None
        self.down_bias = param(jnp.zeros((D,), kind), "norm") if config.bias else None
        self.activation = config.activation

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Up to the feed-forward width, activate, down."""
        up_bias = None if self.up_bias is None else cast(self.up_bias, x_BLD)
        y_BLF = ACTIVATIONS[self.activation](linear(x_BLD, cast(self.up, x_BLD), up_bias))
        y_BLF = constrain(y_BLF, "batch", "length", "mlp")
        down_bias = None if self.down_bias is None else cast(self.down_bias, x_BLD)
        return linear(y_BLF, cast(self.down, x_BLD), down_bias)
