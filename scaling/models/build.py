"""From a model config to its module."""

import jax

from scaling.config.errors import BadInputError
from scaling.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig, ModelConfig
from scaling.models.decoder import Decoder
from scaling.models.encoder import Encoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.language_model import LanguageModel


def new_model(config: ModelConfig, key: jax.Array) -> LanguageModel:
    """A freshly initialised module; trace it under `jax.eval_shape` or `jax.jit`.

    Raises:
        BadInputError: there is no module for this config.
    """
    match config:
        case DecoderConfig():
            return Decoder(config, key)
        case EncoderConfig():
            return Encoder(config, key)
        case EncoderDecoderConfig():
            return EncoderDecoder(config, key)
        case _:
            raise BadInputError(f"model {config.name}: family={config.family} has no module to train")
