"""What an optimizer costs: the state it keeps, and the FLOPs of one update.

The facts are those of `scaling.config.train.OPTIMIZERS`; memory, step time and FLOPs all follow from them.
"""

import math
from collections.abc import Mapping

from scaling.config.train import OPTIMIZERS, OptimizerFacts, OptimizerName
from scaling.estimate.families.base import Tensor
from scaling.estimate.layout import array_bytes, shard_shape

_STATE = "float32"  # of every moment, whatever the type of the parameters
_LEAST_FACTORED = 128  # Adafactor factors where the second largest side is at least this (optax's default)


def is_hidden_matrix(tensor: Tensor) -> bool:
    """Whether a tensor is a matrix inside the network: neither an embedding nor the head."""
    return tensor.is_matrix and "vocab" not in tensor.axes and "position" not in tensor.axes


def _factors(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shapes of Adafactor's row and column moments; None where the second moment is not factored."""
    if len(tensor.shape) < 2:
        return None
    order = sorted(range(len(tensor.shape)), key=lambda axis: tensor.shape[axis])
    largest, second = order[-1], order[-2]
    if tensor.shape[second] < _LEAST_FACTORED:
        return None
    rows, columns = (
        tuple(size for axis, size in enumerate(tensor.shape) if axis != left_out)
        for left_out in (largest, second)
    )
    return rows, columns


def _moments(facts: OptimizerFacts, tensor: Tensor) -> int:
    if facts.hidden_moments is not None and is_hidden_matrix(tensor):
        return facts.hidden_moments
    return facts.moments


def state_size(optimizer: OptimizerName, tensor: Tensor) -> int:
    """Numbers that an optimizer keeps for a tensor; counters aside."""
    facts = OPTIMIZERS[optimizer]
    if facts.factored and (factors := _factors(tensor)) is not None:
        return sum(math.prod(shape) for shape in factors)
    return _moments(facts, tensor) * tensor.size


def state_bytes(
    optimizer: OptimizerName, tensors: list[Tensor], mesh: Mapping[str, int], platform: str
) -> int:
    """Bytes of an optimizer's state on one device; counters aside.

    Moments of a parameter's shape are sharded like it; Adafactor's factored ones are not.
    """
    facts, total = OPTIMIZERS[optimizer], 0
    for tensor in tensors:
        if facts.factored and (factors := _factors(tensor)) is not None:
            total += sum(array_bytes(shape, _STATE, platform) for shape in factors)
        else:
            shard = shard_shape(tensor.axes, tensor.shape, mesh)
            total += _moments(facts, tensor) * array_bytes(shard, _STATE, platform)
    return total


def update_flops(optimizer: OptimizerName, tensor: Tensor) -> float:
    """FLOPs of the matrix products of one update of a tensor; elementwise work counts nothing.

    A step of Newton-Schulz takes an m by n matrix X, m at most n, to a X + (b A + c A A) X with A = X X^T:
    4 m^2 n + 2 m^3. Each layer and each expert is a matrix of its own, from the width to everything else or
    back.
    """
    steps = OPTIMIZERS[optimizer].newton_schulz_steps
    if not steps or not is_hidden_matrix(tensor):
        return 0.0
    axes, shape = tensor.axes[tensor.is_stacked :], tensor.shape[tensor.is_stacked :]
    stacked = axes[0] == "expert"  # the experts; a router has that axis last
    matrix = dict(zip(axes[stacked:], shape[stacked:], strict=True))
    one = math.prod(shape[stacked:])
    m, n = sorted((matrix["embed"], one // matrix["embed"]))
    return steps * tensor.size // one * (4.0 * m * m * n + 2.0 * m**3)
