"""Parameters and FLOPs of a model, from its config alone: the one place where either is counted.

Model FLOPs are every matrix product that the mathematics of the model defines, a multiply and an add being
two: utilisation (MFU) and budgets are stated in them. Hardware FLOPs are what the train step executes.
"""

from scaling.config.model import ModelConfig
from scaling.config.record import ParameterCounts
from scaling.config.run import RunConfig
from scaling.estimate.families import family_of
from scaling.estimate.families.base import AttentionConvention, ForwardFlops, Tensor

_EMBEDDINGS = {"token_embedding", "position_embedding", "type_embedding"}


def tensors(model: ModelConfig) -> list[Tensor]:
    """Every parameter tensor of a model: its shape, logical axes and component.

    Counts, sharded bytes and optimizer state all come from this list; it equals the module's own tree.

    Raises:
        BadInputError: an n-gram, here and in every function of this file.
    """
    return list(family_of(model).tensors())


def head_size(model: ModelConfig) -> int:
    """Parameters of the matrix that gives the logits, tied or not; 0 for an encoder that has none."""
    return family_of(model).head_size


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


def forward_flops(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> ForwardFlops:
    """Model FLOPs of a forward pass over one sequence of `length` (encoder-decoders: and `target_length`).

    Embedding lookups, norms and activation functions are not matrix products and count nothing (Kaplan et
    al. 2020, table 1; Hoffmann et al. 2022, appendix F). The convention concerns causal self-attention
    alone: bidirectional and cross-attention see every key.
    """
    return family_of(model).forward_flops(length, target_length or length, convention)


def forward_flops_per_token(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> float:
    """Model FLOPs of a forward pass per token of a sequence of `length`.

    Tokens are input positions: an encoder-decoder's source (Raffel et al. 2019, section 3.1.2), which carries
    its share of the target's FLOPs.
    """
    return forward_flops(model, length, convention, target_length).total / length


def train_flops_per_token(
    model: ModelConfig,
    length: int,
    convention: AttentionConvention = "causal",
    target_length: int | None = None,
) -> float:
    """Model FLOPs of forward and backward per token: the backward pass does every product twice."""
    return 3 * forward_flops_per_token(model, length, convention, target_length)


def run_flops_per_token(run: RunConfig) -> float:
    """Training FLOPs per token of a run, causal attention: the unit of its FLOPs budget."""
    return train_flops_per_token(run.model, run.data.sequence_length, target_length=run.target_length)


def hardware_flops(
    model: ModelConfig, length: int, rows: int = 1, target_length: int | None = None, context: int = 1
) -> float:
    """FLOPs of the model that the train step executes for one of `rows` sequences on a device.

    Rematerialisation, full attention blocks, recomputed scores and empty expert slots are included; for a
    family with a module this equals a count over the step's jaxpr. `target_length` is an encoder-decoder's,
    `length` by default. Where `context` devices share a sequence, all are counted as the slowest.
    """
    return family_of(model).executed_flops(length, target_length or length, rows, context)
