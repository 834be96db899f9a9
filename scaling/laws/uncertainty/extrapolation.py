"""A law predicts the largest runs from the others: once, or rolled over cut-offs of compute."""

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.limiting import reported
from scaling.laws.points import Points
from scaling.laws.refusals import refuse
from scaling.laws.sections import LEVEL, CutOff, Holdout, Interval
from scaling.laws.solving.optimise import BestFit, refits
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.scale import rescaled
from scaling.laws.uncertainty.bootstrap import bootstrap_counts, bootstrap_parameters
from scaling.laws.uncertainty.curvature import curvature, slopes
from scaling.laws.uncertainty.holdout import cut_off, holdout_of, splits
from scaling.laws.uncertainty.limits import choose
from scaling.laws.uncertainty.noise import t_quantile
from scaling.laws.uncertainty.resample import middle
from scaling.runtime.errors import BadInputError


def predict_held(
    problem: Problem,
    points: Points,
    held: NDArray[np.bool_],
    rule: str,
    bootstrap: int,
    seed: int,
    force: bool,
) -> Holdout | None:
    """Fit without the held-out runs and predict them; for an envelope law, those on the full envelope.

    None if no held-out point is on the envelope.
    """
    law = problem.form
    rest = points.subset(~held)
    try:
        refuse(law, rest, force, part=True)
    except BadInputError as error:
        raise BadInputError(f"hold-out of {int(held.sum())} points: {error}; or give no hold-out") from error
    asked = held & law.select(law.log_variables(points), np.log(points.loss))
    if not asked.any():
        return None
    target = points.subset(asked)
    below = rescaled(Problem.of(law, rest, problem.delta, problem.residual, len(points), problem.tied))
    best = choose(below, seed).best
    form = best.form
    predicted = np.exp(form.log_loss(best.theta, best.problem.over(target).x))
    ends: list[Interval | None] = [None] * len(target)
    if bootstrap and not bootstrap_counts(form, rest, bootstrap, seed).refused:
        draws = bootstrap_parameters(best, rest, bootstrap, seed)
        variables = {name: target.column(name) for name in form.variables}
        named = (dict(zip(form.parameter_names, map(float, draw), strict=True)) for draw in draws)
        losses = np.array([form.predict(one, **variables) for one in named])
        ends = [middle(column) for column in losses.T]
    return holdout_of(
        rule,
        len(rest),
        reported(form, best.theta, best.problem.reference),
        target,
        target.column(form.target),
        predicted,
        ends,
    )


def roll(best: BestFit, points: Points, cuts: int) -> tuple[CutOff, ...]:
    """The law fitted below each of at most `cuts` cut-offs of compute, and its errors beyond.

    The prediction interval contains the law's uncertainty and the noise of a run, both from the runs below.
    """
    form, problem = best.form, best.problem.over(points)
    chosen = splits(form, points, cuts)
    if not chosen:
        return ()
    weights = np.stack([kept * points.weight for _, kept, _ in chosen])
    rows = []
    for row, (cut, kept, ahead) in zip(weights, chosen, strict=True):
        own = rescaled(problem.at(kept))
        theta = refits(problem.with_delta(own.delta), row[None], best.theta).theta[0]
        below = BestFit(own, theta, 0.0, 0.0, 0, 0)
        beyond = BestFit(problem.at(ahead), theta, 0.0, 0.0, 0, 0)
        relative = np.exp(form.log_loss(theta, beyond.problem.x) - beyond.problem.log_target) - 1
        rows.append(
            cut_off(
                cut,
                int(kept.sum()),
                reported(form, theta, problem.reference),
                points.flops[ahead],
                relative,
                _inside(below, beyond),
            )
        )
    return tuple(rows)


def _inside(below: BestFit, beyond: BestFit) -> float | None:
    """Share of the points beyond inside the prediction interval; None if the fit has no curvature."""
    found = curvature(below)
    if found.covariance is None or found.scale is None:
        return None
    G = slopes(beyond)
    variance = np.einsum("np,pq,nq->n", G, found.covariance, G) + found.scale.noise**2
    reach = t_quantile(LEVEL, found.scale.freedom) * np.sqrt(variance)
    return float((np.abs(beyond.residuals()) <= reach).mean())
