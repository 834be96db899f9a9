"""From a model config to its module."""

import jax

from scaling.config.errors import BadInputError
from scaling.config.model import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    FeedForwardLMConfig,
    LSTMConfig,
    ModelConfig,
    NGramConfig,
    RNNEncoderDecoderConfig,
)
from scaling.models.decoder import Decoder
from scaling.models.encoder import Encoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.feed_forward_lm import FeedForwardLM
from scaling.models.language_model import LanguageModel
from scaling.models.lstm import LSTM
from scaling.models.rnn_encoder_decoder import RNNEncoderDecoder


def new_model(config: ModelConfig, key: jax.Array) -> LanguageModel:
    """A freshly initialised module; trace it under `jax.eval_shape` or `jax.jit`.

    Raises:
        BadInputError: an n-gram, which is counted and has no module.
    """
    match config:
        case DecoderConfig():
            return Decoder(config, key)
        case EncoderConfig():
            return Encoder(config, key)
        case EncoderDecoderConfig():
            return EncoderDecoder(config, key)
        case LSTMConfig():
            return LSTM(config, key)
        case FeedForwardLMConfig():
            return FeedForwardLM(config, key)
        case RNNEncoderDecoderConfig():
            return RNNEncoderDecoder(config, key)
        case NGramConfig():
            raise BadInputError(f"model {config.name}: family=ngram is counted, and has no module")
