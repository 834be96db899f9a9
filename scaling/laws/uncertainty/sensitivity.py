"""How much a fit depends on choices: delta, sizes and budgets, the data set, the counting of N and C."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats, Form
from scaling.laws.forms.limiting import reported
from scaling.laws.frontier.cost import compute_cost
from scaling.laws.points import Points
from scaling.laws.sections import SensitivityRow
from scaling.laws.solving.optimise import BestFit, refits
from scaling.runtime.suggest import plural

DELTAS = (1e-4, 1e-3, 1e-2, 10.0)  # 10 is beyond every residual: least squares
REACH = 10.0  # predictions are made at this multiple of the largest compute
DATASETS = 8  # with more, they are not left out one by one


@dataclass(frozen=True)
class _Change:
    label: str
    kept: NDArray[np.bool_]


def sensitivity(
    best: BestFit, points: Points, countings: Mapping[str, Points] | None = None
) -> tuple[SensitivityRow, ...]:
    """The law fitted again with one choice changed at a time; the first row is the fit as it is.

    `countings` are the same runs with N or C counted otherwise.
    """
    everything = _Change("as fitted", np.ones(len(points), bool))
    rows = _rows(best, points, [everything, *_left_out(points)])
    deltas: list[SensitivityRow] = []
    for other in DELTAS:
        if not np.isclose(other, best.problem.delta):
            label = "least squares" if other >= 10 else f"delta {other:g}"
            changed = replace(best, problem=replace(best.problem, delta=other))
            deltas += _rows(changed, points, [_Change(label, everything.kept)])
    rows[1:1] = deltas
    for label, counted in (countings or {}).items():
        rows += _rows(best, counted, [_Change(label, np.ones(len(counted), bool))])
    return tuple(rows)


def _left_out(points: Points) -> list[_Change]:
    """Points without a size, the shortest budgets (by tokens per parameter), or a data set."""
    ratio = points.tokens / points.params
    size = np.round(np.log(points.params), 9)
    changes = [
        _Change("without the smallest size", size > size.min()),
        _Change("without the largest size", size < size.max()),
    ]
    shortest = np.array([ratio[i] <= ratio[size == size[i]].min() * (1 + 1e-9) for i in range(len(points))])
    several = np.array([len(np.unique(ratio[size == s].round(6))) > 1 for s in size])
    if (shortest & several).any():
        changes.append(_Change("without the shortest budgets", ~(shortest & several)))
    names = list(dict.fromkeys(points.dataset))
    if 1 < len(names) <= DATASETS:
        data = np.array(points.dataset)
        changes += [_Change(f"only {name or 'no data set'}", data == name) for name in names]
    return changes


def _rows(best: BestFit, points: Points, changes: list[_Change]) -> list[SensitivityRow]:
    """One solve for all changes of one delta and one set of points."""
    form, problem = best.form, best.problem.over(points)
    columns, log_loss = form.log_variables(points), np.log(points.loss)
    weights = np.zeros((len(changes), len(points)))
    refused: list[str | None] = []
    for row, change in zip(weights, changes, strict=True):
        index = np.flatnonzero(change.kept)
        if len(index):
            index = index[form.select(columns[index], log_loss[index])]
        row[index] = points.weight[index]
        refused.append(_cannot(form, columns[index]))
    found = refits(problem, weights, best.theta)
    at, cost = extrapolated(form, points), compute_cost(points)
    largest = float(points.flops.max())
    rows = []
    for change, theta, used, why in zip(changes, found.theta, weights, refused, strict=True):
        base = {
            "change": change.label,
            "n": int((used > 0).sum()),
            "delta": problem.delta,
            "counting": points.counting,
        }
        if why is not None:
            rows.append(SensitivityRow(**base, refused=why))
            continue
        values = form.parameters(theta, problem.reference)
        parameters = {name: float(v) for name, v in zip(form.parameter_names, values, strict=True)}
        present = [v for name, v in parameters.items() if name not in form.absent and v < np.inf]
        where, frontier = dict(at), form.optimum(parameters, cost, largest)
        flops = REACH * largest
        if frontier is not None and np.isfinite(frontier.params(flops)):
            where = {
                "flops": flops,
                "params": float(frontier.params(flops)),
                "tokens": float(frontier.tokens(flops)),
            }
        variables = {name: where[name] for name in form.variables}
        prediction = float(form.predict(parameters, **variables))
        usable = np.isfinite([*present, *where.values(), prediction]).all()
        if not usable:
            rows.append(
                SensitivityRow(**base, refused="the points leave the law free: a parameter is no number")
            )
            continue
        rows.append(
            SensitivityRow(
                **base,
                parameters=reported(form, theta, problem.reference),
                a=None if frontier is None else frontier.a,
                at=where,
                prediction=prediction,
            )
        )
    return rows


def _cannot(form: Form, columns: Floats) -> str | None:
    if len(columns) < form.min_points:
        return f"{plural(len(columns), 'point')}; at least {form.min_points} are needed"
    for name, levels in form.levels(columns).items():
        needed = form.levels_needed(name)
        if levels < needed:
            return f"{plural(levels, 'different value')} of {name}; at least {needed} are needed"
    return None


def extrapolated(form: Form, points: Points) -> dict[str, float]:
    """A point beyond the data: ten times the largest compute, or a tenth below the least loss.

    If two variables share the compute, each has its root.
    """
    scales = [name for name in form.variables if name != "loss"]
    each = REACH ** (1 / max(1, len(scales)))
    out = {}
    for name in form.variables:
        values = points.column(name)
        out[name] = 0.9 * float(values.min()) if name == "loss" else each * float(values.max())
    return out
