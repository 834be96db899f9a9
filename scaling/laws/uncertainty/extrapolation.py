"""A law predicts the largest runs from the others: once, or rolled over cut-offs of compute."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scaling.config.reach_errors import ErrorsByReach
from scaling.laws.forms.limiting import reported
from scaling.laws.points import Points
from scaling.laws.refusals import refuse
from scaling.laws.sections import LEVEL, CutOff, Holdout, Interval
from scaling.laws.solving.optimise import BestFit, refits
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.scale import TUNING, rescaled
from scaling.laws.uncertainty.bootstrap import bootstrap_counts, bootstrap_parameters
from scaling.laws.uncertainty.by_reach import Predictions, by_reach, measure_of, shared_part
from scaling.laws.uncertainty.curvature import curvature, influence, slopes
from scaling.laws.uncertainty.holdout import corner_splits, cut_off, holdout_of, splits
from scaling.laws.uncertainty.limits import choose
from scaling.laws.uncertainty.noise import residual_scale, t_quantile
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


def roll(best: BestFit, points: Points, cuts: int) -> tuple[tuple[CutOff, ...], ErrorsByReach]:
    """The law fitted below each of at most `cuts` cut-offs of compute, and its errors beyond, also by reach.

    Errors by reach come in addition from `corner_splits`. The prediction interval contains the law's
    uncertainty and the noise of a run, both from the runs below.
    """
    form, problem = best.form, best.problem.over(points)
    rows, errors = [], []
    chosen = splits(form, points, cuts)
    for cut, kept, ahead in chosen:
        below = _below(best, problem, kept)
        found = _predictions(below, problem, points, kept, ahead)
        errors.append(found)
        rows.append(
            cut_off(
                cut,
                int(kept.sum()),
                reported(form, below.theta, problem.reference),
                points.flops[ahead],
                np.expm1(found.error),
                None if found.inside is None else float(found.inside.mean()),
            )
        )
    for kept, ahead in corner_splits(form, points, cuts):
        if not any((kept == one).all() for _, one, _ in chosen):
            errors.append(_predictions(_below(best, problem, kept), problem, points, kept, ahead))
    off, parameters = best.residuals(), int(form.free.sum())
    spread = residual_scale(off, best.problem.weight, best.problem.delta, parameters)
    scale = 0.0 if spread is None else spread.noise
    run = best.problem.run
    shared = (
        0.0
        if run is None
        else shared_part(off, np.unique(run, return_inverse=True)[1], len(off) - parameters)
    )
    errors = [_with_variance(one, scale, shared, points.group_index()) for one in errors]
    size = np.abs(problem.residuals(best.theta))
    outlying = np.minimum(1.0, TUNING * scale / np.maximum(size, 1e-300)) if scale else None
    return tuple(rows), by_reach(form, points, errors, scale, shared, outlying)


def _below(best: BestFit, problem: Problem, kept: NDArray[np.bool_]) -> BestFit:
    """The fit to some of the points, by their own delta."""
    own = rescaled(problem.at(kept))
    weights = (kept * problem.weight)[None]
    theta = refits(problem.with_delta(own.delta), weights, best.theta).theta[0]
    return BestFit(own, theta, 0.0, 0.0, 0, 0)


def _predictions(
    below: BestFit, problem: Problem, points: Points, kept: NDArray[np.bool_], ahead: NDArray[np.bool_]
) -> Predictions:
    """What a fit to the `kept` points predicts for those `ahead`."""
    form = below.form
    beyond = BestFit(problem.at(ahead), below.theta, 0.0, 0.0, 0, 0)
    measure = points.column(measure_of(form))
    error = form.log_loss(below.theta, beyond.problem.x) - beyond.problem.log_target
    G, found = slopes(beyond), curvature(below)
    inside = None
    if found.covariance is not None and found.scale is not None:
        variance = np.einsum("np,pq,nq->n", G, found.covariance, G) + found.scale.noise**2
        inside = np.abs(beyond.residuals()) <= t_quantile(LEVEL, found.scale.freedom) * np.sqrt(variance)
    noise = np.zeros((int(ahead.sum()), len(points)))
    noise[:, kept] = G @ influence(below)
    noise[:, ahead] -= np.eye(int(ahead.sum()))
    if problem.residual == "plain":
        noise /= np.exp(beyond.problem.log_target)[:, None]
    return Predictions(
        point=np.flatnonzero(ahead),
        reach=measure[ahead] / measure[kept].max(),
        error=error,
        noise=noise,
        inside=inside,
    )


def _with_variance(one: Predictions, scale: float, shared: float, run: NDArray[np.int64]) -> Predictions:
    if one.noise is None or not scale:
        return one
    of_run = np.stack([np.bincount(run, row) for row in one.noise])
    variance = scale**2 * ((1 - shared) * (one.noise**2).sum(axis=1) + shared * (of_run**2).sum(axis=1))
    return replace(one, variance=variance)
