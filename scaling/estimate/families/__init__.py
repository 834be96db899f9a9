"""The table of model families: from a config to what it costs. A new family is one file and one entry."""

from typing import Any

from scaling.config.model import ModelConfig, network
from scaling.estimate.families.base import Family
from scaling.estimate.families.decoder import DecoderFamily
from scaling.estimate.families.encoder import EncoderFamily
from scaling.estimate.families.encoder_decoder import EncoderDecoderFamily
from scaling.estimate.families.feed_forward_lm import FeedForwardLMFamily
from scaling.estimate.families.lstm import LSTMFamily
from scaling.estimate.families.rnn_encoder_decoder import RNNEncoderDecoderFamily

FAMILIES: dict[str, type[Family[Any]]] = {
    "decoder": DecoderFamily,
    "encoder": EncoderFamily,
    "encoder_decoder": EncoderDecoderFamily,
    "lstm": LSTMFamily,
    "feed_forward": FeedForwardLMFamily,
    "rnn_encoder_decoder": RNNEncoderDecoderFamily,
}


def family_of(model: ModelConfig) -> Family[Any]:
    """The costs of a model.

    Raises:
        BadInputError: an n-gram: its numbers follow from the text that it is fitted to, not from its config.
    """
    return FAMILIES[network(model).family](model)
