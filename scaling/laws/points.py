"""The points a law is fitted to: finished training budgets, their parameters, tokens, compute and loss."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.record import FLOP_WORDS, PARAM_WORDS, TokenizerInfo
from scaling.laws.forms.critical_batch import KAPLAN_BATCH
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

Floats = NDArray[np.float64]
Where = Mapping[str, tuple[str, ...]]  # column -> the values accepted

NATS_PER_TOKEN = "nats per token"
BITS_PER_BYTE = "bits per byte"
_WORDS: dict[Any, str] = {**PARAM_WORDS, **FLOP_WORDS}

NAMES = ("groups", "labels")  # compared last, after everything that was measured
WHOLE = ("dropped", "notes", "doubts")  # of all rows together


@dataclass(frozen=True)
class Count:
    """How N or C was counted: by a convention, or by whoever wrote a column of a table.

    Both mean a column whose empty cells are filled by the convention.
    """

    convention: str | None = None  # a `ParamCounting` or `FlopCounting`
    column: str | None = None
    table: str | None = None  # the file name of the column's table; None for several tables

    def __str__(self) -> str:
        words = _WORDS.get(self.convention, "")
        if self.column is None:
            return words
        table = f" of {self.table}" if self.table else ""
        filled = f", {words} where it is empty" if words else ""
        return f"column {self.column}{table}{filled}"


@dataclass(frozen=True)
class Points:
    """n finished training budgets; every array is (n,) float64.

    `groups` names the run of each point: points of one trunk share their noise and stay together in every
    resample and every hold-out. `counts` says how N and C were counted. `loss_unit` is the unit of every
    loss, and `tokenizers` the tokenizer of each point, None if it is not known. `columns` keeps the other
    columns of the source as text, by name: rows are selected by them (`scaling.laws.read.select`), and they
    show whether losses can be compared (`scaling.laws.read.comparable`).
    """

    params: Floats
    tokens: Floats
    flops: Floats
    loss: Floats  # in `loss_unit`
    weight: Floats
    groups: tuple[str, ...]
    labels: tuple[str, ...]
    dataset: tuple[str, ...]
    unique_tokens: Floats | None
    counts: Mapping[str, Count]  # params, flops
    source: str
    error: Floats | None = None  # average over tasks
    learning_rate: Floats | None = None
    batch_tokens: Floats | None = None  # tokens per step
    min_steps: Floats | None = None  # S_min of Kaplan et al. 2020
    final: tuple[bool, ...] | None = None  # whether a loss was measured at the end of its schedule
    seeds: tuple[str, ...] | None = None
    recipes: tuple[str, ...] | None = None  # equal for runs that differ only in their seed
    dropped: tuple[str, ...] = ()  # rows without a measurement, left out by `force`
    loss_unit: str = NATS_PER_TOKEN
    tokenizers: tuple[TokenizerInfo | None, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # choices made in reading the source: units, spellings
    doubts: tuple[str, ...] = ()  # implausible units, read as they are by `force`
    places: tuple[str, ...] | None = (
        None  # the line or row of each point in its source, its name if it has none
    )

    def __len__(self) -> int:
        return len(self.loss)

    def subset(self, mask: NDArray[np.bool_] | Sequence[int]) -> "Points":
        """The points that a boolean mask or an index array selects, in that order."""
        index = np.arange(len(self))[mask]
        changed: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in ("dropped", "notes", "doubts"):
                changed[one.name] = value
            elif isinstance(value, np.ndarray):
                changed[one.name] = value[index]
            elif isinstance(value, tuple):
                changed[one.name] = tuple(value[i] for i in index)
            elif one.name == "columns":
                changed[one.name] = {name: tuple(cells[i] for i in index) for name, cells in value.items()}
            else:
                changed[one.name] = value
        return Points(**changed)

    @property
    def counting(self) -> dict[str, str]:
        """What N and C count, in words."""
        return {name: str(count) for name, count in self.counts.items()}

    @property
    def conventions(self) -> dict[str, str | None]:
        """The conventions by which N and C were counted; None for a column of a table."""
        return {name: None if one.column else one.convention for name, one in self.counts.items()}

    @property
    def tokenizer(self) -> TokenizerInfo | None:
        """The tokenizer of all points; None if it is not known, or they differ.

        If only the measured bytes per token differ, as between validation sets, it has their mean.
        """
        known = set(self.tokenizers or (None,))
        first = next(iter(known))
        if None in known or first is None:
            return None
        sizes = [one.bytes_per_token for one in known if one is not None]
        if len({one.model_copy(update={"bytes_per_token": None}) for one in known if one is not None}) > 1:
            return None
        measured = [size for size in sizes if size is not None]
        return first.model_copy(
            update={"bytes_per_token": float(np.mean(sorted(measured))) if measured else None}
        )

    @property
    def corpus(self) -> str | None:
        """The dataset of all points; None if it is not named, or they differ."""
        names = set(self.dataset)
        return names.pop() or None if len(names) == 1 else None

    def column(self, name: str) -> Floats:
        """(n,) a variable or target of a law, by its name.

        Without unique tokens, no token was repeated; without S_min, it follows from the batch size (Kaplan
        et al. 2020, equations 1.4 and 5.4, with their constants).

        Raises:
            BadInputError: the points lack it.
        """
        values = getattr(self, name)
        if values is None:
            values = np.full(len(self), np.nan)
        if name == "unique_tokens":
            return np.where(np.isnan(values), self.tokens, np.minimum(values, self.tokens))
        if name == "min_steps" and np.isnan(values).any():
            derived = KAPLAN_BATCH.min_steps(self.tokens, self.column("batch_tokens"), self.loss)
            return np.where(np.isnan(values), derived, values)
        if np.isnan(values).any():
            lacking = int(np.isnan(values).sum())
            raise BadInputError(
                f"{self.source}: {name} is missing for {lacking} of {len(self)} points; "
                f"the law needs it: give a CSV with a column {name}"
            )
        return values

    def ranges(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """The least and largest value of each named column."""
        columns = {name: self.column(name) for name in names}
        return {name: (float(values.min()), float(values.max())) for name, values in columns.items()}

    def group_index(self) -> NDArray[np.int64]:
        """(n,) number of each point's group, groups numbered in the order they first appear."""
        order = {name: i for i, name in enumerate(dict.fromkeys(self.groups))}
        return np.array([order[name] for name in self.groups], np.int64)


def weighted(points: Points) -> Points:
    """The points with weights of mean 1, without those of weight 0.

    A weight is the inverse variance of a point's log loss, up to a factor that all points share: 4 for a loss
    whose standard deviation is half that of the others. It is no number of runs: a run that was repeated is
    as many rows.

    Raises:
        BadInputError: a weight is negative or no number, or all are 0.
    """
    weight = points.weight
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        i = int(wrong[0])
        raise BadInputError(
            f"{points.source}: weight = {weight[i]:g} of {points.labels[i]} is not accepted; give the "
            "inverse variance of the loss, up to a common factor, or leave the column out"
        )
    used = weight > 0
    if not used.any():
        raise BadInputError(
            f"{points.source}: every weight is 0; give positive weights, or leave the column out"
        )
    if not used.all():
        points = points.subset(used)
        note = f"of weight 0 and left out: {plural(int((~used).sum()), 'point')}"
        points = replace(points, notes=(*points.notes, note))
    return replace(points, weight=points.weight / points.weight.mean())


def canonical(points: Points) -> Points:
    """The points sorted by their numbers, then by their other columns, then by their names.

    Rows that agree in all of these are interchangeable, so every permutation of the rows gives the same
    points. A row whose only name is its place is named by its numbers, because places depend on the order.
    """
    named = {name: _named(points, getattr(points, name)) for name in NAMES}
    numbers: list[NDArray[Any]] = []
    texts: list[NDArray[Any]] = []
    for one in fields(points):
        value = named.get(one.name, getattr(points, one.name))
        if isinstance(value, np.ndarray):
            numbers.append(value)
        elif isinstance(value, Mapping) and one.name == "columns":
            texts = [_codes(value[name]) for name in sorted(value)] + texts
        elif isinstance(value, list | tuple) and one.name not in (*WHOLE, "places"):
            texts.insert(len(texts) if one.name in NAMES else 0, _codes(value))
    order = np.lexsort((*reversed(texts), *reversed(numbers)))  # the last key is the first to decide
    out = points.subset(order.tolist())
    groups, labels = (_distinct(named[name], getattr(points, name), order) for name in NAMES)
    return replace(out, groups=groups, labels=labels, places=None)


def _codes(values: Sequence[Any]) -> NDArray[np.int64]:
    return np.unique([str(one) for one in values], return_inverse=True)[1]


def _named(points: Points, names: Sequence[str]) -> list[str]:
    """`names`, with a name made of its numbers for each row whose name is its place."""
    if points.places is None:
        return list(names)
    made = (f"params {n:.4g}, tokens {d:.4g}" for n, d in zip(points.params, points.tokens, strict=True))
    return [
        new if name == place else name for name, new, place in zip(names, made, points.places, strict=True)
    ]


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
