"""Bytes of an array on one device: its shard, laid out as the device lays it out."""

import itertools
import math
from collections.abc import Mapping, Sequence

from scaling.config.rules import DEFAULT_RULES, Rules

BYTES = {"float32": 4, "bfloat16": 2, "int32": 4}
_LANES, _SUBLANES = 128, 8  # a TPU's vector registers: 8 rows of 128 numbers of 4 bytes


def shard_shape(
    axes: Sequence[str | None], shape: Sequence[int], mesh: Mapping[str, int], rules: Rules = DEFAULT_RULES
) -> tuple[int, ...]:
    """The shape of one device's part of an array."""
    split = rules.split(axes, shape, mesh)
    return tuple(
        size // math.prod(mesh[axis] for axis in over) for size, over in zip(shape, split, strict=True)
    )


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _rows(size: int, rows: int) -> int:
    """Second-minor sizes below a whole tile take the next power of two."""
    return 1 << (size - 1).bit_length() if size < rows else _up(size, rows)


def array_bytes(shape: Sequence[int], dtype: str, platform: str) -> int:
    """Bytes of a dense array on a device.

    A TPU tiles the two innermost axes to (8, 128) numbers of 4 bytes or (16, 128) of 2, and chooses which two
    axes lie there so that the padding is least.
    """
    width = BYTES[dtype]
    size = math.prod(shape) * width
    if platform != "tpu" or not shape:
        return size
    if len(shape) == 1:
        return _up(shape[0], _LANES) * width
    rows = _SUBLANES * 4 // width
    return min(
        size // (shape[minor] * shape[second]) * _up(shape[minor], _LANES) * _rows(shape[second], rows)
        for minor, second in itertools.permutations(range(len(shape)), 2)
    )
