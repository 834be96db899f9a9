"""FLOPs of the matrix products of a traced program, counted where loops still say how often they run.

XLA's `cost_analysis()` counts the body of a scan once, counts what the compiler made of the program, and is
per device. A jaxpr is the program as written, over all devices, and its scans carry their length.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr

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
