"""What a program costs: FLOPs of a traced one, collectives of a compiled one."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr

from scaling.config.record import Collectives, CollectiveTraffic
from scaling.parallel.hlo import Instruction, Module, operand_type, parse, type_bytes
from scaling.parallel.loops import Value, evaluate, trip_count, unchanged

_KINDS = {
    "all-gather": "all_gather",
    "reduce-scatter": "reduce_scatter",
    "all-reduce": "all_reduce",
    "all-to-all": "all_to_all",
    "ragged-all-to-all": "all_to_all",
    "collective-permute": "collective_permute",
}


def count_collectives(text: str) -> tuple[Collectives, tuple[str, ...]]:
    """Collectives of one run of a program on one device, and notes on what could not be read.

    See `CollectiveTraffic` for bytes.

    A start and its done are one. A collective in a loop counts as often as the loop runs, and once where the
    text does not say how often: then a line names the loop.

    Raises:
        ValueError: not the text of a compiled program.
    """
    module = parse(text)
    if not module.entry:
        raise ValueError("no ENTRY computation: not the text of a compiled program")
    counter = _Counter(module)
    counts = dict.fromkeys(Collectives.model_fields, (0, 0))
    for kind, size, times in counter.run(module.entry, [], set()):
        count, total = counts[kind]
        counts[kind] = count + times, total + size * times
    found = Collectives(
        **{kind: CollectiveTraffic(count=n, bytes=size) for kind, (n, size) in counts.items()}
    )
    return found, tuple(dict.fromkeys(counter.notes))


class _Counter:
    def __init__(self, module: Module) -> None:
        self._module = module
        self.notes: list[str] = []

    def run(
        self, computation: str, arguments: Sequence[Value], spread: set[str]
    ) -> Iterator[tuple[str, int, int]]:
        """(kind, bytes, how often) of each collective that one run of a computation runs.

        TPU spreads an asynchronous collective over several fusions, also inside loops that it overlaps;
        all have its channel, and count once. `spread` holds the channels met so far, in the order of the
        schedule.
        """
        instructions = self._module.computations.get(computation, {})
        # A sum over devices of which each keeps its part: how TPU writes a reduce-scatter.
        scattered = "all-reduce-scatter" in computation

        def given(names: Sequence[str]) -> list[Value]:
            return [evaluate(self._module, computation, name, arguments) for name in names]

        for one in instructions.values():
            opcode = one.opcode.removesuffix("-done")
            if opcode in _KINDS:
                if not _met(one, spread):
                    kind = "reduce_scatter" if scattered and opcode == "all-reduce" else _KINDS[opcode]
                    whole = [one.type]
                    if opcode == "reduce-scatter":
                        whole = [operand_type(instructions, name) for name in one.operands]
                    yield kind, sum(map(type_bytes, whole)), 1
            elif opcode == "while":
                state = unchanged(self._module, computation, one, arguments)
                inner = list(self.run(one.called("body"), [state], spread))
                times = self._times(computation, one, arguments) if inner else 0
                yield from ((kind, size, times * n) for kind, size, n in inner)
            elif opcode == "conditional":
                sides = [
                    list(self.run(name, given([operand]), set(spread)))
                    for name, operand in zip(one.branches(), one.operands[1:], strict=False)
                ]
                yield from max(sides, key=lambda side: sum(size * n for _, size, n in side), default=[])
            else:
                for name in _in_place(one):
                    yield from self.run(name, given(one.operands), spread)

    def _times(self, computation: str, loop: Instruction, arguments: Sequence[Value]) -> int:
        times = trip_count(self._module, computation, loop, arguments)
        if times is not None:
            return times
        source = re.search(r'op_name="([^"]*)"', loop.rest)
        self.notes.append(
            f"loop {loop.name}{f' ({source[1]})' if source else ''}: the compiled program does not say how "
            "often it runs; its collectives are counted once"
        )
        return 1


def _in_place(one: Instruction) -> list[str]:
    """The computations that are part of an instruction: fused, called, or run on a unit of their own."""
    if one.opcode not in ("fusion", "call", "async-start", "custom-call"):
        return []
    return [one.called("calls"), one.called("to_apply"), *one.listed("called_computations")]


def _met(instruction: Instruction, spread: set[str]) -> bool:
    """Whether this is one more part of a collective that was counted. Others may share a channel."""
    channel = re.search(r"\bchannel_id=(\d+)", instruction.rest)
    if channel is None or "async_collective_fusion_config" not in instruction.rest:
        return False
    met = channel[1] in spread
    spread.add(channel[1])
    return met


# Matrix products that are not counted here; better refused than taken for nothing.
_UNCOUNTED = frozenset({"ragged_dot", "ragged_dot_general", "scaled_dot"})


def matmul_flops(jaxpr: ClosedJaxpr | Jaxpr) -> float:
    """FLOPs of every matrix product and convolution, two for each multiply-add, over all devices.

    A scan counts its body `length` times, a branch its dearest side, a `shard_map` its body once a shard.
    What is rematerialised is counted as often as it is written.

    Raises:
        ValueError: a `while` loop that multiplies matrices (nothing says how often), or a product of a kind
            that is not counted.
    """
    return float(sum(matmul_flops_by_shape(jaxpr).values()))


def matmul_flops_by_shape(jaxpr: ClosedJaxpr | Jaxpr) -> Counter[str]:
    """FLOPs by operand shapes, as `bf16[8,2048,768] bf16[768,3072]`; see `matmul_flops`."""
    body = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    total: Counter[str] = Counter()
    for equation in body.eqns:
        for shapes, flops in _of_equation(equation).items():
            total[shapes] += flops
    return total


def _of_equation(equation: Any) -> Counter[str]:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _named(equation, _dot(equation))
    if name == "conv_general_dilated":
        return _named(equation, _convolution(equation))
    if name in _UNCOUNTED:
        raise ValueError(f"{name} is not counted")
    if name == "cond":
        branches = [matmul_flops_by_shape(branch) for branch in params["branches"]]
        return max(branches, key=lambda branch: sum(branch.values()))
    inner: Counter[str] = Counter()
    for part in _inner(params):
        inner += matmul_flops_by_shape(part)  # += drops zeros, of which there are none
    if name == "while" and inner:
        raise ValueError("a while loop multiplies matrices: how often it runs is not written in it")
    return Counter({shapes: flops * _times(name, params) for shapes, flops in inner.items()})


def _times(name: str, params: dict[str, Any]) -> int:
    """How often the inner program of an equation runs."""
    if name == "scan":
        return int(params["length"])
    if name == "shard_map":  # inside, shapes are those of one shard
        axes = params["newly_manual_axes"] if "newly_manual_axes" in params else params["manual_axes"]
        return math.prod(params["mesh"].shape[axis] for axis in axes)
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid)
    return 1


def _inner(params: dict[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    """The programs among an equation's parameters: of a call, a checkpoint, a scan, a custom derivative."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, (ClosedJaxpr, Jaxpr)):
                yield item


def _named(equation: Any, flops: int) -> Counter[str]:
    return Counter({" ".join(v.aval.str_short(short_dtypes=True) for v in equation.invars[:2]): flops})


def _dot(equation: Any) -> int:
    """Two for each element of the result and each step of the contraction."""
    (contracting, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracting)


def _convolution(equation: Any) -> int:
    """Two for each element of the result and each weight that reaches it."""
    kernel = equation.invars[1].aval.shape
    outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
