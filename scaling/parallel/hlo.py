"""The text of a compiled program (optimised HLO) as XLA prints it: instructions, types, source lines.

The text is what one device of many runs; its types are that device's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r" ([\w\-]+)\(")
_ARRAY = re.compile(r"\b([a-z]+[0-9]*(?:e\d+m\d+\w*)?)\[([0-9,]*)\]")
_COMMENT = re.compile(r"/\*.*?\*/")
_BITS = re.compile(r"[a-z]+(\d+)")
_METADATA = re.compile(r"(?<!\w)metadata=\{((?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*)\}")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ROW = re.compile(r'^(\d+) (?:"(.*)"|\{(.*)\})$')
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
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

    def number(self, name: str) -> int | None:
        """An integer among the attributes, as `"estimated_cycles":"53898"` or `channel_id=3`."""
        match = re.search(rf'\b{name}\\?"?[=:]\s*"?(-?\d+)', self.rest)
        return int(match[1]) if match else None

    def decimal(self, name: str, unit: float = 1.0) -> float | None:
        """A number among the attributes, as `"exec_time_us":5.2`, times a unit."""
        match = re.search(rf'"{name}":\s*"?([\d.]+(?:[eE][-+]?\d+)?)', self.rest)
        return float(match[1]) * unit if match else None

    def text(self, name: str) -> str:
        """A quoted text among the attributes, as `custom_call_target="Sharding"`; empty where it has none."""
        match = re.search(rf'\b{name}=\\?"([^"\\]*)', self.rest)
        return match[1] if match else ""

    @cached_property
    def metadata(self) -> str:
        """What the metadata hold: the name of the operation, and where it comes from."""
        match = _METADATA.search(self.rest)
        return match[1] if match else ""

    def branches(self) -> list[str]:
        """The computations that a conditional chooses from."""
        sides = (self.called("true_computation"), self.called("false_computation"))
        return self.listed("branch_computations") + [side for side in sides if side]


@dataclass
class Module:
    """Instructions of each computation by name, and the computation that the program starts with."""

    entry: str = ""
    computations: dict[str, dict[str, Instruction]] = field(default_factory=dict)
    device: int | None = None  # the number of the device whose run is followed; None is any
    tables: dict[str, dict[int, str]] = field(default_factory=dict)  # of the stack frames, rows by number
    _read: dict[int, list[tuple[str, int]]] = field(default_factory=dict)

    def frames(self, one: Instruction) -> list[tuple[str, int]]:
        """(file, line) of the source of an instruction and of its callers, innermost first."""
        if (number := one.number("stack_frame_id")) is not None:
            return self._frames_of(number)
        file, line = one.text("source_file"), one.number("source_line")
        return [(file, line)] if file and line is not None else []

    def _frames_of(self, number: int) -> list[tuple[str, int]]:
        if number not in self._read:
            self._read[number] = self._followed(number)
        return self._read[number]

    def _followed(self, number: int) -> list[tuple[str, int]]:
        frames, places, files = (
            self.tables.get(name, {}) for name in ("StackFrames", "FileLocations", "FileNames")
        )
        # The first frame has no parent. What it says it has is by how much numbers of parents are shifted.
        shift = _field(frames.get(1, ""), "parent_frame_id")
        found, met = [], set()
        while number in frames and number not in met:
            met.add(number)
            place = places.get(_field(frames[number], "file_location_id"), "")
            found.append((files.get(_field(place, "file_name_id"), ""), _field(place, "line")))
            number = _field(frames[number], "parent_frame_id") - shift
        return [(file, line) for file, line in found if file]


def _field(row: str, name: str) -> int:
    match = re.search(rf"\b{name}=(\d+)", row)
    return int(match[1]) if match else 0


def parse(text: str) -> Module:
    """Read a module; lines that are neither a header nor an instruction are skipped."""
    module = Module()
    current: dict[str, Instruction] = {}
    rows: dict[int, str] | None = None
    for line in _joined(text):
        if line in _TABLES:
            rows = module.tables.setdefault(line, {})
            continue
        if rows is not None and (row := _ROW.match(line)) is not None:
            rows[int(row[1])] = row[2] if row[2] is not None else row[3]
            continue
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


def _joined(text: str) -> Iterator[str]:
    """The lines of a module. An attribute with line breaks in it is one line with its instruction."""
    held = ""
    for line in text.splitlines():
        starts = _NAME.match(line) is not None
        if held and not starts and not _closed(held):
            held += f" {line}"
            continue
        if held:
            yield held
        held = line if starts else ""
        if not starts:
            yield line
    if held:
        yield held


def _closed(text: str) -> bool:
    """Whether all braces of a line are closed; those in quotes do not count."""
    bare = _QUOTED.sub("", text)
    return bare.count("{") == bare.count("}")


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


def shape_of(type: str) -> tuple[int, ...]:
    """The dimensions of an array's type; empty for a scalar or a tuple."""
    match = _ARRAY.match(type)
    return tuple(int(size) for size in match[2].split(",") if size) if match else ()


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
