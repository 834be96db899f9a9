"""What attention kernels cost: programs of their own, which the compiler calls and does not price."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.parallel.hlo import Instruction, operand_type, shape_of, type_bytes
from scaling.parallel.loops import Table, Value

_NAMES = re.compile(r"splash|flash|attention|fmha|mha|mqa", re.IGNORECASE)
# Matrix products of a kernel over every block that it computes: scores and output; in the backward pass the
# scores again, and gradients of probabilities, values, keys and queries.
_PRODUCTS = (("dkv", "dq", 5), ("dkv", "", 4), ("dq", "", 3), ("bwd", "", 5), ("", "", 2))


@dataclass(frozen=True)
class Work:
    """FLOPs of the blocks that a kernel computes, the pairs of a query and a key in them, and bytes."""

    flops: float
    pairs: float
    bytes: float
    head: int  # head width
    masked: bool  # whether the blocks that the mask leaves are known


def is_attention_kernel(one: Instruction) -> bool:
    """Whether an instruction calls a kernel that computes attention."""
    return (
        one.opcode == "custom-call"
        and _NAMES.search(one.name + one.metadata) is not None
        and "pallas" in (one.metadata)
    )


def work(one: Instruction, instructions: dict[str, Instruction], values: Sequence[Value]) -> Work:
    """The work of one call. `values` are those of the operands; a mask among them says which blocks run."""
    types = [operand_type(instructions, name) for name in one.operands]
    arrays = [
        shape_of(type)
        for type in types
        if type.startswith(("bf16", "f32", "f16")) and len(shape_of(type)) > 2
    ]
    query, key = arrays[0], arrays[1]
    head, length, keys = query[-1], query[-2], key[-2]
    heads = 1
    for size in query[:-2]:
        heads *= size
    name = one.name.lower() + one.metadata.rpartition("/")[0].rpartition("/")[2].lower()
    products = next(n for first, second, n in _PRODUCTS if first in name and second in name)
    share = _share(one, values, length, keys)
    pairs = heads * length * keys * (1.0 if share is None else share)
    moved = sum(map(type_bytes, types)) + type_bytes(one.type)
    return Work(2 * products * pairs * head, pairs, moved, head, share is not None)


def _share(one: Instruction, values: Sequence[Value], length: int, keys: int) -> float | None:
    """Share of all pairs in blocks that are computed, by the mask of blocks (0 is empty)."""
    masks = [value for value in values if isinstance(value, Table) and len(value.shape) == 3]
    if len(masks) < 2:
        return None
    mask = masks[1]
    heads, rows, columns = mask.shape
    backward = "_dkv" in one.name
    block = one.number("block_q_dkv" if backward else "block_q") or length // rows
    key_block = one.number("block_kv_dkv" if backward else "block_kv") or keys // columns
    computed = sum(1 for block in mask.values if block)
    return min(1.0, computed * block * key_block / (heads * length * keys))
