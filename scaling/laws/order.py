"""The canonical order of points: a fit must not depend on the order in which rows were written."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.points import Points

NAMES = ("groups", "labels")  # compared last, after everything that was measured
WHOLE = ("dropped", "notes", "doubts")  # of all rows together
POSITION = re.compile(r"line \d+")  # the name of a CSV row that has none


def canonical(points: Points) -> Points:
    """The points sorted by their numbers, then by their other columns, then by their names.

    Rows that agree in all of these are interchangeable, so every permutation of the rows gives the same
    points. A name that is only a line number changes with the order; such a row is named by its numbers.
    """
    named = {name: _named(points, getattr(points, name)) for name in NAMES}
    numbers: list[NDArray[Any]] = []
    texts: list[NDArray[Any]] = []
    for field in fields(points):
        value = named.get(field.name, getattr(points, field.name))
        if isinstance(value, np.ndarray):
            numbers.append(value)
        elif isinstance(value, Mapping) and field.name == "columns":
            texts = [_codes(value[name]) for name in sorted(value)] + texts
        elif isinstance(value, list | tuple) and field.name not in WHOLE:
            texts.insert(len(texts) if field.name in NAMES else 0, _codes(value))
    order = np.lexsort((*reversed(texts), *reversed(numbers)))  # the last key is the first to decide
    out = points.subset(order.tolist())
    groups, labels = (_distinct(named[name], getattr(points, name), order) for name in NAMES)
    return replace(out, groups=groups, labels=labels)


def _codes(values: Sequence[Any]) -> NDArray[np.int64]:
    return np.unique([str(one) for one in values], return_inverse=True)[1]


def _named(points: Points, names: Sequence[str]) -> list[str]:
    """`names`, with one made of its numbers for each row that has only a line."""
    made = (f"params {n:.4g}, tokens {d:.4g}" for n, d in zip(points.params, points.tokens, strict=True))
    return [new if POSITION.fullmatch(name) else name for name, new in zip(names, made, strict=True)]


def _distinct(names: Sequence[str], given: Sequence[str], order: NDArray[np.int64]) -> tuple[str, ...]:
    """`names` in `order`; of made ones that are equal, all but the first are numbered."""
    seen: Counter[str] = Counter()
    out = []
    for i in order:
        name = names[i]
        if name != given[i]:
            seen[name] += 1
            name += f" ({seen[name]})" * (seen[name] > 1)
        out.append(name)
    return tuple(out)
