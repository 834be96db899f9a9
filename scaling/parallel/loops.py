"""What integers a compiled program computes: how often its loops run, which branches it takes.

Loop counters and tables of constants are followed exactly; every other array is unknown.
"""

import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scaling.parallel.hlo import Instruction, Module

Value = Any
"""An int; a Table; a tuple of values; None if unknown; a placeholder of `unchanged`."""


@dataclass(frozen=True)
class Table:
    """An array of integers."""

    shape: tuple[int, ...]
    values: tuple[int, ...]

    def sliced(self, starts: Sequence[int], sizes: Sequence[int]) -> "Table":
        """A part of it, moved inside where it would reach over an edge."""
        ranges = []
        for start, size, length in zip(starts, sizes, self.shape, strict=True):
            first = max(0, min(start, length - size))
            ranges.append(range(first, first + size))
        strides = [math.prod(self.shape[i + 1 :]) for i in range(len(self.shape))]
        places = itertools.product(*ranges)
        found = tuple(
            self.values[sum(i * stride for i, stride in zip(place, strides, strict=True))] for place in places
        )
        return Table(tuple(sizes), found)


_NUMBER = re.compile(r"-?\d+")
_MOST = 20_000  # iterations of a loop that are evaluated; layers, chunks and microbatches are far fewer
_NOTED = re.compile(r'known_trip_count"?[:=]\s*\{\s*"?n"?[:=]\s*"?(\d+)')
_INTEGER = re.compile(r"^(pred|[su]\d+)\[([\d,]*)\]")
_LARGEST = 65_536  # elements of a table; larger arrays of integers are data
_PASSED_ON = ("copy", "bitcast", "convert", "reshape", "opt-barrier", "copy-start", "copy-done")
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
}
_COMPUTED: dict[str, Callable[..., int]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "negate": operator.neg,
    "minimum": min,
    "maximum": max,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "select": lambda which, yes, no: yes if which else no,
    "clamp": lambda low, x, high: max(low, min(x, high)),
    "divide": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),  # towards zero
    "remainder": lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1),
}


def trip_count(module: Module, computation: str, loop: Instruction, arguments: Sequence[Value]) -> int | None:
    """How often a `while` of a computation with these arguments runs; None if the text does not determine
    it."""
    noted = _NOTED.search(loop.rest)
    if noted is not None:
        return int(noted[1])
    condition, body = loop.called("condition"), loop.called("body")
    state = evaluate(module, computation, loop.operands[0], arguments)
    for iterations in range(_MOST):
        continues = result(module, condition, [state])
        if not isinstance(continues, int):
            return None
        if not continues:
            return iterations
        before, state = state, result(module, body, [state])
        if state == before:
            return None  # it would run for ever: the condition does not depend on integers
    return None


def unchanged(module: Module, computation: str, loop: Instruction, arguments: Sequence[Value]) -> Value:
    """The state at the start of every iteration: that before the loop, without what the body changes.

    A loop may pass values from one element to another, as a copy of a constant into faster memory; they stay
    known while they are equal.
    """
    before = evaluate(module, computation, loop.operands[0], arguments)
    if not isinstance(before, tuple):
        return None
    marks = tuple(object() for _ in before)
    after = result(module, loop.called("body"), [marks])
    if not isinstance(after, tuple):
        return None
    numbers = {id(mark): number for number, mark in enumerate(marks)}
    source = {i: numbers[id(value)] for i, value in enumerate(after) if id(value) in numbers}
    kept = set(source)
    while changed := {i for i in kept if source[i] not in kept or before[source[i]] != before[i]}:
        kept -= changed
    return tuple(value if i in kept else None for i, value in enumerate(before))


def states(
    module: Module, computation: str, loop: Instruction, arguments: Sequence[Value], count: int
) -> Iterator[Value]:
    """The state at the start of each of `count` iterations."""
    state = evaluate(module, computation, loop.operands[0], arguments)
    for _ in range(count):
        yield state
        state = result(module, loop.called("body"), [state])


def branch(conditional: Instruction, which: Value) -> int | None:
    """The number of the branch that a conditional takes; None if what it chooses by is unknown."""
    if not isinstance(which, int):
        return None
    if conditional.called("true_computation"):
        return 0 if which else 1
    last = len(conditional.branches()) - 1
    return which if 0 <= which <= last else last


def _common(values: Sequence[Value]) -> Value:
    """What values have in common; of tuples, element by element."""
    first = values[0]
    if all(isinstance(value, tuple) and len(value) == len(first) for value in values):
        return tuple(map(_common, zip(*values, strict=True)))
    return first if all(value == first for value in values) else None


def result(module: Module, computation: str, arguments: Sequence[Value]) -> Value:
    """The value of a computation's root."""
    instructions = module.computations.get(computation, {})
    root = next((one.name for one in reversed(instructions.values()) if one.root), None)
    return None if root is None else evaluate(module, computation, root, arguments)


def evaluate(module: Module, computation: str, name: str, arguments: Sequence[Value]) -> Value:
    """The value of an instruction of a computation that was given these arguments."""
    instructions = module.computations.get(computation, {})
    known: dict[str, Value] = {}

    def value(operand: str) -> Value:
        name, *path = operand.split("#")
        if name not in known:
            one = instructions.get(name)
            known[name] = None if one is None or not _may_be_known(one) else compute(one)
        found = known[name]
        for index in path:
            found = _element(found, int(index))
        return found

    def compute(one: Instruction) -> Value:
        match one.opcode:
            case "constant":
                return _constant(one)
            case "partition-id":
                return module.device
            case "parameter":
                index = int(one.written)
                return arguments[index] if index < len(arguments) else None
            case "tuple":
                return tuple(map(value, one.operands))
            case "get-tuple-element":
                return _element(value(one.operands[0]), _index(one))
            case "dynamic-slice":
                return _sliced(one, list(map(value, one.operands)))
            case "while":
                return unchanged(module, computation, one, arguments)
            case "conditional":
                which, *operands = map(value, one.operands)
                chosen = branch(one, which)
                names = one.branches() if chosen is None else [one.branches()[chosen]]
                given = operands if chosen is None else [operands[chosen]]
                found = [result(module, name, [x]) for name, x in zip(names, given, strict=False)]
                return _common(found)
            case "fusion" | "call":
                called = one.called("calls") or one.called("to_apply")
                return result(module, called, list(map(value, one.operands)))
            case opcode if opcode in _PASSED_ON:
                return _reshaped(value(one.operands[0]), one)
            case _:
                return _arithmetic(one, list(map(value, one.operands)))

    return value(name)


def _element(whole: Value, index: int) -> Value:
    return whole[index] if isinstance(whole, tuple) and index < len(whole) else None


def _may_be_known(one: Instruction) -> bool:
    return one.type.startswith("(") or _shape(one) is not None


def _shape(one: Instruction) -> tuple[int, ...] | None:
    """The shape of an array of few integers; None of anything else."""
    match = _INTEGER.match(one.type)
    if match is None:
        return None
    shape = tuple(int(size) for size in match[2].split(",") if size)
    return shape if math.prod(shape) <= _LARGEST else None


def _constant(one: Instruction) -> int | Table | None:
    shape, text = _shape(one), one.written.replace("true", "1").replace("false", "0")
    if shape is None or "..." in text:  # the compiler leaves out long ones unless it is told not to
        return None
    values = tuple(int(number) for number in _NUMBER.findall(text))
    if len(values) != math.prod(shape):
        return None
    return Table(shape, values) if shape else values[0]


def _reshaped(value: Value, one: Instruction) -> Value:
    """The same integers in the shape of an instruction; a tuple as it is."""
    shape = _shape(one)
    if shape is None or not isinstance(value, (int, Table)):
        return value
    values = value.values if isinstance(value, Table) else (value,)
    if len(values) != math.prod(shape):
        return None
    return Table(shape, values) if shape else values[0]


def _sliced(one: Instruction, operands: list[Value]) -> Value:
    table, *starts = operands
    sizes = re.search(r"\bdynamic_slice_sizes=\{([\d,]*)\}", one.rest)
    if not isinstance(table, Table) or not all(isinstance(i, int) for i in starts) or sizes is None:
        return None
    return table.sliced(starts, [int(size) for size in sizes[1].split(",")])


def _index(one: Instruction) -> int:
    match = re.search(r"\bindex=(\d+)", one.rest)
    return int(match[1]) if match else 0


def _arithmetic(one: Instruction, operands: list[Value]) -> int | Table | None:
    if not operands or not all(isinstance(operand, (int, Table)) for operand in operands):
        return None
    shape = next((operand.shape for operand in operands if isinstance(operand, Table)), None)
    if shape is None:
        return _scalar(one, operands)
    size = math.prod(shape)
    rows = [operand.values if isinstance(operand, Table) else (operand,) * size for operand in operands]
    if any(len(row) != size for row in rows):
        return None
    computed = [_scalar(one, list(numbers)) for numbers in zip(*rows, strict=True)]
    return None if any(number is None for number in computed) else Table(shape, tuple(computed))  # type: ignore[arg-type]


def _scalar(one: Instruction, operands: list[int]) -> int | None:
    if one.opcode == "compare":
        direction = re.search(r"\bdirection=(\w\w)", one.rest)
        compared = _COMPARED.get(direction[1]) if direction else None
        return None if compared is None else int(compared(*operands))
    if one.opcode == "not":
        return int(not operands[0]) if one.type.startswith("pred") else ~operands[0]
    if one.opcode in ("divide", "remainder") and operands[1] == 0:
        return None
    computed = _COMPUTED.get(one.opcode)
    return None if computed is None else computed(*operands)
