"""Where the time of a compiled step goes, by the TPU compiler's own cost model."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scaling.config.devices import Devices
from scaling.config.record import Profile, ProfileLine
from scaling.parallel import attention_kernels
from scaling.parallel.groups import groups
from scaling.parallel.hlo import Instruction, Module, operand_type, parse, type_bytes
from scaling.parallel.links import Place, link, places
from scaling.parallel.loops import Value, evaluate, trip_count, unchanged

Kind = Literal["matmul", "attention", "elementwise", "copy", "collective", "other"]

COLLECTIVES = {
    "all-gather": "all_gather",
    "reduce-scatter": "reduce_scatter",
    "all-reduce": "all_reduce",
    "all-to-all": "all_to_all",
    "ragged-all-to-all": "all_to_all",
    "collective-permute": "permute",
    "collective-broadcast": "permute",
}
_FREE = frozenset(
    {
        "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id",
        "replica-id", "opt-barrier", "iota", "add-dependency", "domain",
    }
)  # fmt: skip
_MOVES = frozenset(
    {
        "copy", "transpose", "reshape", "broadcast", "slice", "dynamic-slice", "dynamic-update-slice", "pad",
        "concatenate", "convert", "reverse", "bitcast-convert", "copy-start", "copy-done", "iota", "fusion",
        "call", "clamp", "select", "compare",
    }
)  # fmt: skip
_PRODUCTS = frozenset({"dot", "convolution"})
_OTHERS = frozenset({"sort", "scatter", "gather", "rng", "rng-bit-generator", "fft", "topk", "custom-call"})
KERNEL_SHARE = 0.5


@dataclass
class Spent:
    """Seconds of a step, and how often."""

    seconds: float = 0.0
    count: float = 0.0


@dataclass
class Times:
    """What a step spends, by (source, caller, kind), and on links."""

    by_line: dict[tuple[str, str, Kind], Spent] = field(default_factory=lambda: defaultdict(Spent))
    collective_seconds: float = 0.0  # hidden ones included
    notes: list[str] = field(default_factory=list)

    @property
    def by_kind(self) -> dict[Kind, float]:
        """Seconds of each kind."""
        total: dict[Kind, float] = dict.fromkeys(
            ("matmul", "attention", "elementwise", "copy", "collective", "other"), 0.0
        )
        for (_, _, kind), spent in self.by_line.items():
            total[kind] += spent.seconds
        return total

    @property
    def seconds(self) -> float:
        """Of the step."""
        return sum(self.by_kind.values())


class Rates:
    """What turns the parts of a program that the compiler does not price into seconds."""

    def __init__(self, devices: Devices, where: Sequence[Place] | None = None) -> None:
        hardware = devices.hardware
        self.devices, self.where = devices, where or places(devices)
        if hardware.clock_hz is None:
            raise ValueError(f"{hardware.name}: its clock_hz is not known")
        self.clock_hz = hardware.clock_hz
        self.memory_bandwidth = hardware.memory_bandwidth / hardware.devices_per_chip
        self.peak_flops = max(hardware.peak_flops.values()) / hardware.devices_per_chip

    def collective(self, one: Instruction, kind: str, size: float) -> float:
        """Seconds of a collective over an array of `size` bytes."""
        members = groups(one.rest, self.devices.count)
        group = max(members, key=len)
        if kind == "permute":
            return max(link(pair, self.where, self.devices).seconds("permute", size) for pair in members)
        return link(group, self.where, self.devices).seconds(kind, size)  # type: ignore[arg-type]

    def kernel(self, work: attention_kernels.Work) -> float:
        """Seconds of an attention kernel."""
        return max(work.flops / (self.peak_flops * KERNEL_SHARE), work.bytes / self.memory_bandwidth)


def profile_program(
    text: str, devices: Devices, where: Sequence[Place] | None = None, top: int = 20
) -> Profile:
    """Where the time of a compiled program goes, from the TPU compiler's final print of it.

    `where` are the places of the devices by their numbers in the program; those of the topology in order by
    default. The print is `*.after_codegen.txt` of `xla_dump_to`, with `xla_dump_large_constants` for masks.

    Raises:
        ValueError: not the text of a compiled program.
    """
    module = parse(text)
    if not module.entry:
        raise ValueError("no ENTRY computation: not the text of a compiled program")
    module.device = devices.count - 1  # of a causal mask that is split over devices, the last has the most
    rates = Rates(devices, where)
    walk = _Walk(module, rates)
    walk.run(module.entry, [], 1)
    times = walk.times
    total = times.seconds
    lines = sorted(times.by_line.items(), key=lambda item: (-item[1].seconds, item[0]))
    return Profile(
        step_seconds=total,
        clock_hz=rates.clock_hz,
        cycles=total * rates.clock_hz,
        by_kind=dict(times.by_kind),
        top=tuple(_line(*line, spent, total) for line, spent in lines[:top]),
        collective_seconds=times.collective_seconds,
        notes=tuple(dict.fromkeys(times.notes)),
    )


def _line(source: str, caller: str, kind: Kind, spent: Spent, total: float) -> ProfileLine:
    return ProfileLine(
        source=source,
        caller=caller,
        kind=kind,
        seconds=spent.seconds,
        share=spent.seconds / total,
        count=round(spent.count),
    )


class _Walk:
    def __init__(self, module: Module, rates: Rates) -> None:
        self._module, self._rates = module, rates
        self.times = Times()

    def run(self, computation: str, arguments: Sequence[Value], times: float) -> float:
        """Seconds of one run of a computation; what it spends is added `times` times."""
        now = 0.0
        pending: dict[str, float] = {}  # when what was started ends
        free: dict[str, float] = {}  # when a resource has done what was started on it
        instructions = self._module.computations.get(computation, {})

        def given(names: Sequence[str]) -> list[Value]:
            return [evaluate(self._module, computation, name, arguments) for name in names]

        for one in instructions.values():
            opcode = one.opcode
            if opcode in _FREE:
                continue
            if opcode == "while":
                count = trip_count(self._module, computation, one, arguments)
                if count is None:
                    self.times.notes.append(f"loop {one.name}: counted once")
                state = unchanged(self._module, computation, one, arguments)
                n = 1 if count is None else count
                now += n * self.run(one.called("body"), [state], n * times)
            elif opcode == "conditional":
                now += self._branches(one, given(one.operands), times)
            elif opcode == "call":
                now += self.run(one.called("to_apply"), given(one.operands), times)
            elif opcode.endswith("-done"):
                ends = pending.pop(_started(one), now)
                if ends > now:
                    self._add(one, self.kind(one), ends - now, times, 0)
                    now = ends
            elif opcode.endswith("-start"):
                resource, seconds = self._asynchronous(one, instructions)
                begins = max(now, free.get(resource, 0.0))
                pending[one.name] = free[resource] = begins + seconds
                self._add(one, self.kind(one), 0.0, times)
                if self.kind(one) == "collective":
                    self.times.collective_seconds += seconds * times
            elif opcode == "async-update":
                pending[one.name] = pending.pop(_started(one), now)
            else:
                kind = self.kind(one)
                if attention_kernels.is_attention_kernel(one):
                    work = attention_kernels.work(one, instructions, given(one.operands))
                    seconds = self._rates.kernel(work)
                    if not work.masked:
                        self.times.notes.append("attention kernels: mask unknown, counted in full")
                else:
                    seconds = self._seconds(one, kind, instructions)
                if kind == "collective":
                    self.times.collective_seconds += seconds * times
                self._add(one, kind, seconds, times)
                now += seconds
        return now

    def _branches(self, one: Instruction, operands: list[Value], times: float) -> float:
        names = one.branches()
        which = operands[0]
        if isinstance(which, int):
            chosen = min(max(which, 0), len(names) - 1)
            if one.called("true_computation"):
                chosen = 0 if which else 1
            return self.run(names[chosen], [operands[1 + chosen]], times)
        # Each as often as the others.
        share = 1 / len(names)
        return sum(
            share * self.run(name, [operand], share * times)
            for name, operand in zip(names, operands[1:], strict=False)
        )

    def _asynchronous(self, one: Instruction, instructions: dict[str, Instruction]) -> tuple[str, float]:
        opcode = one.opcode.removesuffix("-start")
        if opcode in COLLECTIVES:
            return "links", self._rates.collective(
                one, COLLECTIVES[opcode], self._exchanged(one, instructions)
            )
        inner = list(self._inside(one.called("calls")))
        for part in inner:
            if part.opcode in COLLECTIVES:
                return "links", self._rates.collective(part, COLLECTIVES[part.opcode], type_bytes(part.type))
        size = type_bytes(one.type) / 2 if opcode == "copy" else _moved(one, instructions)
        return "memory", size / self._rates.memory_bandwidth

    def _exchanged(self, one: Instruction, instructions: dict[str, Instruction]) -> float:
        """Bytes of the array that a collective makes, or reads if that is larger."""
        read = sum(type_bytes(operand_type(instructions, name)) for name in one.operands)
        kind = one.opcode.removesuffix("-start")
        if kind == "all-gather" and one.opcode.endswith("-start"):
            return type_bytes(one.type) - read
        return read if kind != "all-gather" else type_bytes(one.type)

    def _seconds(self, one: Instruction, kind: Kind, instructions: dict[str, Instruction]) -> float:
        cycles = one.number("estimated_cycles")
        if cycles is not None:
            return cycles / self._rates.clock_hz
        if one.opcode in COLLECTIVES:
            size = self._exchanged(one, instructions)
            return self._rates.collective(one, COLLECTIVES[one.opcode], size)
        if kind == "collective":
            inside = (i for i in self._inside(one.called("calls")) if i.opcode in COLLECTIVES)
            return sum(self._rates.collective(i, COLLECTIVES[i.opcode], type_bytes(i.type)) for i in inside)
        return _moved(one, instructions) / self._rates.memory_bandwidth

    def kind(self, one: Instruction) -> Kind:
        """What an instruction of a computation that is not fused is."""
        opcode = one.opcode.removesuffix("-start").removesuffix("-done")
        if opcode in COLLECTIVES:
            return "collective"
        if opcode == "custom-call":
            return "attention" if attention_kernels.is_attention_kernel(one) else "other"
        inner = list(self._inside(one.called("calls"))) if opcode in ("fusion", "async") else [one]
        opcodes = {part.opcode for part in inner} - _FREE
        if opcodes & COLLECTIVES.keys():
            return "collective"
        if opcodes & _PRODUCTS:
            return "attention" if self._of_attention(one) else "matmul"
        if opcodes & _OTHERS:
            return "other"
        if opcodes <= _MOVES:
            return "copy"
        return "attention" if self._of_attention(one) else "elementwise"

    def _of_attention(self, one: Instruction) -> bool:
        return any("/models/attention/" in file for file, _ in self._module.frames(one))

    def _inside(self, computation: str) -> Iterator[Instruction]:
        for one in self._module.computations.get(computation, {}).values():
            yield one
            if one.opcode == "fusion":
                yield from self._inside(one.called("calls"))

    def _add(self, one: Instruction, kind: Kind, seconds: float, times: float, count: int = 1) -> None:
        source, caller = self._source(one)
        spent = self.times.by_line[source, caller, kind]
        spent.seconds += seconds * times
        spent.count += count * times

    def _source(self, one: Instruction) -> tuple[str, str]:
        frames = self._module.frames(one)
        if not frames:
            for part in reversed(list(self._inside(one.called("calls")))):
                if frames := self._module.frames(part):
                    break
        if not frames:
            return "", ""
        own = frames[0][0]
        caller = next((frame for frame in frames if frame[0] != own), None)
        return _place(*frames[0]), "" if caller is None else _place(*caller)


def _place(file: str, line: int) -> str:
    for mark, kept in (("/site-packages/", ""), ("/scaling/", "scaling/")):
        _, found, after = file.rpartition(mark)
        if found:
            return f"{kept}{after}:{line}"
    return f"{file.rpartition('/')[2]}:{line}"


def _started(one: Instruction) -> str:
    return one.operands[0].partition("#")[0] if one.operands else ""


def _moved(one: Instruction, instructions: dict[str, Instruction]) -> float:
    """Bytes that an instruction reads and writes, where the compiler does not price it."""
    out = type_bytes(one.type)
    read = [type_bytes(operand_type(instructions, name)) for name in one.operands]
    if one.opcode == "dynamic-update-slice":
        return 2 * read[1]
    if one.opcode == "dynamic-slice" or "gather" in one.name:
        return 2 * out
    if "AllocateBuffer" in one.rest:
        return 0
    return out + sum(read)
