"""The text of a compiled program (optimised HLO) as XLA prints it: instructions, and how often loops run.

The text is what one device of many runs; its types are that device's.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r" ([\w\-]+)\(")
_ARRAY = re.compile(r"\b([a-z]+[0-9]*(?:e\d+m\d+\w*)?)\[([0-9,]*)\]")
_COMMENT = re.compile(r"/\*.*?\*/")
_BITS = re.compile(r"[a-z]+(\d+)")
_OPERAND = re.compile(r"%?([\w.\-]+(?:#\d+)*)$")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class Instruction:
    """One line: `ROOT %name = type opcode(operands), attributes`."""

    name: str
    type: str
    opcode: str
    rest: str  # what follows the opening parenthesis: operands and attributes
    root: bool = False

    def called(self, attribute: str) -> str:
        """The computation that an attribute names, as `body=%loop`; empty where it has none."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return match[1] if match else ""

    def listed(self, attribute: str) -> list[str]:
        """The computations that an attribute lists, as `called_computations={%a, %b}`."""
        match = re.search(rf"\b{attribute}=\{{([^}}]*)\}}", self.rest)
        return re.findall(r"[\w.\-]+", match[1]) if match else []

    @cached_property
    def written(self) -> str:
        """The text between the parentheses: operands, or the value of a constant."""
        return self.rest[: _end(self.rest, 0, ")")]

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of the instructions that this one reads; `name#2` is element 2 of a tuple (libtpu 0.0.52).

        Types may be printed before names.
        """
        matches = [_OPERAND.search(text.rpartition(" ")[2]) for text in _split(self.written)]
        return tuple(match[1] for match in matches if match)

    def branches(self) -> list[str]:
        """The computations that a conditional chooses from."""
        sides = (self.called("true_computation"), self.called("false_computation"))
        return self.listed("branch_computations") + [side for side in sides if side]


@dataclass
class Module:
    """Instructions of each computation by name, and the computation that the program starts with."""

    entry: str = ""
    computations: dict[str, dict[str, Instruction]] = field(default_factory=dict)


def parse(text: str) -> Module:
    """Read a module; lines that are neither a header nor an instruction are skipped."""
    module = Module()
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header is not None:
            current = module.computations.setdefault(header[2], {})
            if header[1]:
                module.entry = header[2]
            continue
        name = _NAME.match(line)
        if name is None:
            continue
        end = _end(line, name.end(), " ")
        opcode = _OPCODE.match(line, end)
        if opcode is not None:
            current[name[2]] = Instruction(
                name[2], line[name.end() : end], opcode[1], line[opcode.end() :], name[1] is not None
            )
    return module


def _end(text: str, start: int, stop: str) -> int:
    """The first place of `stop` outside brackets: types have spaces and commas inside theirs."""
    depth = 0
    for i in range(start, len(text)):
        character = text[i]
        if depth == 0 and character == stop:
            return i
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
    return len(text)


def _split(text: str) -> list[str]:
    """Split at commas outside brackets, without comments such as `/*index=5*/`."""
    parts, start = [], 0
    while start < len(text):
        end = _end(text, start, ",")
        parts.append(_COMMENT.sub("", text[start:end]).strip())
        start = end + 1
    return parts


def operand_type(instructions: dict[str, Instruction], operand: str) -> str:
    """The type of an operand as `Instruction.operands` names it."""
    name, *path = operand.split("#")
    type = instructions[name].type
    for index in path:
        type = _split(type[1:-1])[int(index)]
    return type


def type_bytes(type: str) -> int:
    """Bytes of a type: an array, or all arrays of a tuple. Padding is not counted."""
    total = 0
    for element, dimensions in _ARRAY.findall(type):
        size = 1
        for dimension in dimensions.split(","):
            size *= int(dimension or 1)
        bits = 8 if element == "pred" else int((_BITS.match(element) or [0, 0])[1])
        total += -(-size * bits // 8)
    return total


Value = Any
"""An int; a tuple of values; None if unknown (every array); a placeholder of `unchanged`."""

_MOST = 20_000  # iterations of a loop that are evaluated; layers, chunks and microbatches are far fewer
_NOTED = re.compile(r'known_trip_count"?[:=]\s*\{\s*"?n"?[:=]\s*"?(\d+)')
_INTEGER = re.compile(r"^(pred|[su]\d+)\[\]")
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
    """The state at the start of every iteration: that before the loop, without what the body changes."""
    before = evaluate(module, computation, loop.operands[0], arguments)
    if not isinstance(before, tuple):
        return None
    marks = tuple(object() for _ in before)
    after = result(module, loop.called("body"), [marks])
    if not isinstance(after, tuple):
        return None
    return tuple(b if a is mark else None for b, a, mark in zip(before, after, marks, strict=False))


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
            case "parameter":
                index = int(one.written)
                return arguments[index] if index < len(arguments) else None
            case "tuple":
                return tuple(map(value, one.operands))
            case "get-tuple-element":
                return _element(value(one.operands[0]), _index(one))
            case "fusion" | "call":
                called = one.called("calls") or one.called("to_apply")
                return result(module, called, list(map(value, one.operands)))
            case opcode if opcode in _PASSED_ON:
                return value(one.operands[0])
            case _:
                return _arithmetic(one, list(map(value, one.operands)))

    return value(name)


def _element(whole: Value, index: int) -> Value:
    return whole[index] if isinstance(whole, tuple) and index < len(whole) else None


def _may_be_known(one: Instruction) -> bool:
    return one.type.startswith("(") or _INTEGER.match(one.type) is not None


def _constant(one: Instruction) -> int | None:
    if one.written in ("true", "false"):
        return int(one.written == "true")
    return int(one.written) if re.fullmatch(r"-?\d+", one.written) else None


def _index(one: Instruction) -> int:
    match = re.search(r"\bindex=(\d+)", one.rest)
    return int(match[1]) if match else 0


def _arithmetic(one: Instruction, operands: list[Value]) -> int | None:
    if not operands or not all(isinstance(operand, int) for operand in operands):
        return None
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
