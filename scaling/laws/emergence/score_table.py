"""A table of scores: one metric of one model per row."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.record import Evaluation
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Key = tuple[str, str, int]  # task, metric, shots

SCALES = ("flops", "params", "loss", "step")  # possible horizontal axes, best first
_ABOUT = ("source", "notes")  # of the table, not of its rows


@dataclass(frozen=True)
class ScoreTable:
    """R rows; every array is (R,). NaN is a value that the source does not have.

    `score` is in the unit of the metric: a share between 0 and 1, or nats. `flops` is training compute,
    `loss` the pre-training loss in nats per token, `n` the number of items, `low` and `high` the 95% interval
    of the score. `group` names the run: rows of one run are checkpoints of one training. `notes` are
    conversions and assumptions made while reading.
    """

    task: tuple[str, ...]
    metric: tuple[str, ...]
    group: tuple[str, ...]
    shots: Ints
    seed: Ints
    score: Floats
    params: Floats
    flops: Floats
    loss: Floats
    step: Floats
    n: Floats
    chance: Floats
    answer_tokens: Floats
    low: Floats
    high: Floats
    source: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.score)

    def subset(self, mask: NDArray[np.bool_] | Sequence[int]) -> "ScoreTable":
        """The rows of a boolean mask or an index array."""
        index = np.arange(len(self))[mask]
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                changed[field.name] = value[index]
            elif isinstance(value, tuple) and field.name != "notes":
                changed[field.name] = tuple(value[i] for i in index)
            else:
                changed[field.name] = value
        return ScoreTable(**changed)

    def combinations(self) -> tuple[Key, ...]:
        """(task, metric, shots) in the order of first appearance."""
        return tuple(dict.fromkeys(self._key(i) for i in range(len(self))))

    def of(self, key: Key) -> "ScoreTable":
        """The rows of one key."""
        return self.subset(np.array([self._key(i) == key for i in range(len(self))], bool))

    def _key(self, i: int) -> Key:
        return self.task[i], self.metric[i], int(self.shots[i])

    def in_order(self) -> "ScoreTable":
        """The same rows sorted by size, checkpoint and seed within each task, metric and shots.

        Sums are then equal to the last bit for every order of the source's rows.
        """
        place = {key: i for i, key in enumerate(self.combinations())}
        columns = (self.score, self.seed, self.step, self.loss, self.flops, self.params)
        keys = [place[self._key(i)] for i in range(len(self))]
        return self.subset(np.lexsort(np.array([*columns, keys], float)).tolist())

    def scale(self, against: str) -> Floats:
        """(R,) params, flops, loss or step.

        Raises:
            BadInputError: not a scale, or rows lack it.
        """
        if against not in SCALES:
            raise BadInputError(f"against={against!r} is not a scale; use {', '.join(SCALES)}")
        values: Floats = getattr(self, against)
        lacking = int((~np.isfinite(values)).sum())
        if lacking:
            known = [s for s in SCALES if np.isfinite(getattr(self, s)).all()]
            raise BadInputError(
                f"{self.source}: against={against}: {lacking} of {len(self)} rows have no {against}; "
                f"use {' or '.join(known) or 'a source that gives it'}"
            )
        return values

    def best_scale(self) -> str:
        """The first of `SCALES` that every row has."""
        for name in SCALES:
            if np.isfinite(getattr(self, name)).all():
                return name
        raise BadInputError(f"{self.source}: no column of {', '.join(SCALES)} is complete; complete one")

    def last_steps(self) -> "ScoreTable":
        """Only the last checkpoint of each run: earlier ones share its noise, and have another D."""
        last: dict[tuple[str, Key], float] = {}
        for i in range(len(self)):
            where = self.group[i], self._key(i)
            last[where] = max(last.get(where, -math.inf), _or_zero(self.step[i]))
        kept = [i for i in range(len(self)) if _or_zero(self.step[i]) == last[self.group[i], self._key(i)]]
        return self.subset(kept)

    def choose(
        self,
        tasks: Sequence[str] | None = None,
        shots: Sequence[int] | None = None,
        metrics: Sequence[str] | None = None,
    ) -> "ScoreTable":
        """The rows of some tasks, shots and metrics; None is all.

        Raises:
            BadInputError: one of them is not in the table.
        """
        for name, wanted, have in (
            ("task", tasks, self.task),
            ("shots", shots, tuple(int(s) for s in self.shots)),
            ("metric", metrics, self.metric),
        ):
            for one in wanted or ():
                if one not in have:
                    known = ", ".join(str(v) for v in dict.fromkeys(have))
                    raise BadInputError(f"{self.source} has no {name} {one!r}; it has {known}")
        chosen = self.subset(
            [
                i
                for i, (task, metric, shot) in enumerate(zip(self.task, self.metric, self.shots, strict=True))
                if (not tasks or task in tasks)
                and (not metrics or metric in metrics)
                and (not shots or int(shot) in shots)
            ]
        )
        if not len(chosen):
            raise BadInputError(f"{self.source} has no scores with these tasks, metrics and shots together")
        return chosen


def with_chance(scores: ScoreTable, given: Mapping[str, float]) -> ScoreTable:
    """The same scores with the chance levels of some tasks replaced.

    Raises:
        BadInputError: a task is not in the table.
    """
    for task in given:
        if task not in scores.task:
            known = ", ".join(dict.fromkeys(scores.task))
            raise BadInputError(f"--chance {task}: {scores.source} has no such task; it has {known}")
    chance = [given.get(task, old) for task, old in zip(scores.task, scores.chance, strict=True)]
    return replace(scores, chance=np.array(chance, np.float64))


def _or_zero(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0


def scores_from_evaluations(
    evaluations: Sequence[Evaluation], source: str, params: str = "non_embedding_with_head"
) -> ScoreTable:
    """A row for each metric of each task of each checkpoint.

    A template other than `plain`, and the family if there are several, become part of the task's name.

    Raises:
        BadInputError: there are no evaluations, or no such count of parameters.
    """
    if not evaluations:
        raise BadInputError(f"{source} has no evals/*.json; run scaling evaluate first")
    several = len({e.family for e in evaluations}) > 1
    rows: dict[str, list[Any]] = {field.name: [] for field in fields(ScoreTable) if field.name not in _ABOUT}
    for evaluation, task, metric, score in _scores(evaluations):
        if params not in evaluation.params:
            known = " | ".join(evaluation.params)
            raise BadInputError(f"params={params!r} is not a counting convention of {source}; use {known}")
        name = task.task if task.template == "plain" else f"{task.task} ({task.template})"
        low, high = score.interval or (math.nan, math.nan)
        for field, value in (
            ("task", f"{name}, {evaluation.family}" if several else name),
            ("metric", metric),
            ("group", evaluation.run),
            ("shots", task.shots),
            ("seed", evaluation.train_seed),
            ("score", score.value),
            ("params", evaluation.params[params]),
            ("flops", evaluation.flops if evaluation.flops > 0 else None),
            ("loss", evaluation.loss),
            ("step", evaluation.step),
            ("n", task.n),
            ("chance", task.chance if _chance_applies(metric, next(iter(task.scores))) else None),
            ("answer_tokens", task.answer_tokens),
            ("low", low),
            ("high", high),
        ):
            rows[field].append(value)
    return as_scores(rows, source)


def _chance_applies(metric: str, first: str) -> bool:
    """Whether a task's chance, that of its first metric, is also that of `metric`."""
    choices = "choice_accuracy"
    return metric == first or (metric.startswith(choices) and first.startswith(choices))


def _scores(evaluations: Sequence[Evaluation]) -> Iterator[tuple[Evaluation, Any, str, Any]]:
    for evaluation in evaluations:
        for task in evaluation.results:
            if task.n:
                for metric, score in task.scores.items():
                    yield evaluation, task, metric, score


def as_scores(rows: dict[str, list[Any]], source: str, notes: tuple[str, ...] = ()) -> ScoreTable:
    """Columns of equal length as a table; None becomes NaN, and missing columns are NaN throughout."""
    count = len(rows["score"])
    columns: dict[str, Any] = {"source": source, "notes": notes}
    for field in fields(ScoreTable):
        name = field.name
        if name in ("task", "metric", "group"):
            columns[name] = tuple(rows[name])
        elif name in ("shots", "seed"):
            columns[name] = np.array(rows.get(name) or [0] * count, np.int64)
        elif name not in _ABOUT:
            values = rows.get(name) or [None] * count
            columns[name] = np.array([math.nan if v is None else v for v in values], np.float64)
    return ScoreTable(**columns)
