"""Collectives in the text of a compiled program (optimised HLO): how often each kind runs, and bytes moved.

The text is XLA's own print of what it will run, on one device of many; its types are that device's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from scaling.config.compiled import Collectives, Traffic

_KINDS = {
    "all-gather": "all_gather",
    "reduce-scatter": "reduce_scatter",
    "all-reduce": "all_reduce",
    "all-to-all": "all_to_all",
    "ragged-all-to-all": "all_to_all",
    "collective-permute": "collective_permute",
}
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_NAME = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r" ([\w\-]+)\(")
_ARRAY = re.compile(r"\b([a-z]+[0-9]*(?:e\d+m\d+\w*)?)\[([0-9,]*)\]")
_BITS = re.compile(r"[a-z]+(\d+)")


@dataclass(frozen=True)
class _Instruction:
    name: str
    type: str
    opcode: str
    rest: str  # operands and attributes

    def called(self, attribute: str) -> str:
        """The computation that an attribute names, as `body=%loop`; empty where it has none."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return match[1] if match else ""

    def listed(self, attribute: str) -> list[str]:
        """The computations that an attribute lists, as `called_computations={%a, %b}`."""
        match = re.search(rf"\b{attribute}=\{{([^}}]*)\}}", self.rest)
        return re.findall(r"[\w.\-]+", match[1]) if match else []

    def operands(self) -> list[str]:
        """Names of the instructions that this one reads."""
        return re.findall(r"%([\w.\-]+)", self.rest[: self.rest.find(")")])

    def in_place(self) -> list[str]:
        """The computations that are part of this one: fused, called, or run on a unit of their own."""
        if self.opcode not in ("fusion", "call", "async-start", "custom-call"):
            return []
        return [self.called("calls"), self.called("to_apply"), *self.listed("called_computations")]

    def branches(self) -> list[str]:
        """The computations that a conditional chooses from."""
        sides = (self.called("true_computation"), self.called("false_computation"))
        return self.listed("branch_computations") + [side for side in sides if side]


@dataclass
class _Module:
    """Instructions of each computation by name, and the computation that the program starts with."""

    entry: str = ""
    computations: dict[str, dict[str, _Instruction]] = field(default_factory=dict)


def count_collectives(text: str) -> Collectives:
    """Collectives of one run of a program, on one device; see `Traffic` for what bytes are counted.

    A start and its done are one. What stands in a loop counts as often as the loop runs.

    Raises:
        ValueError: not the text of a compiled program, or a loop with collectives that runs nobody knows how
            often.
    """
    module = _parse(text)
    if not module.entry:
        raise ValueError("no ENTRY computation: not the text of a compiled program")
    counts = dict.fromkeys(Collectives.model_fields, (0, 0))
    for kind, size, times in _collectives(module, module.entry, set()):
        count, total = counts[kind]
        counts[kind] = count + times, total + size * times
    return Collectives(**{kind: Traffic(count=n, bytes=size) for kind, (n, size) in counts.items()})


def _parse(text: str) -> _Module:
    module = _Module()
    current: dict[str, _Instruction] = {}
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
        end = _end_of_type(line, name.end())
        opcode = _OPCODE.match(line, end)
        if opcode is not None:
            current[name[1]] = _Instruction(name[1], line[name.end() : end], opcode[1], line[opcode.end() :])
    return module


def _end_of_type(line: str, start: int) -> int:
    """Where the type that begins at `start` ends: a tuple's type has spaces inside its brackets."""
    depth = 0
    for i in range(start, len(line)):
        character = line[i]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == " " and depth == 0:
            return i
    return len(line)


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


def _collectives(module: _Module, computation: str, spread: set[str]) -> Iterator[tuple[str, int, int]]:
    """(kind, bytes, how often) of each collective that one run of a computation runs.

    TPU spreads an asynchronous collective over several fusions, also inside loops that it overlaps; all have
    its channel, and count once. `spread` holds the channels met so far, in the order of the schedule.
    """
    instructions = module.computations.get(computation, {})
    # A sum over devices of which each keeps its part: how TPU writes a reduce-scatter.
    scattered = "all-reduce-scatter" in computation
    for instruction in instructions.values():
        opcode = instruction.opcode.removesuffix("-done")
        if opcode in _KINDS:
            if not _met(instruction, spread):
                kind = "reduce_scatter" if scattered and opcode == "all-reduce" else _KINDS[opcode]
                whole = [instruction.type]
                if opcode == "reduce-scatter":
                    whole = [instructions[name].type for name in instruction.operands()]
                yield kind, sum(map(type_bytes, whole)), 1
        elif opcode == "while":
            inner = list(_collectives(module, instruction.called("body"), spread))
            times = _trip_count(module, instructions, instruction) if inner else 0
            yield from ((kind, size, times * n) for kind, size, n in inner)
        elif opcode == "conditional":
            sides = [list(_collectives(module, name, set(spread))) for name in instruction.branches()]
            yield from max(sides, key=lambda side: sum(size * n for _, size, n in side), default=[])
        else:
            for name in instruction.in_place():
                yield from _collectives(module, name, spread)


def _met(instruction: _Instruction, spread: set[str]) -> bool:
    """Whether this is one more part of a collective that was counted. Others may share a channel."""
    channel = re.search(r"\bchannel_id=(\d+)", instruction.rest)
    if channel is None or "async_collective_fusion_config" not in instruction.rest:
        return False
    met = channel[1] in spread
    spread.add(channel[1])
    return met


def _trip_count(module: _Module, around: dict[str, _Instruction], loop: _Instruction) -> int:
    """How often a loop runs: as XLA noted it, or from the constant its counter is compared with."""
    noted = re.search(r'"known_trip_count":\{"n":"?(\d+)', loop.rest)
    if noted is not None:
        return int(noted[1])
    condition = module.computations[loop.called("condition")]
    for instruction in condition.values():
        direction = re.search(r"direction=(LT|LE)", instruction.rest)
        if instruction.opcode != "compare" or direction is None:
            continue
        counter, limit = (condition[name] for name in instruction.operands())
        last = _constant(limit)
        if last is not None and counter.opcode == "get-tuple-element":
            index = re.search(r"index=(\d+)", counter.rest)
            first = _initial(around, loop, int(index[1])) if index else 0
            return last - first + (direction[1] == "LE")
    raise ValueError(f"nothing says how often the loop {loop.name} runs")


def _constant(instruction: _Instruction) -> int | None:
    value = re.match(r"(-?\d+)\)", instruction.rest)
    return int(value[1]) if instruction.opcode == "constant" and value else None


def _initial(around: dict[str, _Instruction], loop: _Instruction, index: int) -> int:
    """What a loop's counter starts at: 0 unless the tuple it is given holds another constant."""
    start = around.get(loop.operands()[0])
    if start is None or start.opcode != "tuple":
        return 0
    element = around.get(start.operands()[index])
    while element is not None and element.opcode in ("copy", "bitcast"):
        element = around.get(element.operands()[0])
    return (_constant(element) or 0) if element is not None else 0
