"""What the instructions of a compiled program do: their kind, FLOPs, bytes and place in the source."""

import math
import re
from collections.abc import Iterator
from typing import Literal, get_args

from scaling.parallel.attention_kernels import is_attention_kernel
from scaling.parallel.hlo import Instruction, Module, operand_type, shape_of, type_bytes

Kind = Literal["matmul", "attention", "elementwise", "copy", "collective", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)

COLLECTIVES = {
    "all-gather": "all_gather",
    "reduce-scatter": "reduce_scatter",
    "all-reduce": "all_reduce",
    "all-to-all": "all_to_all",
    "ragged-all-to-all": "all_to_all",
    "collective-permute": "permute",
    "collective-broadcast": "permute",
}
# Nothing runs for these.
FREE = frozenset({
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id",
    "replica-id", "opt-barrier", "add-dependency", "domain",
})  # fmt: skip
# These move numbers, change their type, make them or choose among them; none computes with them.
_MOVES = frozenset({
    "copy", "copy-start", "copy-done", "transpose", "reshape", "broadcast", "slice", "dynamic-slice",
    "dynamic-update-slice", "pad", "concatenate", "convert", "reverse", "bitcast-convert", "iota",
    "fusion", "call", "clamp", "select", "compare",
})  # fmt: skip
_PRODUCTS = frozenset({"dot", "convolution"})
_OTHERS = frozenset({"sort", "scatter", "gather", "rng", "rng-bit-generator", "fft", "topk", "custom-call"})
_LIBRARY_PRODUCTS = re.compile(r"cublas|gemm|matmul", re.IGNORECASE)
_ATTENTION = "/models/attention/"  # source files whose arithmetic counts as attention
_ON_CHIP = re.compile(r"S\(\d+\)\}$")


def kind_of(module: Module, one: Instruction) -> Kind:
    """What an instruction outside fusions is.

    `attention` is its kernels, and the arithmetic of attention written as array code; what only moves data is
    `copy` there too. `other` is sorting, gathering, scattering, random numbers and unknown kernels.
    """
    opcode = one.opcode.removesuffix("-start").removesuffix("-done").removesuffix("-update")
    if opcode in COLLECTIVES:
        return "collective"
    if opcode == "custom-call":
        if is_attention_kernel(one):
            return "attention"
        return "matmul" if _LIBRARY_PRODUCTS.search(one.text("custom_call_target")) else "other"
    inner = list(inside(module, one)) if opcode in ("fusion", "async") else [one]
    opcodes = {part.opcode for part in inner} - FREE
    return "collective" if opcodes & COLLECTIVES.keys() else _computed(module, one, opcodes)


def kind_beside_collective(module: Module, one: Instruction) -> Kind | None:
    """What a fusion computes while it takes part in a collective; None if nothing."""
    opcodes = {part.opcode for part in inside(module, one)} - FREE - COLLECTIVES.keys() - {"custom-call"}
    return _computed(module, one, opcodes) if opcodes else None


def _computed(module: Module, one: Instruction, opcodes: set[str]) -> Kind:
    if opcodes & _PRODUCTS:
        return "attention" if _of_attention(module, one) else "matmul"
    if opcodes & _OTHERS:
        return "other"
    if opcodes <= _MOVES:
        return "copy"
    return "attention" if _of_attention(module, one) else "elementwise"


def spread_collective(module: Module, one: Instruction) -> Instruction | None:
    """The collective that an instruction runs a part of, where TPU spreads one over several fusions.

    The first of them starts it, others compute in the meantime, and the last waits; all have its channel.
    """
    for part in (one, *inside(module, one)):
        if part.opcode in COLLECTIVES and "async_collective_fusion_config" in part.rest:
            return part
    return None


def _of_attention(module: Module, one: Instruction) -> bool:
    return any(_ATTENTION in file for file, _ in _frames(module, one))


def inside(module: Module, one: Instruction) -> Iterator[Instruction]:
    """The instructions that an instruction fuses or starts, those of inner fusions included."""
    for name in (one.called("calls"), *one.listed("called_computations")):
        for part in module.computations.get(name, {}).values():
            yield part
            if part.opcode in ("fusion", "custom-call"):
                yield from inside(module, part)


def source_of(module: Module, one: Instruction) -> tuple[str, str]:
    """The line that an instruction comes from and the line that calls it from another file, as `file:line`.

    Of a fused matrix product that of the product; empty where the compiler gives none.
    """
    frames = _frames(module, one)
    if not frames:
        return "", ""
    own = frames[0][0]
    caller = next((frame for frame in frames if frame[0] != own), None)
    return _place(*frames[0]), "" if caller is None else _place(*caller)


def _frames(module: Module, one: Instruction) -> list[tuple[str, int]]:
    parts = list(inside(module, one)) if one.opcode != "custom-call" else []
    products = [part for part in parts if part.opcode in _PRODUCTS]
    for part in (*products, one, *reversed(parts)):
        if frames := module.frames(part):
            return frames
    return []


def _place(file: str, line: int) -> str:
    for mark, kept in (("/site-packages/", ""), ("/scaling/", "scaling/")):
        _, found, after = file.rpartition(mark)
        if found:
            return f"{kept}{after}:{line}"
    return f"{file.rpartition('/')[2]}:{line}"


def moved_bytes(module: Module, computation: str, one: Instruction) -> float:
    """Bytes that an instruction reads from the device's memory and writes to it.

    Arrays in on-chip memory (`S(1)` in their layout) count nothing. Of an operand that is only sliced, the
    slice counts, and of one that is updated in place, the update.
    """
    instructions = module.computations[computation]
    if "AllocateBuffer" in one.rest:
        return 0.0
    if one.opcode == "dynamic-update-slice":
        return 2.0 * _off_chip(operand_type(instructions, one.operands[1]))
    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return 2.0 * type_bytes(one.type)
    body = module.computations.get(one.called("calls"), {})
    read = 0.0
    for number, name in enumerate(one.operands):
        type = operand_type(instructions, name)
        part = _read_of(body, number, type) if body else type_bytes(type)
        read += min(part, _off_chip(type))
    return read + _written(body, one)


def _off_chip(type: str) -> float:
    return 0.0 if _ON_CHIP.search(type) else float(type_bytes(type))


def _read_of(body: dict[str, Instruction], number: int, type: str) -> float:
    """Bytes that a fusion reads of a parameter: of all its readers, if they all take slices of it."""
    parameter = next((p for p in body.values() if p.opcode == "parameter" and p.written == str(number)), None)
    if parameter is None:
        return float(type_bytes(type))
    readers = [part for part in body.values() if parameter.name in part.operands]
    total = 0.0
    for reader in readers:
        if reader.opcode in ("dynamic-slice", "slice", "gather"):
            total += type_bytes(reader.type)
        elif reader.opcode != "dynamic-update-slice" or reader.operands[0] != parameter.name:
            return float(type_bytes(type))
    return min(total, float(type_bytes(type)))


def _written(body: dict[str, Instruction], one: Instruction) -> float:
    root = next((part for part in body.values() if part.root), None)
    updated = [] if root is None else [root]
    if root is not None and root.opcode == "tuple":
        updated = [body[name] for name in root.operands if name in body]
    total = _off_chip(one.type)
    for part in updated:
        if part.opcode == "dynamic-update-slice":
            total -= type_bytes(part.type) - type_bytes(operand_type(body, part.operands[1]))
    return max(0.0, total)


def product_flops(module: Module, computation: str, one: Instruction) -> float:
    """FLOPs of the matrix products of an instruction, two for each multiply-add, those inside it included."""
    instructions = module.computations[computation]
    if one.opcode == "dot":
        left = shape_of(operand_type(instructions, one.operands[0]))
        match = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.rest)
        contracted = [int(axis) for axis in match[1].split(",") if axis] if match else []
        return 2.0 * math.prod(shape_of(one.type)) * math.prod(left[axis] for axis in contracted)
    if one.opcode == "convolution":
        return _convolution(instructions, one)
    if one.opcode == "fusion" or one.opcode.startswith("async"):
        name = one.called("calls")
        return sum(product_flops(module, name, part) for part in module.computations.get(name, {}).values())
    return 0.0


_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")


def _convolution(instructions: dict[str, Instruction], one: Instruction) -> float:
    """A product as TPU writes it: batch dimensions of a dot become windows of which one position is valid."""
    labels = _LABELS.search(one.rest)
    if labels is None:
        return 0.0
    left, right, out = labels.groups()
    lhs, rhs, result = (
        shape_of(operand_type(instructions, one.operands[0])),
        shape_of(operand_type(instructions, one.operands[1])),
        shape_of(one.type),
    )
    window = re.search(r"window=\{([^}]*)\}", one.rest)
    said = dict(part.split("=", 1) for part in window[1].split()) if window else {}
    total = 2.0 * result[out.index("b")] * result[out.index("f")] * rhs[right.index("i")]
    for number in range(len(left) - 2):
        name = str(number)
        sizes = (lhs[left.index(name)], rhs[right.index(name)], result[out.index(name)])
        total *= _valid(*sizes, number, said)
    return total


def _valid(size: int, kernel: int, out: int, number: int, window: dict[str, str]) -> int:
    """Pairs of a place of the result and a place of the kernel that meet a number of the input."""

    def of(name: str, default: str) -> str:
        values = window.get(name, "").split("x")
        return values[number] if number < len(values) and values[number] else default

    stride, spread, step = (int(of(name, "1")) for name in ("stride", "lhs_dilate", "rhs_dilate"))
    low = int(of("pad", "0_0").split("_")[0])
    found = 0
    for place in range(out):
        for tap in range(kernel):
            at = place * stride + tap * step - low
            if at % spread == 0 and 0 <= at // spread < size:
                found += 1
    return found
