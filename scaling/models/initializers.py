"""Initial values of parameters, and the multipliers of muP that go with them (Yang et al. 2022, table 8)."""

import math

import jax
import jax.numpy as jnp

from scaling.config.model import TransformerConfig


def normal(key: jax.Array, shape: tuple[int, ...], std: float, dtype: str) -> jax.Array:
    """Normal(0, std) of `shape`, drawn in float32."""
    return (std * jax.random.normal(key, shape, jnp.float32)).astype(dtype)


def fan_in(config: TransformerConfig, std: float, *inputs: int) -> float:
    """Standard deviation of a hidden weight: `std` at the base width, or 1 / sqrt(number of inputs).

    Under muP both scale with 1 / sqrt(width).
    """
    return float(math.prod(inputs)) ** -0.5 if config.init == "fan_in" else std * config.width_ratio**-0.5


def output_std(config: TransformerConfig, std: float) -> float:
    """Standard deviation of an output head: under muP the same at every width, since `output_multiplier`
    scales what the head reads."""
    return (config.d_model / config.width_ratio) ** -0.5 if config.init == "fan_in" else std


def residual_std(config: TransformerConfig) -> float:
    """`init_std`, divided by sqrt(2 n_layers) in output projections, which add up over depth (Radford et al.
    2019, section 2.3).

    With `base_depth` that depth counts: the multiplier of residual branches does the rest.
    """
    depth = config.base_depth or config.n_layers
    return config.init_std / (2 * depth) ** 0.5 if config.residual_init_scaling else config.init_std


def times(x: jax.Array, multiplier: float) -> jax.Array:
    """`x` times a multiplier of the parametrisation, which most often is 1."""
    return x if multiplier == 1.0 else x * multiplier
