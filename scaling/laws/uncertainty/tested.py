"""The test of a law: fitted without the largest runs, it predicts them."""

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Form
from scaling.laws.forms.limiting import reported
from scaling.laws.law import Holdout, Interval, Prediction
from scaling.laws.points import Points
from scaling.laws.refusals import refuse
from scaling.laws.solving.objective import Residual
from scaling.laws.solving.optimise import log_variables
from scaling.laws.uncertainty.bootstrap import bootstrap_parameters, percentiles_of
from scaling.laws.uncertainty.holdout import holdout_groups, holdout_mask
from scaling.laws.uncertainty.limits import choose
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]


def held_out(points: Points, holdout: float | int | None) -> tuple[NDArray[np.bool_] | None, str]:
    """(n,) the points to hold out, and by which rule; None for no test."""
    if holdout is None:
        return None, ""
    if isinstance(holdout, int) and not isinstance(holdout, bool):
        word = "size" if holdout == 1 else f"{holdout} sizes"
        return holdout_groups(points, holdout), f"every run of the largest model {word}"
    return holdout_mask(points, holdout), f"the runs of largest compute, at most {holdout:.0%} of the points"


def predict_held(
    form: Form,
    points: Points,
    held: NDArray[np.bool_],
    rule: str,
    delta: float,
    bootstrap: int,
    seed: int,
    force: bool,
    residual: Residual,
) -> Holdout | None:
    """Fit without the held-out runs and predict them; of an envelope law, those on the full envelope."""
    rest = points.subset(~held)
    try:
        refuse(form, rest, force, part=True)
    except BadInputError as error:
        raise BadInputError(f"hold-out of {int(held.sum())} points: {error}; or give no hold-out") from error
    asked = held & form.select(log_variables(form, points), np.log(points.loss))
    if not asked.any():
        return None
    target = points.subset(asked)
    chosen = choose(form, rest, delta, seed, len(points), residual)
    form, best = chosen.form, chosen.best
    x = log_variables(form, target)
    predicted = np.exp(form.log_loss(best.theta, x - best.reference))
    ends: list[Interval | None] = [None] * len(target)
    if bootstrap:
        draws = bootstrap_parameters(form, rest, best, delta, bootstrap, seed, len(points), residual)
        variables = {name: target.column(name) for name in form.variables}
        losses = np.array([form.predict(_named(form, draw), **variables) for draw in draws])
        ends = [percentiles_of(column) for column in losses.T]
    measured = target.column(form.target)
    relative = predicted / measured - 1
    return Holdout(
        n=len(target),
        mean_abs_rel_error=float(np.abs(relative).mean()),
        max_abs_rel_error=float(np.abs(relative).max()),
        n_fitted=len(rest),
        rule=rule,
        parameters=reported(form, best.theta, best.reference),
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


def _named(form: Form, values: Floats) -> dict[str, float]:
    return {name: float(v) for name, v in zip(form.parameter_names, values, strict=True)}
