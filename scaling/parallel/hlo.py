"""The text of a compiled program (optimised HLO), as XLA prints it: computations and their instructions.

The text is what one device of many runs; its types are that device's.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property

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
        """What is written between the parentheses: operands, or the value of a constant."""
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
    """Read a module; lines that are neither a header nor an instruction are passed over."""
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
    """What commas outside brackets separate, without comments as `/*index=5*/`."""
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
