"""Bytes that an optimizer keeps between steps, on one device."""

from collections.abc import Mapping

from scaling.config.train import OptimizerName
from scaling.estimate.sharded import array_bytes, shard_shape
from scaling.estimate.tensors import Tensor

_LEAST_FACTORED = 128  # Adafactor factors where the second largest side is at least this (optax's default)


def _factored(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shapes of Adafactor's row and column moments; None where the second moment stays whole."""
    if len(tensor.shape) < 2:
        return None
    order = sorted(range(len(tensor.shape)), key=lambda axis: tensor.shape[axis])
    largest, second = order[-1], order[-2]
    if tensor.shape[second] < _LEAST_FACTORED:
        return None
    without = [
        tuple(size for axis, size in enumerate(tensor.shape) if axis != left_out)
        for left_out in (largest, second)
    ]
    return without[0], without[1]


def _moments(optimizer: OptimizerName, tensor: Tensor) -> int:
    """Arrays of the parameter's own shape that the optimizer keeps for it."""
    match optimizer:
        case "adamw":
            return 2
        case "lion":
            return 1
        case "muon":  # matrices inside the network keep a momentum, everything else is AdamW's
            inside = tensor.is_matrix and "vocab" not in tensor.axes and "position" not in tensor.axes
            return 1 if inside else 2
    raise AssertionError(optimizer)


def optimizer_bytes(
    optimizer: OptimizerName, tensors: list[Tensor], mesh: Mapping[str, int], platform: str
) -> int:
    """Bytes of the float32 state of an optimizer; counters aside.

    Moments shaped like a parameter are sharded like it; Adafactor's factored ones are not.
    """
    total = 0
    for tensor in tensors:
        shape = shard_shape(tensor.axes, tensor.shape, mesh)
        if optimizer != "adafactor":
            total += _moments(optimizer, tensor) * array_bytes(shape, "float32", platform)
        elif (factors := _factored(tensor)) is None:
            total += array_bytes(shape, "float32", platform)
        else:
            total += sum(array_bytes(factor, "float32", platform) for factor in factors)
    return total
