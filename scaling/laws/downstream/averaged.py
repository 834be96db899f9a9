"""The document of `downstream-error`: forms averaged by evidence, their bootstrap and their hold-outs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from scaling.config.reach_errors import ErrorsByReach
from scaling.laws.downstream.error_fit import FLOORS, SHAPES, STEEPNESS, average, gradient_norm, resampled
from scaling.laws.forms.form import Floats, Form
from scaling.laws.forms.task_error import DownstreamError
from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.refusals import refuse
from scaling.laws.sections import LEVEL, Averaging, CutOff, Holdout, ObjectiveValue
from scaling.laws.uncertainty.bootstrap import Resamples, bootstrap_counts, document, intervals_of
from scaling.laws.uncertainty.by_reach import Predictions, by_reach
from scaling.laws.uncertainty.holdout import cut_off, held_out, holdout_of, missed_coverage, splits
from scaling.laws.uncertainty.resample import middle, middles
from scaling.runtime.errors import BadInputError

Progress = Callable[[str, float], None]

FORM = DownstreamError()
TEST_RESAMPLES = 400  # of the hold-outs
TINY = 1e-9  # an error below counts as zero
RISING = -0.5  # rank correlation of loss and error below which the column holds something else


@dataclass(frozen=True)
class _Draws:
    """The likeliest form, the average, and parameters (R, 5) of resamples; None without a bootstrap."""

    best: dict[str, float]
    averaging: Averaging
    parameters: Floats | None
    drawn: Resamples | None = None

    def errors(self, loss: Floats) -> Floats:
        """(m,) predictions."""
        errors = [one.weight * FORM.predict(one.parameters, loss=loss) for one in self.averaging.forms]
        return np.sum(errors, axis=0)

    def sampled(self, loss: Floats) -> Floats:
        """(R, m) predictions of the resamples, with the correction for few points."""
        assert self.parameters is not None
        rows = np.array([FORM.predict(_named(row), loss=loss) for row in self.parameters])
        widened: Floats = self.averaging.widened(rows, self.errors(loss))
        return widened


def fit_averaged(
    points: Points,
    bootstrap: int,
    holdout: float | int | None,
    seed: int,
    rolling: int,
    warnings: list[str],
    force: bool,
    forced: bool,
    tell: Progress,
    drawn: Resamples | None = None,
) -> Law:
    """Fit `downstream-error` to points that the caller has checked.

    `forced` says whether `force` has already let something through; `drawn` are the resamples of the same
    runs that another law was fitted to.

    Raises:
        BadInputError: errors that are none, or the points leave nothing to fit after the hold-out.
    """
    rising = check_errors(points.loss, points.column("error"), points.labels, points.source, force)
    warnings, forced = [*rising, *warnings], forced or bool(rising)
    tell("fit", 0.0)
    held, rule = held_out(points, holdout)
    tell("bootstrap", 0.2)
    found = _fit(points, bootstrap, seed, drawn)
    best, test = found.best, None
    if held is not None:
        tell("hold-out", 0.6)
        test = _tested(points, held, rule, bootstrap, seed)
    rolled, by_distance = None, None
    if rolling:
        tell("rolling hold-out", 0.8)
        rolled, by_distance = _rolled(points, rolling, bootstrap, seed)
    if (missed := missed_coverage(rolled, LEVEL)) is not None:
        warnings.append(missed)
    tell("done", 1.0)
    loss, error = points.loss, points.column("error")
    off = FORM.predict(best, loss=loss) - error
    span = float(loss.max() - loss.min())
    step = best["k"] * span >= 0.99 * STEEPNESS[-1]
    return Law(
        law=FORM.name,
        equation=FORM.equation,
        parameters=best,
        intervals={} if found.parameters is None else intervals_of(FORM, found.parameters, {}, 1.0),
        objective=ObjectiveValue(
            name="half the sum of squares of (error_pred - error_obs)",
            delta=10.0,
            residual="plain",
            value=float((points.weight * off**2).sum() / 2),
        ),
        n_points=len(points),
        n_selected=len(points),
        n_starts=len(SHAPES) * FLOORS,
        n_starts_at_best=1,
        gradient_norm=gradient_norm(best, loss, error, points.weight),
        boundary_hits=("k at its upper bound: the error is a step between two losses",) if step else (),
        holdout=test,
        optimum=None,
        counting=points.counting,
        counts=points.conventions,
        loss_unit=points.loss_unit,
        tokenizer=points.tokenizer,
        dataset=points.corpus,
        notes=points.notes,
        bootstrap=None
        if found.parameters is None or found.drawn is None
        else document(FORM, points, found.parameters, seed, found.drawn.rejected, found.drawn),
        averaging=found.averaging,
        rolling=rolled,
        rolling_by_reach=by_distance,
        ranges=points.ranges(("params", "tokens", "flops", "loss", "error")),
        warnings=tuple(warnings),
        forced=forced,
        dropped=points.dropped,
        source=points.source,
        versions={"numpy": version("numpy")},
    )


def fit_then(
    points: Points,
    first: Form,
    then: str,
    bootstrap: int,
    holdout: float | int | None,
    seed: int,
    rolling: int,
    force: bool,
) -> Law:
    """The error of tasks at the loss of `first`, from the points with an error and from the same resamples.

    Raises:
        BadInputError: `then` or the target of `first` is not accepted, or the errors do not determine the
            law.
    """
    if then != FORM.name:
        raise BadInputError(f"--then {then!r} is not accepted; give {FORM.name}")
    if first.target != "loss":
        raise BadInputError(
            f"--then {then}: {first.name} predicts {first.target}; give a law of loss, for example chinchilla"
        )
    if points.error is None or np.isnan(points.error).all():
        raise BadInputError(
            f"--then {then}: {points.source} has no column error; add one, or name it: --columns error=NAME"
        )
    known = ~np.isnan(points.error)
    rest = points.subset(known)
    warnings = list(refuse(FORM, rest, force, part=True))
    drawn = None
    if bootstrap:
        drawn = bootstrap_counts(first, points, bootstrap, seed)
        counts = drawn.counts[:, known]
        # A resample of next to no errors does not determine the second step: it keeps the data's own fit.
        enough = [FORM.has_levels(np.log(rest.loss[row > 0])[:, None]) for row in counts]
        counts[np.logical_not(enough)] = 1.0
        drawn = replace(drawn, counts=counts, kept=drawn.kept[:, known])
        bootstrap = 0 if drawn.refused else bootstrap
    forced = force and bool(warnings)
    tell: Progress = lambda phase, share: None  # noqa: E731
    return fit_averaged(rest, bootstrap, holdout, seed, rolling, warnings, force, forced, tell, drawn)


def _named(values: Floats) -> dict[str, float]:
    return {name: float(v) for name, v in zip(FORM.parameter_names, values, strict=True)}


def _fit(points: Points, bootstrap: int, seed: int, drawn: Resamples | None = None) -> _Draws:
    loss, error = points.loss, points.column("error")
    best, averaging = average(loss, error, points.weight)
    if not bootstrap:
        return _Draws(best, averaging, None)
    if drawn is None:
        drawn = bootstrap_counts(FORM, points, bootstrap, seed)
        if drawn.refused:
            return _Draws(best, averaging, None)
    parameters = resampled(averaging, loss, error, drawn.counts * points.weight, seed)
    return _Draws(best, averaging, parameters, drawn)


def _tested(points: Points, held: NDArray[np.bool_], rule: str, bootstrap: int, seed: int) -> Holdout:
    """Fit without the held-out runs and predict them."""
    rest, target = points.subset(~held), points.subset(held)
    levels, needed = len(np.unique(np.round(rest.loss, 9))), FORM.levels_needed("loss")
    if len(rest) < FORM.min_points or levels < needed:
        raise BadInputError(
            f"hold-out of {int(held.sum())} points: {len(rest)} points of {levels} different losses are "
            f"left; {FORM.name} needs at least {FORM.min_points} of {needed}: add runs, or give no "
            "hold-out"
        )
    found = _fit(rest, min(bootstrap, TEST_RESAMPLES), seed)
    predicted, measured = found.errors(target.loss), target.column("error")
    ends = (
        [None] * len(target)
        if found.parameters is None
        else [middle(column) for column in found.sampled(target.loss).T]
    )
    return holdout_of(rule, len(rest), dict(found.best), target, measured, predicted, ends)


def _rolled(points: Points, cuts: int, bootstrap: int, seed: int) -> tuple[tuple[CutOff, ...], ErrorsByReach]:
    """The hold-out rolled over cut-offs of compute; intervals include the noise of a run."""
    rows, errors = [], []
    for cut, kept, ahead in splits(FORM, points, cuts):
        below, target = points.subset(kept), points.subset(ahead)
        found = _fit(below, min(bootstrap, TEST_RESAMPLES), seed)
        predicted, measured = found.errors(target.loss), target.column("error")
        within = variance = None
        if found.parameters is not None:
            draws = found.sampled(target.loss)
            noise = np.random.default_rng([seed, 4]).normal(size=draws.shape)
            draws = draws + found.averaging.residual_noise * noise
            low, high = middles(draws)
            within = (low <= measured) & (measured <= high)
            variance = draws.var(axis=0) / np.maximum(predicted, TINY) ** 2
        relative = predicted / measured - 1
        inside = None if within is None else float(within.mean())
        errors.append(
            Predictions(
                point=np.flatnonzero(ahead),
                reach=target.flops / below.flops.max(),
                error=np.log(np.maximum(predicted, TINY) / np.maximum(measured, TINY)),
                variance=variance,
                inside=within,
            )
        )
        rows.append(cut_off(cut, len(below), dict(found.best), target.flops, relative, inside))
    return tuple(rows), by_reach(FORM, points, errors)


def check_errors(
    loss: Floats, errors: Floats, labels: tuple[str, ...], source: str, force: bool
) -> list[str]:
    """Refuse errors that are not shares, or that rise as the loss falls; warnings if forced.

    Raises:
        BadInputError: an error above 1, with its point; or accuracies in place of errors.
    """
    if (errors > 1).any():
        first = int(np.argmax(errors > 1))
        remedy = (
            "divide percents by 100"
            if 1.5 < errors.max() <= 100
            else "give the share of the task's items that are wrong"
        )
        raise BadInputError(
            f"{source}: error = {errors[first]:g} of {labels[first]} is above 1; downstream-error describes "
            f"shares from 0 to 1: {remedy}"
        )
    ranks = [np.unique(values, return_inverse=True)[1].astype(float) for values in (loss, errors)]
    if min(rank.std() for rank in ranks) == 0 or np.corrcoef(ranks)[0, 1] > RISING:
        return []
    reason = (
        f"{source}: error rises as the loss falls, as accuracies do; give error = 1 - accuracy, or the "
        "column that holds errors: --columns error=NAME"
    )
    if not force:
        raise BadInputError(f"{reason}; or fit it all the same with --force")
    return [reason]
