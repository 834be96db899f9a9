"""Where the time of a compiled step goes, by the compiler's own cost model.

The TPU compiler prints how many cycles it expects of every fusion. A program's instructions are in the order
in which they run, so a step takes their sum, each as often as its loops run, and what it waits for: a
collective or a copy that has been started runs on links or memory until something waits for its end. What the
compiler does not price (collectives, kernels, gathers) is priced by bytes and FLOPs.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scaling.config.devices import Devices
from scaling.config.record import Profile, ProfileLine, Roofline
from scaling.parallel import attention_kernels
from scaling.parallel.hlo import Instruction, Module, operand_type, parse, type_bytes
from scaling.parallel.links import Place
from scaling.parallel.loops import Value, branch, evaluate, states, trip_count, unchanged
from scaling.parallel.operations import (
    COLLECTIVES,
    FREE,
    KINDS,
    Kind,
    inside,
    kind_beside_collective,
    kind_of,
    moved_bytes,
    product_flops,
    source_of,
    spread_collective,
)
from scaling.parallel.rates import Rates


def profile_program(
    text: str, devices: Devices, where: Sequence[Place] | None = None, top: int = 20
) -> Profile:
    """Where the time of a compiled program goes on one device.

    Args:
        text: the compiler's print: for TPU the final one, `*.after_codegen.txt` of `xla_dump_to`, from a
            compile at full effort with `xla_dump_large_constants` (the masks of attention kernels); for GPU
            `compiled.as_text()`.
        devices: what the program was compiled for.
        where: the places of the devices by their numbers in the program; by default in order of the topology.
        top: how many source lines are reported.

    Raises:
        ValueError: not the text of a compiled program, or a device whose compiler estimates no time.
    """
    module = parse(text)
    if not module.entry:
        raise ValueError("no ENTRY computation: not the text of a compiled program")
    module.device = devices.count - 1  # of a causal mask that is split over devices, the last has the most
    walk = _Walk(module, Rates(devices, where))
    walk.run(module.entry, [], 1)
    total = sum(spent.seconds for spent in walk.by_line.values())
    by_kind = dict.fromkeys(KINDS, 0.0)
    for (_, _, kind), spent in walk.by_line.items():
        by_kind[kind] += spent.seconds
    lines = sorted(walk.by_line.items(), key=lambda item: (-item[1].seconds, item[0]))
    return Profile(
        step_seconds=total,
        clock_hz=walk.rates.clock_hz,
        cycles=None if walk.rates.clock_hz is None else total * walk.rates.clock_hz,
        by_kind={str(kind): seconds for kind, seconds in by_kind.items()},
        top=tuple(
            ProfileLine(
                source=source,
                caller=caller,
                kind=kind,
                seconds=spent.seconds,
                share=spent.seconds / total if total else 0.0,
                count=round(spent.count),
            )
            for (source, caller, kind), spent in lines[:top]
        ),
        collective_seconds=walk.collective_seconds,
        roofline=Roofline(
            compute_seconds=walk.compute_seconds,
            memory_seconds=walk.memory_seconds,
            step_seconds=walk.roofline_seconds + by_kind["collective"],
        ),
        priced_by_compiler=walk.priced_seconds / total if total else 0.0,
        notes=(*walk.rates.notes(), *dict.fromkeys(walk.notes)),
    )


@dataclass
class _Spent:
    seconds: float = 0.0
    count: float = 0.0


@dataclass
class _Timeline:
    """One run of a computation: the time so far, and what has been started."""

    now: float = 0.0
    # When what was started and not yet waited for ends, and what it is.
    ends: dict[str, tuple[float, Instruction]] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)  # collectives of which a part has run
    free: dict[str, float] = field(default_factory=dict)  # when links or memory have done what was started

    def start(self, name: str, resource: str, seconds: float, one: Instruction) -> None:
        end = max(self.now, self.free.get(resource, 0.0)) + seconds
        self.free[resource] = end
        self.ends[name] = end, one

    def wait(self, name: str, one: Instruction) -> tuple[float, Instruction]:
        """Seconds until something that was started has ended, and what that is; itself if it is unknown."""
        end, started = self.ends.pop(name, (self.now, one))
        waited = max(0.0, end - self.now)
        self.now += waited
        return waited, started


class _Walk:
    """Adds up a program."""

    def __init__(self, module: Module, rates: Rates) -> None:
        self._module, self.rates = module, rates
        self.by_line: dict[tuple[str, str, Kind], _Spent] = defaultdict(_Spent)
        self.collective_seconds = self.compute_seconds = self.memory_seconds = self.roofline_seconds = 0.0
        self.priced_seconds = 0.0
        self.notes: list[str] = []

    def run(
        self, computation: str, arguments: Sequence[Value], times: float, met: Iterable[str] = ()
    ) -> float:
        """Seconds of one run of a computation; what it spends is added `times` times.

        `met` names collectives that the caller has started and this may run a part of.
        """
        line = _Timeline(met=set(met))
        for one in self._module.computations.get(computation, {}).values():
            if one.opcode in FREE:
                continue
            match one.opcode:
                case "while":
                    line.now += self._loop(line, computation, one, arguments, times)
                case "conditional":
                    line.now += self._branches(line, computation, one, arguments, times)
                case "call":
                    given = self._given(computation, one.operands, arguments)
                    line.now += self.run(one.called("to_apply"), given, times, line.met)
                case opcode if opcode.endswith("-start"):
                    resource, seconds = self._started(computation, one)
                    line.start(one.name, resource, seconds, one)
                    self._add(one, kind_of(self._module, one), 0.0, times)
                    if resource.startswith("links"):
                        self.collective_seconds += seconds * times
                case opcode if opcode.endswith("-update"):
                    line.ends[one.name] = line.ends.pop(_name(one), (line.now, one))
                case opcode if opcode.endswith("-done"):
                    waited, started = line.wait(_name(one), one)
                    self._add(started, kind_of(self._module, started), waited, times, count=0)
                case _:
                    self._operation(line, computation, one, arguments, times)
        # What nothing here waits for has ended when the next run needs it.
        for name, (end, one) in list(line.ends.items()):
            if end > line.now:
                waited, _ = line.wait(name, one)
                self._add(one, kind_of(self._module, one), waited, times, count=0)
        return line.now

    def _given(self, computation: str, names: Sequence[str], arguments: Sequence[Value]) -> list[Value]:
        return [evaluate(self._module, computation, name, arguments) for name in names]

    def _loop(
        self, line: _Timeline, computation: str, one: Instruction, arguments: Sequence[Value], times: float
    ) -> float:
        count = trip_count(self._module, computation, one, arguments)
        if count is None:
            self.notes.append(f"loop {one.name}: how often it runs is not in the program; counted once")
        n = 1 if count is None else count
        body = one.called("body")
        state = unchanged(self._module, computation, one, arguments)
        varying = self._varying(body, state)
        if count is None or not varying:
            return n * self.run(body, [state], n * times, line.met)
        # Iterations differ: those that take the same branches, and loop as often, are counted together.
        alike: Counter[tuple[Value, ...]] = Counter()
        example: dict[tuple[Value, ...], Value] = {}
        for current in states(self._module, computation, one, arguments, n):
            choice = tuple(self._choice(body, inner, current) for inner in varying)
            alike[choice] += 1
            example.setdefault(choice, current)
        return sum(
            often * self.run(body, [example[key]], often * times, line.met) for key, often in alike.items()
        )

    def _varying(self, body: str, state: Value) -> list[Instruction]:
        """What an iteration decides on its own: branches, and loops that do not always run as often."""
        return [
            one
            for one in self._module.computations.get(body, {}).values()
            if one.opcode in ("conditional", "while") and self._choice(body, one, state) is None
        ]

    def _choice(self, body: str, one: Instruction, state: Value) -> Value:
        if one.opcode == "while":
            return trip_count(self._module, body, one, [state])
        return evaluate(self._module, body, one.operands[0], [state])

    def _branches(
        self, line: _Timeline, computation: str, one: Instruction, arguments: Sequence[Value], times: float
    ) -> float:
        names = one.branches()
        which, *operands = self._given(computation, one.operands, arguments)
        chosen = branch(one, which)
        if chosen is not None:
            return self.run(names[chosen], [operands[chosen]], times, line.met)
        self.notes.append(
            f"branches of {one.name}: which one runs is not in the program; counted equally often"
        )
        share = 1 / len(names)
        pairs = zip(names, operands, strict=False)
        return sum(share * self.run(name, [operand], share * times, line.met) for name, operand in pairs)

    def _part(
        self, line: _Timeline, computation: str, one: Instruction, part: Instruction, times: float
    ) -> None:
        """A part of a collective that is spread over several fusions."""
        key = f"channel {part.number('channel_id')}"
        first = key not in line.met
        if first:
            line.met.add(key)
            seconds = self._exchange(computation, one)
            line.start(key, f"links {self.rates.groups_of(part)}", seconds, part)
            self.collective_seconds += seconds * times
            self._add(part, "collective", 0.0, times)
        kind = kind_beside_collective(self._module, one)
        if kind is not None:
            flops = product_flops(self._module, computation, one)
            # Its operands include what is exchanged, so that its own bytes are not known.
            line.now += self._spend(one, kind, flops, 0.0, times)
        elif not first:
            self._add(part, "collective", line.wait(key, part)[0], times, count=0)

    def _operation(
        self, line: _Timeline, computation: str, one: Instruction, arguments: Sequence[Value], times: float
    ) -> None:
        """An instruction that the step waits for."""
        kind = kind_of(self._module, one)
        if kind == "collective":
            if (part := spread_collective(self._module, one)) is not None:
                self._part(line, computation, one, part, times)
                return
            seconds = self._exchange(computation, one)
            self.collective_seconds += seconds * times
            self._add(one, kind, seconds, times)
            line.now += seconds
        elif attention_kernels.is_attention_kernel(one):
            given = self._given(computation, one.operands, arguments)
            work = attention_kernels.work(one, self._module.computations[computation], given)
            if not work.masked:
                self.notes.append("an attention mask is not in the program; its kernel is counted in full")
            line.now += self._spend(one, kind, work.flops, work.bytes, times, self.rates.kernel(work))
        else:
            flops = product_flops(self._module, computation, one)
            line.now += self._spend(one, kind, flops, moved_bytes(self._module, computation, one), times)

    def _spend(
        self,
        one: Instruction,
        kind: Kind,
        flops: float,
        moved: float,
        times: float,
        seconds: float | None = None,
    ) -> float:
        """Seconds of work: as given, as the compiler prices it, or at the device's rates."""
        priced = self.rates.priced(one)
        if seconds is None:
            seconds = self.rates.operation(flops, moved) if priced is None else priced
            self.priced_seconds += 0.0 if priced is None else priced * times
        compute, memory = self.rates.ideal(flops, moved)
        self.compute_seconds += compute * times
        self.memory_seconds += memory * times
        self.roofline_seconds += max(compute, memory) * times
        self._add(one, kind, seconds, times)
        return seconds

    def _started(self, computation: str, one: Instruction) -> tuple[str, float]:
        """What an asynchronous instruction runs on, and for how many seconds."""
        if kind_of(self._module, one) == "collective":
            parts = [one, *inside(self._module, one)]
            exchanges = [part for part in parts if part.opcode.removesuffix("-start") in COLLECTIVES]
            # Other groups use other links, and the two directions of a ring are separate.
            return f"links {self.rates.groups_of(exchanges[0])}", self._exchange(computation, one)
        if one.opcode == "copy-start":
            moved = type_bytes(one.type) / 2  # of its destination and its source
        else:
            moved = moved_bytes(self._module, computation, one)
        return "memory", self.rates.ideal(0.0, moved)[1]

    def _exchange(self, computation: str, one: Instruction) -> float:
        """Seconds on links of the collectives that an instruction is or holds."""
        opcode = one.opcode.removesuffix("-start")
        if opcode in COLLECTIVES:
            instructions = self._module.computations[computation]
            read = sum(type_bytes(operand_type(instructions, name)) for name in one.operands)
            made = type_bytes(one.type) - (read if one.opcode == "all-gather-start" else 0)
            return self.rates.collective(one, COLLECTIVES[opcode], made if opcode == "all-gather" else read)
        names = [one.called("calls"), *one.listed("called_computations")]
        return sum(
            self._exchange(name, part)
            for name in names
            for part in self._module.computations.get(name, {}).values()
        )

    def _add(self, one: Instruction, kind: Kind, seconds: float, times: float, count: int = 1) -> None:
        source, caller = source_of(self._module, one)
        spent = self.by_line[source, caller, kind]
        spent.seconds += seconds * times
        spent.count += count * times


def _name(one: Instruction) -> str:
    """The instruction that a done or an update belongs to."""
    return one.operands[0].partition("#")[0] if one.operands else ""
