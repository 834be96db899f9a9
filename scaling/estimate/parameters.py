"""Parameters of a model, counted by component from its config alone."""

from scaling.config.model import (
    EncoderConfig,
    FeedForwardLMConfig,
    ModelConfig,
    RNNEncoderDecoderConfig,
    network,
)
from scaling.config.record import ParameterCounts
from scaling.estimate.tensors import tensors

_EMBEDDINGS = {"token_embedding", "position_embedding", "type_embedding"}


def head_width(model: ModelConfig) -> int:
    """Width of what the vocabulary's matrix multiplies with.

    Raises:
        BadInputError: an n-gram has none.
    """
    model = network(model)
    match model:
        case EncoderConfig():
            return model.embedding_size or model.d_model
        case FeedForwardLMConfig():
            return model.d_model + (model.d_window if model.direct else 0)
        case RNNEncoderDecoderConfig():
            return model.d_readout
        case _:
            return model.d_model


def head_size(model: ModelConfig) -> int:
    """Numbers in the matrix that gives logits, tied or not; 0 for an encoder that has none."""
    if isinstance(model, EncoderConfig) and not model.mlm_head:
        return 0
    return model.vocab_size * head_width(model)


def count_parameters(model: ModelConfig) -> ParameterCounts:
    """Parameters by component; their sum is the total, and equals `jax.eval_shape` of the module."""
    components: dict[str, int] = {}
    inactive = 0.0
    for tensor in tensors(model):
        components[tensor.component] = components.get(tensor.component, 0) + tensor.size
        inactive += (1.0 - tensor.used) * tensor.size
    total = sum(components.values())
    embedding = sum(size for name, size in components.items() if name in _EMBEDDINGS)
    non_embedding = total - embedding - components.get("head", 0)
    return ParameterCounts(
        total=total,
        active=total - round(inactive),
        embedding=embedding,
        non_embedding=non_embedding,
        non_embedding_with_head=non_embedding + head_size(model),
        by_component=components,
    )
