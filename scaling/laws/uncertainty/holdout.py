"""Hold-outs: the largest runs are left out of a fit and predicted, so that the test is an extrapolation.

Which points are held out, once or rolled over cut-offs of compute, and what the errors of their predictions
say.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from scaling.laws.forms.form import Floats, Form
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.points import Points
from scaling.laws.sections import CutOff, Holdout, Interval, Prediction
from scaling.runtime.errors import BadInputError

LEAST = 0.35  # share of the points below the first cut-off
SIGNIFICANT = 0.05
SAME = 1e-9  # compute that agrees to this relative difference is the same budget


def holdout_mask(points: Points, fraction: float = 0.2) -> NDArray[np.bool_]:
    """(n,) True for the runs of the largest compute: at most `fraction` of the points, at least one budget.

    A run is never split, because the points of one trunk share their noise. Runs whose largest compute is
    equal go together, so that an isoFLOP budget is held out completely or not at all.

    Raises:
        BadInputError: the fraction is not between 0 and 1, or one budget is all there is.
    """
    if not 0 < fraction < 1:
        raise BadInputError(f"holdout={fraction:g} is not accepted; give a fraction between 0 and 1, or none")
    flops = points.flops.copy()
    for budget, members in isoflop_groups(points):
        flops[members] = budget  # however the compute of its points was rounded or counted
    return _largest(points, flops, "compute budget", at_most=fraction * len(points))


def holdout_groups(points: Points, count: int = 1) -> NDArray[np.bool_]:
    """(n,) True for every run of the `count` largest model sizes.

    Raises:
        BadInputError: `count` is below 1, or no size would be left.
    """
    if count < 1:
        raise BadInputError(f"holdout={count} is not accepted; give at least 1 model size")
    return _largest(points, points.params, "model size", levels=count)


def _largest(
    points: Points,
    measure: NDArray[np.float64],
    word: str,
    at_most: float | None = None,
    levels: int = 1,
) -> NDArray[np.bool_]:
    run = points.group_index()
    top = np.full(run.max() + 1, -np.inf)
    np.maximum.at(top, run, measure)
    top_of_point = top[run]
    held = np.zeros(len(points), bool)
    taken = 0
    while not held.all():
        rest = top_of_point[~held].max()
        more = held | (top_of_point >= rest * (1 - SAME))
        enough = taken >= levels if at_most is None else taken >= 1 and more.sum() > at_most
        if enough:
            return held
        held, taken = more, taken + 1
    raise BadInputError(
        f"holdout: {points.source} has {taken} {word}(s), nothing would be left to fit; "
        "give more runs, or no hold-out"
    )


def held_out(points: Points, holdout: float | int | None) -> tuple[NDArray[np.bool_] | None, str]:
    """(n,) the points to hold out, and the rule in words; None for no test."""
    if holdout is None:
        return None, ""
    if isinstance(holdout, int) and not isinstance(holdout, bool):
        word = "size" if holdout == 1 else f"{holdout} sizes"
        return holdout_groups(points, holdout), f"every run of the largest model {word}"
    return holdout_mask(points, holdout), f"the runs of largest compute, at most {holdout:.0%} of the points"


def holdout_of(
    rule: str,
    n_fitted: int,
    parameters: dict[str, float | None],
    target: Points,
    measured: Floats,
    predicted: Floats,
    ends: Sequence[Interval | None],
) -> Holdout:
    """The part of law.json about the m points of `target`, predicted with intervals (m,)."""
    relative = predicted / measured - 1
    return Holdout(
        n=len(target),
        mean_abs_rel_error=float(np.abs(relative).mean()),
        max_abs_rel_error=float(np.abs(relative).max()),
        n_fitted=n_fitted,
        rule=rule,
        parameters=parameters,
        predictions=tuple(
            Prediction(
                label=target.labels[i],
                group=target.groups[i],
                params=float(target.params[i]),
                tokens=float(target.tokens[i]),
                flops=float(target.flops[i]),
                measured=float(measured[i]),
                predicted=float(predicted[i]),
                rel_error=float(relative[i]),
                interval=ends[i],
            )
            for i in np.argsort(target.flops, kind="stable")
        ),
    )


def splits(form: Form, points: Points, cuts: int) -> list[tuple[float, NDArray[np.bool_], NDArray[np.bool_]]]:
    """At most `cuts` cut-offs of compute with the points fitted below (n,) and predicted beyond (n,).

    A cut-off with too few points below it is left out. A run with points on both sides of a
    cut-off is neither fitted nor predicted: its points share their noise.
    """
    flops, columns, log_loss = points.flops, form.log_variables(points), np.log(points.loss)
    envelope = form.select(columns, log_loss)
    run = points.group_index()
    largest = np.array([flops[run == g].max() for g in range(int(run.max()) + 1)])[run]
    found = []
    for cut in np.unique(flops[envelope])[:-1]:
        fitted = largest <= cut * (1 + 1e-9)
        ahead = envelope & (flops > cut * (1 + 1e-9)) & ~fitted
        kept = np.zeros(len(points), bool)
        if fitted.any():
            kept[np.flatnonzero(fitted)[form.select(columns[fitted], log_loss[fitted])]] = True
        enough = kept.sum() >= max(form.min_points + 1, LEAST * envelope.sum())
        if enough and form.has_levels(columns[kept]) and ahead.any():
            found.append((float(cut), kept, ahead))
    if not found or cuts < 1:
        return []
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, cuts).round().astype(int))]


def corner_splits(form: Form, points: Points, cuts: int) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """At most `cuts` smaller copies of the design: runs (n,) below a size and a budget of tokens, and beyond.

    Where every size is trained for every budget, the runs below a compute still have all sizes and budgets,
    and what is beyond them is no extrapolation in either. Here both are cut at the same share of their range
    of logarithms. Predicted are runs of more compute than any fitted; none for a law of one variable.
    """
    names = [name for name in form.variables if name in ("params", "tokens", "min_steps")]
    if len(names) < 2:
        return []
    columns, log_loss, flops = form.log_variables(points), np.log(points.loss), points.flops
    sizes = np.stack([np.log(points.column(name)) for name in names], axis=1)
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    run = points.group_index()
    found: dict[bytes, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}
    for share in np.linspace(0.0, 1.0, 40, endpoint=False):
        beyond = (sizes > low + share * (high - low) + 1e-9).any(axis=1)
        fitted = ~np.isin(run, run[beyond])
        if not fitted.any():
            continue
        ahead = ~fitted & (flops > flops[fitted].max() * (1 + 1e-9)) & form.select(columns, log_loss)
        enough = fitted.sum() >= max(form.min_points + 1, LEAST * len(points))
        if enough and form.has_levels(columns[fitted]) and ahead.any():
            found[fitted.tobytes()] = fitted, ahead
    rows = list(found.values())
    return (
        [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, cuts).round().astype(int))] if rows else []
    )


def cut_off(
    flops: float,
    n_fitted: int,
    parameters: dict[str, float | None],
    target_flops: Floats,
    relative: Floats,
    inside: float | None,
) -> CutOff:
    """The part of law.json about one cut-off: relative errors (m,) at the compute (m,) beyond it."""
    return CutOff(
        flops=flops,
        extrapolation=float(target_flops.max() / flops),
        n_fitted=n_fitted,
        n=len(relative),
        mean_abs_rel_error=float(np.abs(relative).mean()),
        max_abs_rel_error=float(np.abs(relative).max()),
        inside=inside,
        parameters=parameters,
    )


def missed_coverage(rolling: Sequence[CutOff] | None, level: float) -> str | None:
    """A warning where fewer rolled predictions were inside their intervals than `level` promises.

    The later runs are predicted from several cut-offs, so that the predictions are not independent: the test
    is binomial in the number of different runs predicted (of the first cut-off), at the share of all
    predictions that were inside.
    """
    judged = [(cut.n, cut.inside) for cut in rolling or () if cut.inside is not None]
    if not judged:
        return None
    predictions = sum(n for n, _ in judged)
    inside = sum(round(n * share) for n, share in judged)
    runs = max(n for n, _ in judged)
    chance = float(bdtr(int(runs * inside / predictions), runs, level))
    if inside >= level * predictions or chance >= SIGNIFICANT:
        return None
    return (
        f"the rolled hold-out misses: {inside} of {predictions} predictions were inside their {level:.0%} "
        f"intervals (binomial p = {chance:.1g} for {runs} runs): intervals of predictions are too narrow"
    )
