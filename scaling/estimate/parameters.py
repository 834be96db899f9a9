"""Parameters of a model, counted by component from its config alone."""

from scaling.config.model import DecoderConfig
from scaling.config.record import ParameterCounts


def count_parameters(model: DecoderConfig) -> ParameterCounts:
    """Parameters by component; their sum is the total, and equals `jax.eval_shape` of the module."""
    d, heads, ff, n = model.d_model, model.n_heads * model.d_head, model.d_ff, model.n_layers
    norm = d * (2 if model.bias else 1)
    components = {
        "token_embedding": model.vocab_size * d,
        "position_embedding": model.max_length * d,
        "attention": n * (4 * d * heads + (3 * heads + d if model.bias else 0)),
        "feed_forward": n * (2 * d * ff + (ff + d if model.bias else 0)),
        "norms": n * 2 * norm + (norm if model.norm == "pre" else 0),
        "head": 0 if model.tie_embeddings else model.vocab_size * d,
    }
    total = sum(components.values())
    embedding = components["token_embedding"] + components["position_embedding"]
    non_embedding = total - embedding - components["head"]
    return ParameterCounts(
        total=total,
        embedding=embedding,
        non_embedding=non_embedding,
        non_embedding_with_head=non_embedding + model.vocab_size * d,
        by_component=components,
    )
