"""Placeholder until the mixture's branch is merged."""

from typing import NamedTuple

import jax
from flax import nnx

from scaling.config.model import TransformerConfig


class Losses(NamedTuple):
    """Of a router."""

    balance: jax.Array
    z: jax.Array
    dropped: jax.Array


class MixtureOfExperts(nnx.Module):
    """Experts."""

    def __init__(self, config: TransformerConfig, key: jax.Array) -> None:
        raise NotImplementedError

    def __call__(
        self, x_BLD: jax.Array, key: jax.Array | None, real_BL: jax.Array | None
    ) -> tuple[jax.Array, Losses]:
        """Route."""
        raise NotImplementedError


def router_losses(config: TransformerConfig, losses: Losses | None) -> dict[str, jax.Array]:
    """Weighted."""
    return {}
