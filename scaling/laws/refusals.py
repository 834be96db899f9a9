"""Reasons to refuse a fit: points that cannot determine the law, or that it would not describe.

Each refusal gives its reason and a remedy. `--force` fits all the same and marks the result.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from scaling.laws.forms.form import Form
from scaling.laws.frontier.isoflop import MIN_SIZES, isoflop_minima
from scaling.laws.points import Points
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

SHOWN = 3  # of a list of offenders; the rest is counted


def refuse(
    form: Form, points: Points, force: bool, part: bool = False, more: Sequence[str] = ()
) -> tuple[str, ...]:
    """The reasons to refuse the fit, raised unless forced; a fit without points is refused even then.

    For a `part` of the points, such as those below a hold-out, the design of the sweep is not checked. `more`
    are further reasons, found when the points were made.

    Raises:
        BadInputError: the first reason.
    """
    chosen = form.select(form.log_variables(points), np.log(points.loss))
    reasons = [*_too_few(form, points, int(chosen.sum()))]
    if not part:
        reasons += _mid_schedule(points)
    if not reasons:
        reasons += _followers(form, points)
    reasons += more
    if reasons and (not force or not chosen.any()):
        others = f" ({plural(len(reasons) - 1, 'more reason')})" if len(reasons) > 1 and chosen.any() else ""
        raise BadInputError(
            reasons[0] + ("; or fit it all the same with --force" if chosen.any() else "") + others
        )
    return tuple(reasons)


def _too_few(form: Form, points: Points, n: int) -> Iterator[str]:
    if n < form.min_points:
        on = "" if n == len(points) else f" of {len(points)} on the lower envelope"
        yield (
            f"{points.source}: {plural(n, 'point')}{on}; {form.name} needs at least {form.min_points}: "
            "add runs, or fit a law of fewer parameters"
        )
    for name, levels in form.levels(form.log_variables(points)).items():
        needed = form.levels_needed(name)
        if levels < needed:
            yield (
                f"{points.source}: {plural(levels, 'different value')} of {name}; {form.name} needs at least "
                f"{needed}, or its parameters are not determined: add runs at other {name}, or fit a law of "
                "fewer parameters"
            )


def _followers(form: Form, points: Points) -> Iterator[str]:
    columns = form.log_variables(points)
    if columns.shape[1] == 2 and np.abs(np.corrcoef(columns.T)).min() > 0.9999:
        yield (
            f"{points.source}: {form.variables[1]} follow {form.variables[0]} exactly, so that their powers "
            "cannot be told apart; add other token budgets at some sizes, or fit a law of flops"
        )


def _mid_schedule(points: Points) -> Iterator[str]:
    if points.final is None or all(points.final):
        return
    early = [points.labels[i] for i, final in enumerate(points.final) if not final]
    yield (
        f"{points.source}: {len(early)} of {len(points)} losses are from before the end of their schedule "
        f"({_list(early)}), above what a schedule of that length reaches; leave them out, or let the runs "
        "cool down"
    )


def unidentified_minima(form: Form, points: Points) -> tuple[str, ...]:
    """Warnings for a law of N and D: isoFLOP groups whose minimum is not inside the sizes.

    The law needs no such minimum (it is fitted to the valley itself), but the optimum at these budgets is an
    extrapolation.
    """
    if form.variables != ("params", "tokens") or form.target != "loss":
        return ()
    refused = [r for r in isoflop_minima(points).refused if r.sizes >= MIN_SIZES["windowed"]]
    if not refused:
        return ()
    return (
        f"no interior minimum of loss over size in {len(refused)} isoFLOP group(s): the optimum there is "
        f"extrapolated ({_list([r.reason for r in refused], '; ')})",
    )


def _list(names: list[str], joint: str = ", ") -> str:
    return joint.join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
