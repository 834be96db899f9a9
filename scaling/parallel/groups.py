"""Which devices take part in a collective, as a compiled program prints it."""

import itertools
import math
import re

_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})?\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\]([^{]*)\{([^}]*)\}")
_AXIS = re.compile(r"'([^']*)'=(\d+)")
_PART = re.compile(r"'([^']*)'(?::\((\d+)\)(\d+))?")


def groups(attributes: str, devices: int) -> list[tuple[int, ...]]:
    """The groups of devices that exchange with each other, by their numbers in the program.

    For a permutation they are pairs of source and target. All devices are one group where none is printed.

    Three prints exist: lists of numbers, `[2,4]<=[8]` (rows of an array of numbers, transposed where `T` says
    how), and axes of a mesh, where `'x':(2)4` is the part of axis x of size 4 after a part of size 2.
    """
    if (match := _MESH.search(attributes)) is not None:
        return _of_mesh(match)
    if (match := _IOTA.search(attributes)) is not None:
        shape = _numbers(match[1])
        order = _arranged(_numbers(match[2]), _numbers(match[3]) if match[3] else None)
        return _rows(order, shape[-1])
    if (match := _LISTED.search(attributes)) is not None and match[1]:
        return [tuple(_numbers(group)) for group in re.findall(r"\{([\d, ]*)\}", match[1])]
    return [tuple(range(devices))]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.replace(" ", "").split(",") if number]


def _rows(order: list[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]


def _arranged(shape: list[int], axes: list[int] | None) -> list[int]:
    """The numbers of an array in order of its axes once these are transposed."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    axes = list(range(len(shape))) if axes is None else axes
    places = itertools.product(*(range(shape[axis]) for axis in axes))
    return [sum(i * strides[axis] for i, axis in zip(place, axes, strict=True)) for place in places]


def _of_mesh(match: re.Match[str]) -> list[tuple[int, ...]]:
    sizes = {name: int(size) for name, size in _AXIS.findall(match[1])}
    numbers = list(range(math.prod(sizes.values())))
    if (order := re.search(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", match[2])) is not None:
        numbers = _arranged(_numbers(order[2]), _numbers(order[3]) if order[3] else None)
    # Each axis as the part before, the part that takes part, and the part after it.
    shape: list[int] = []
    taking: list[int] = []
    parts = {name: (before, size) for name, before, size in _PART.findall(match[3])}
    for name, size in sizes.items():
        before, part = parts.get(name, ("", ""))
        lead = int(before) if before else 1
        own = int(part) if part else size if name in parts else 1
        shape += [lead, own, size // (lead * own)]
        taking.append(len(shape) - 2)
    left = [axis for axis in range(len(shape)) if axis not in taking]
    order_of = _arranged(shape, left + taking)
    return _rows([numbers[i] for i in order_of], math.prod(shape[axis] for axis in taking))
