"""The table of modules: from a model config to its module. A new family is one entry."""

from collections.abc import Callable
from typing import Any

import jax

from scaling.config.model import ModelConfig
from scaling.models.decoder import Decoder
from scaling.models.encoder import Encoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.feed_forward_lm import FeedForwardLM
from scaling.models.language_model import LanguageModel
from scaling.models.lstm import LSTM
from scaling.models.rnn_encoder_decoder import RNNEncoderDecoder
from scaling.runtime.errors import BadInputError

MODULES: dict[str, Callable[[Any, jax.Array], LanguageModel]] = {
    "decoder": Decoder,
    "encoder": Encoder,
    "encoder_decoder": EncoderDecoder,
    "lstm": LSTM,
    "feed_forward": FeedForwardLM,
    "rnn_encoder_decoder": RNNEncoderDecoder,
}


def new_model(config: ModelConfig, key: jax.Array) -> LanguageModel:
    """A freshly initialised module; trace it under `jax.eval_shape` or `jax.jit`.

    Raises:
        BadInputError: an n-gram, which counts its text and has no module.
    """
    if config.family not in MODULES:
        raise BadInputError(f"model {config.name}: family={config.family} is counted, and has no module")
    return MODULES[config.family](config, key)
