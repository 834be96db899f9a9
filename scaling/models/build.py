"""From a model config to its module."""

import jax

from scaling.config.errors import BadInputError
from scaling.config.model import DecoderConfig, ModelConfig
from scaling.models.decoder import Decoder


def trainable(config: ModelConfig) -> DecoderConfig:
    """The config, if there is a module that computes it.

    Raises:
        BadInputError: it can be estimated, and not yet trained.
    """
    asked = []
    if isinstance(config, DecoderConfig):
        asked = [
            text
            for text, wanted in (
                (f"positions={config.positions}", config.positions != "learned"),
                (f"norm_kind={config.norm_kind}", config.norm_kind != "layer"),
                ("gated=true", config.gated),
                (f"activation={config.activation}", config.activation == "silu"),
                (f"n_kv_heads={config.n_kv_heads}", config.n_kv_heads not in (None, config.n_heads)),
                ("mixture", config.mixture is not None),
            )
            if wanted
        ]
        if not asked:
            return config
    what = ", ".join(asked) if asked else f"family={config.family}"
    raise BadInputError(f"model {config.name}: {what} can be estimated, and has no module to train yet")


def new_model(config: ModelConfig, key: jax.Array) -> Decoder:
    """A freshly initialised module; trace it under `jax.eval_shape` or `jax.jit`.

    Raises:
        BadInputError: there is no module for this config.
    """
    return Decoder(trainable(config), key)
