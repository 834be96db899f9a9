"""What attention kernels cost: programs of their own, which the compiler calls and does not price."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.parallel.hlo import Instruction, operand_type, shape_of, type_bytes
from scaling.parallel.loops import Table, Value

_NAMES = re.compile(r"splash|flash|attention|fmha|mha|mqa", re.IGNORECASE)
_CUDNN = re.compile(r"__cudnn\$fmha")
# Matrix products of a kernel over every block that it computes: scores and output; in the backward pass the
# scores again, and gradients of probabilities, values, keys and queries, in one kernel or in two.
_FORWARD, _QUERIES, _KEYS, _BACKWARD = 2, 3, 4, 5


@dataclass(frozen=True)
class Work:
    """What one call of a kernel does: FLOPs of the blocks that it computes, and bytes."""

    flops: float
    bytes: float
    head: int  # head width
    masked: bool  # whether it is known which blocks the mask leaves


def is_attention_kernel(one: Instruction) -> bool:
    """Whether an instruction calls a kernel that computes attention: cuDNN's, or one written in Pallas."""
    if one.opcode != "custom-call":
        return False
    target = one.text("custom_call_target")
    if _CUDNN.match(target):
        return True
    return target in ("tpu_custom_call", "mosaic_gpu_v2", "__gpu$xla.gpu.triton") and bool(
        _NAMES.search(one.name + one.metadata)
    )


def work(one: Instruction, instructions: dict[str, Instruction], values: Sequence[Value]) -> Work:
    """The work of one call. `values` are those of the operands; a mask among them says which blocks run."""
    types = [operand_type(instructions, name) for name in one.operands]
    floats = [shape_of(type) for type in types if type.startswith(("bf16", "f32", "f16"))]
    query, key = [shape for shape in floats if len(shape) > 2][:2]
    cudnn = _CUDNN.match(one.text("custom_call_target")) is not None
    length_axis = 1 if cudnn else -2  # cuDNN's arrays are (B, L, H, E), those of Pallas kernels (B, H, L, E)
    head, length, keys = query[-1], query[length_axis], key[length_axis]
    heads = math.prod(query) // (head * length)
    share = _of_cudnn(one, length, keys) if cudnn else _of_blocks(one, values, length, keys)
    flops = 2.0 * _products(one) * heads * length * keys * head * (1.0 if share is None else share)
    return Work(flops, sum(map(type_bytes, types)) + type_bytes(one.type), head, share is not None)


def _products(one: Instruction) -> int:
    name = (one.name + one.text("custom_call_target")).lower()
    if "dkv" in name:
        # A fused backward kernel makes the queries' gradients too.
        return _BACKWARD if 'use_fused_bwd_kernel\\": true' in one.rest else _KEYS
    if "_dq" in name:
        return _QUERIES
    return _BACKWARD if "backward" in name or "bwd" in name else _FORWARD


def _of_cudnn(one: Instruction, length: int, keys: int) -> float:
    """Share of all pairs of a query and a key that cuDNN computes."""
    if '"mask_type": "CAUSAL"' not in one.rest and '"mask_type":"CAUSAL"' not in one.rest:
        return 1.0
    window = one.number("sliding_window_length") or keys
    seen = sum(min(place + 1, window) for place in range(length))
    return seen / (length * keys)


def _of_blocks(one: Instruction, values: Sequence[Value], length: int, keys: int) -> float | None:
    """Share of all pairs in blocks that a splash kernel computes, by its mask of blocks (0 is empty)."""
    masks = [value for value in values if isinstance(value, Table) and len(value.shape) == 3]
    if len(masks) < 2:
        return None
    mask = masks[1]  # after the table of which block of keys comes next
    heads, rows, columns = mask.shape
    kind = "_dkv" if "_dkv" in one.name else "_dq" if "_dq" in one.name else ""
    # The grid of the other axis may be narrower than the array: empty blocks are left out.
    block = one.number(f"block_q{kind}") or length // rows
    key_block = one.number(f"block_kv{kind}") or keys // columns
    computed = sum(1 for state in mask.values if state)
    return min(1.0, computed * block * key_block / (heads * length * keys))
