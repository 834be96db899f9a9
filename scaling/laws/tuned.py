"""Runs that sweep settings at one size and budget: each bowl enters a fit as one point, at its minimum.

A law of loss in N and D describes tuned runs. Points at one (N, D) that differ in the learning rate or
another setting are a bowl (`scaling.laws.bowls`), of which the law describes the minimum; points that differ
only in their seed stay separate. A law of a setting itself, such as the best learning rate, is fitted to the
place of the minimum. A bowl counts as one run in every resample, together with others that share its runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.bowls import TIE, Vertex, lowest_cell, vertex
from scaling.laws.forms.form import Floats, Form
from scaling.laws.forms.laws import LAWS
from scaling.laws.law import Law
from scaling.laws.points import Points, canonical
from scaling.laws.sections import SweptBowl, SweptRuns
from scaling.laws.settings import SettingValues, arms_of, settings_of, with_learning_rate
from scaling.runtime.suggest import plural

SAME_BUDGET = 0.01  # relative difference of tokens that are one budget, rounded to batches of several sizes
MIN_TRIED = 3  # different values of a setting that can have a minimum inside
SHOWN = 3  # of a list of offenders; the rest is counted


@dataclass(frozen=True)
class Tuned:
    """Points with each bowl as one of them.

    Attributes:
        points: the points that the fit reads.
        swept: what was reduced; None without a bowl.
        edges: reasons to refuse: bowls whose lowest loss is at the first or last setting tried.
        warnings: on points that differ in what is no setting.
        runs: all runs of the bowls, as they were measured; None without a bowl.
    """

    points: Points
    swept: SweptRuns | None = None
    edges: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    runs: Points | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was reduced, for the document."""
        if self.swept is None:
            return ()
        one = self.swept
        as_what = "at the minimum of a parabola through its lowest losses"
        if one.n_by_lowest == one.n_bowls:
            as_what = "its lowest loss, because a parabola needs three settings or more around it"
        elif one.n_by_lowest:
            as_what += (
                f"; {one.n_by_lowest} of them as the lowest loss, because a parabola needs three settings or "
                "more around it"
            )
        return (
            f"{plural(one.n_bowls, 'sweep')} of settings ({', '.join(one.settings)}; {one.n_points} runs): "
            f"each enters the fit as one point, {as_what}",
        )


@dataclass(frozen=True)
class _Bowl:
    """A reduced bowl: its members, the one of lowest loss, and its minimum."""

    members: NDArray[np.int64]
    best: int
    settings: tuple[SettingValues, ...]  # of which `found` has the coordinates
    found: Vertex
    edges: tuple[tuple[str, float, int], ...]  # setting, its value at the edge, and how many were tried


def tuned(points: Points, form: Form) -> Tuned:
    """The points that `form` is fitted to, with one point for each bowl.

    Forms of other targets, such as an error at a loss, describe untuned runs as well: their points are
    unchanged. The weight of a bowl is the inverse variance of its minimum: of the loss, in units of one
    run's; of the place of the minimum, relative to that of the median bowl and at most twice as large.
    """
    if not form.swept and (form.target != "loss" or "loss" in form.variables):
        return Tuned(points)
    target = form.target if form.swept else None
    if target == "learning_rate":
        points = with_learning_rate(points)
    arms, warnings = arms_of(points, _places(points, form, [()] * len(points)))
    bowls = []
    for members in _places(points, form, arms):
        if len(members) > 1 and (bowl := _bowl(points, members, form, target)) is not None:
            bowls.append(bowl)
    if not bowls:
        return Tuned(points, warnings=warnings)
    return Tuned(
        _reduced(points, bowls, target),
        _document(points, bowls, target),
        _edges(points, bowls, target),
        warnings,
        points.subset(np.sort(np.concatenate([bowl.members for bowl in bowls])).tolist()),
    )


def fitted_to(points: Points, law: Law | None) -> Tuned:
    """The points that a law was fitted to, of all `points`; these themselves without a law."""
    if law is None or law.swept is None:
        return Tuned(points)
    return tuned(canonical(points), LAWS[law.law])


def _places(points: Points, form: Form, arms: Sequence[tuple[str, ...]]) -> list[NDArray[np.int64]]:
    """Points that share a budget, by the form's variables, and everything that is not a setting."""
    axes = form.variables if form.swept else ("params", "tokens")
    exact = [points.params] if "params" in axes else []
    for name in ("unique_tokens", *(("min_steps", "batch_tokens") if "min_steps" in form.variables else ())):
        if (values := getattr(points, name)) is not None:
            exact.append(values)
    logs = [np.round(np.log(values), 9).tolist() for values in exact]
    passes = [cells for name, cells in points.columns.items() if name.casefold() == "epochs"]
    rough = points.tokens if "tokens" in axes else points.flops
    order = np.argsort(np.log(rough), kind="stable")
    places: dict[Any, list[list[int]]] = {}
    for i in order.tolist():
        key = (points.dataset[i], arms[i], *(map(repr, (column[i] for column in logs))))
        key += tuple(cells[i] for cells in passes)
        found = places.setdefault(key, [])
        if found and rough[i] <= rough[found[-1][0]] * (1 + SAME_BUDGET):
            found[-1].append(i)
        else:
            found.append([i])
    members = [np.array(sorted(rows)) for one in places.values() for rows in one]
    return sorted(members, key=lambda rows: int(rows[0]))


def _bowl(points: Points, members: NDArray[np.int64], form: Form, target: str | None) -> _Bowl | None:
    """The minimum of a set of points; None if they do not differ in a setting.

    A setting whose best value is the first or last tried is held at that value, and is an edge. Settings that
    are no law's target are no edge for a law of another: their best value is taken as it is.
    """
    held = {"batch_tokens"} if "min_steps" in form.variables else set()
    settings = [one for one in settings_of(points, members) if one.name not in held]
    if form.swept:
        points.column(form.target)  # raises if it is missing
        if "params" not in form.variables and len(np.unique(points.params[members])) > 1:
            settings.append(SettingValues("params", np.log(points.params[members]), "log"))
    tried = {one.name: len(np.unique(one.places)) for one in settings}
    if not settings:
        return None
    losses, weight = points.loss[members], points.weight[members]
    kept = np.ones(len(members), bool)
    edges: list[tuple[str, float, int]] = []
    free = settings
    while free:
        places = np.stack([one.places[kept] for one in free], axis=1)
        cells, means, best = lowest_cell(places, losses[kept], weight[kept])
        at_edge = next((j for j in range(len(free)) if _at_edge(cells[:, j], means, best)), None)
        if at_edge is None:
            break
        one = free[at_edge]
        few = target is not None and tried[one.name] < MIN_TRIED
        value = one.value(float(cells[best, at_edge]))
        if target in (None, one.name) and not few and not one.at_bound(value):
            edges.append((one.name, value, tried[one.name]))
        kept &= one.places == cells[best, at_edge]
        free = [other for other in free if other is not one and len(np.unique(other.places[kept])) > 1]
    places = np.stack([one.places[kept] for one in free], axis=1) if free else np.zeros((kept.sum(), 0))
    found = (
        vertex(places, losses[kept], weight[kept])
        if free
        else Vertex(
            np.empty(0),
            float(np.average(losses[kept], weights=weight[kept])),
            np.empty(0),
            1 / float(weight[kept].sum()),
            False,
        )
    )
    inside = members[kept]
    return _Bowl(members, int(inside[points.loss[inside].argmin()]), tuple(free), found, tuple(edges))


def _at_edge(levels: Floats, means: Floats, best: int) -> bool:
    """Whether the lowest loss is at the first or last level, and at no other."""
    ties = np.unique(levels[means <= means[best] * (1 + TIE)])
    return len(ties) == 1 and bool(ties[0] in (levels.min(), levels.max()) and levels.min() < levels.max())


def _target_variances(bowls: Sequence[_Bowl], target: str) -> Floats:
    """(B,) variance of the place of each minimum in log target; NaN where it is no parabola's."""
    return np.array(
        [
            next((v for one, v in zip(b.settings, b.found.place_variance, strict=True) if one.name == target),
                 np.nan)
            for b in bowls
        ]
    )  # fmt: skip


def _reduced(points: Points, bowls: Sequence[_Bowl], target: str | None) -> Points:
    loss, weight = points.loss.copy(), points.weight.copy()
    fields = {
        name: getattr(points, name).copy()
        for name in ("learning_rate", "batch_tokens")
        if getattr(points, name) is not None
    }
    noise = _noise(bowls)
    final = None if points.final is None else list(points.final)
    for bowl in bowls:
        loss[bowl.best] = _unsagged(bowl, noise)
        if final is not None:
            final[bowl.best] = all(points.final[i] for i in bowl.members)  # type: ignore[index]
        for name, value in _minimum(bowl).items():
            if name in fields:
                fields[name][bowl.best] = value
    best = np.array([bowl.best for bowl in bowls])
    if target is None:
        weight[best] = [1 / bowl.found.loss_variance for bowl in bowls]
    else:
        variances = _target_variances(bowls, target)
        if np.isfinite(variances).any():
            middle = float(np.nanmedian(variances))
            weight[best] *= 2 * middle / (middle + np.where(np.isnan(variances), middle, variances))
    absent = np.zeros(len(points), bool)
    for bowl in bowls:
        absent[bowl.members] = True
    absent[best] = False
    return replace(
        points,
        loss=loss,
        weight=weight,
        groups=_shared_groups(points, bowls),
        final=None if final is None else tuple(final),
        **fields,
    ).subset(~absent)


def _shared_groups(points: Points, bowls: Sequence[_Bowl]) -> tuple[str, ...]:
    """Groups in which all runs of a bowl, and of all bowls that share a run, are one."""
    parent = {name: name for name in points.groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for bowl in bowls:
        first, *rest = sorted({root(points.groups[i]) for i in bowl.members})
        for other in rest:
            parent[other] = first
    return tuple(root(name) for name in points.groups)


def _minimum(bowl: _Bowl) -> dict[str, float]:
    """The settings at the minimum, by name."""
    return {one.name: one.value(float(x)) for one, x in zip(bowl.settings, bowl.found.place, strict=True)}


def _noise(bowls: Sequence[_Bowl]) -> float | None:
    """Standard deviation of relative losses about the parabolas; None if these pass through all losses."""
    freedom = sum(bowl.found.freedom for bowl in bowls)
    return float(np.sqrt(sum(bowl.found.squares for bowl in bowls) / freedom)) if freedom else None


def _unsagged(bowl: _Bowl, noise: float | None) -> float:
    """The loss at a minimum, less the mean effect of the noise on it, which is at most one run's noise."""
    sigma = noise or 0.0
    return bowl.found.loss * (1 + min(sigma**2 * bowl.found.sag, sigma))


def _document(points: Points, bowls: Sequence[_Bowl], target: str | None) -> SweptRuns:
    noise = _noise(bowls)
    names: dict[str, None] = {}
    rows = []
    for bowl in bowls:
        names |= dict.fromkeys(one.name for one in (*bowl.settings,))
        names |= dict.fromkeys(name for name, _, _ in bowl.edges)
        errors = {
            one.name: None if noise is None or np.isnan(v) else noise * float(np.sqrt(v))
            for one, v in zip(bowl.settings, bowl.found.place_variance, strict=True)
        }
        rows.append(
            SweptBowl(
                params=float(points.params[bowl.best]),
                tokens=float(points.tokens[bowl.best]),
                n=len(bowl.members),
                by="vertex" if bowl.found.by_parabola else "lowest",
                settings=_minimum(bowl),
                standard_errors=errors,
                loss=_unsagged(bowl, noise),
                loss_variance=bowl.found.loss_variance,
            )
        )
    return SweptRuns(
        n_bowls=len(bowls),
        n_points=sum(len(bowl.members) for bowl in bowls),
        n_by_lowest=sum(not bowl.found.by_parabola for bowl in bowls),
        settings=tuple(names) or ((target,) if target else ()),
        noise=noise,
        bowls=tuple(rows),
    )


def _edges(points: Points, bowls: Sequence[_Bowl], target: str | None) -> tuple[str, ...]:
    """One line on all bowls whose best setting is at an edge."""
    found = [(bowl, *edge) for bowl in bowls for edge in bowl.edges]
    if not found:
        return ()
    names = list(dict.fromkeys(name for _, name, _, _ in found))
    n = len({id(bowl) for bowl, *_ in found})
    each = [f"{points.labels[bowl.best]}: {value:.3g} of {tried} tried" for bowl, _, value, tried in found]
    listed = "; ".join(each[:SHOWN]) + (f" and {len(each) - SHOWN} more" if len(each) > SHOWN else "")
    instead = "" if target else ", or choose tuned runs with --where"
    return (
        f"{points.source}: the best {' and '.join(names)} is the smallest or largest tried at {n} "
        f"budget(s) ({listed}); sweep further on both sides{instead}",
    )
