"""Fit a law to points: the best optimum, its uncertainty and its held-out test, in one document."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np

from scaling.laws.downstream.averaged import fit_averaged, fit_then
from scaling.laws.forms.form import Floats
from scaling.laws.forms.laws import LAWS
from scaling.laws.forms.limiting import reported
from scaling.laws.forms.quantities import Ends, Quantities, quantities
from scaling.laws.forms.task_error import DownstreamError
from scaling.laws.frontier.cost import compute_cost, errors_in_counting, in_counting
from scaling.laws.frontier.optimum import beyond_the_data, optimum_of
from scaling.laws.law import Law
from scaling.laws.points import Points, canonical, weighted
from scaling.laws.read.comparable import comparable
from scaling.laws.read.select import split_by
from scaling.laws.refusals import refuse, unidentified_minima
from scaling.laws.sections import LEVEL, Hessian, ObjectiveValue
from scaling.laws.solving.huber import RESIDUALS, Residual, describe
from scaling.laws.solving.optimise import BestFit, boundary_hits
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.scale import PAPER, joint_delta
from scaling.laws.tuned import tuned
from scaling.laws.uncertainty.bootstrap import bootstrap_counts, document
from scaling.laws.uncertainty.curvature import CLUSTERED, TEXT, Curvature, curvature, curvature_intervals
from scaling.laws.uncertainty.extrapolation import predict_held, roll
from scaling.laws.uncertainty.holdout import held_out, missed_coverage
from scaling.laws.uncertainty.jackknife import jackknifed
from scaling.laws.uncertainty.lack_of_fit import lack_of_fit, rejected_form
from scaling.laws.uncertainty.limits import bootstrapped, choose, profiled_of
from scaling.laws.uncertainty.noise import CHOSEN, seed_noise
from scaling.laws.uncertainty.sensitivity import sensitivity as rows_of
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint

Progress = Callable[[str, float], None]
Delta = float | Literal["auto", "paper"]


def fit_points(
    points: Points,
    law: str = "chinchilla",
    delta: Delta = "auto",
    bootstrap: int = 0,
    holdout: float | int | None = 0.2,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
    residual: Residual = "log",
    profile: bool = False,
    rolling: int = 0,
    sensitivity: bool = False,
    countings: Mapping[str, Points] | None = None,
    then: str | None = None,
) -> Law:
    """Fit `law` to all points; then again without the largest runs, and predict those.

    The objective is sum_i weight_i Huber_delta(log L(theta, i) - log L_i) (Hoffmann et al. 2022, equation
    10): a sum, not a mean, so that an optimiser's absolute tolerances do not stop it early. `residual`
    "plain" takes the loss itself, not its logarithm. A delta beyond every residual (10) gives least squares.

    Args:
        points: finished training budgets.
        law: a name in `LAWS`.
        delta: width of the Huber loss's quadratic zone, in units of the residual; "auto" for 1.345 times the
            scale of the residuals, estimated with the parameters (`solving.scale`), "paper" for 1e-3.
        bootstrap: resamples of complete runs; 0 for none.
        holdout: a fraction of the points (of the largest compute), a number of the largest model sizes, or
            None for no test.
        seed: of the resamples and restarts.
        force: fit data that would be refused, and mark the document.
        progress: called with a phase and the share of the work done.
        residual: "log" for residuals of the logarithm, "plain" for those of the loss (or target) itself.
        profile: whether to compute profile intervals of every reported quantity.
        rolling: cut-offs of compute of the rolled hold-out; 0 for none.
        sensitivity: whether to fit again with other choices.
        countings: for `sensitivity`, the same runs with N or C counted otherwise, by a label.
        then: "downstream-error" for the error of tasks at this law's loss, from the same runs and resamples.

    Raises:
        BadInputError: an argument is out of range, or the points cannot determine the law.
    """
    if law not in LAWS:
        raise BadInputError(f"law={law!r} is not known; {hint(law, (*LAWS, 'auto'))}")
    delta = PAPER if delta == "paper" else delta
    if delta != "auto" and (isinstance(delta, str) or not (np.isfinite(delta) and delta > 0)):
        raise BadInputError(f"delta={delta} is not accepted; give auto, paper (1e-3) or a positive number")
    if residual not in get_args(Residual):
        raise BadInputError(f"residual={residual!r} is not accepted; give {' or '.join(RESIDUALS)}")
    if bootstrap < 0 or bootstrap == 1:
        raise BadInputError(f"bootstrap={bootstrap} is not accepted; give 0, or at least 2 resamples")
    tell = progress or (lambda phase, share: None)
    form = full_form = LAWS[law]
    relative = weighted(points)
    unit = float(points.weight[points.weight > 0].mean())
    points, mixed = comparable(canonical(relative), force)
    runs = points
    reduced = tuned(runs, form)
    points = reduced.points
    countings = {
        name: tuned(comparable(canonical(weighted(other)), force)[0], form).points
        for name, other in (countings or {}).items()
    }
    warnings = [
        *points.doubts,
        *mixed,
        *refuse(form, points, force, more=reduced.edges),
        *(f"left out: {row}" for row in points.dropped),
    ]
    forced = force and bool(warnings)
    warnings += reduced.warnings
    warnings += unidentified_minima(form, points)
    second = None
    if then is not None:
        second = fit_then(points, form, then, bootstrap, holdout, seed, rolling, force)
        warnings += [f"{then}: {warning}" for warning in second.warnings]
    if isinstance(form, DownstreamError):
        if (residual, delta) not in (("log", "auto"), ("log", PAPER), ("plain", 10.0)):
            raise BadInputError(
                f"delta={delta} and residual={residual!r}: {law} is fitted by least squares of the error; "
                "leave both out, or fit gadre-error"
            )
        return fit_averaged(points, bootstrap, holdout, seed, rolling, warnings, force, forced, tell)
    held, rule = held_out(points, holdout)
    problem = Problem.of(full_form, points, PAPER, residual, len(points), tied=delta == "auto")

    tell("fit", 0.0)
    delta, residual_scale = joint_delta(problem) if isinstance(delta, str) else (delta, None)
    problem = problem.with_delta(delta)
    chosen = choose(problem, seed)
    best, form = chosen.best, chosen.best.form
    hits = boundary_hits(chosen.full)
    found = curvature(best, boundary_hits(best))
    cost = compute_cost(points) if form.optimum(dict.fromkeys(form.parameter_names, 0.5)) else None
    asked = quantities(form, problem.reference, float(points.flops.max()), cost)
    open_ends = dict(chosen.open_ends)
    profiled = None
    if profile:
        tell("profile", 0.25)
        profiled = profiled_of(chosen, found, asked)
        for name, one in profiled.items():
            if name in form.parameter_names and not one.identified:
                here = open_ends.get(name, (False, False))
                low, high = (end is None for end in one.interval)
                open_ends[name] = (here[0] or low, here[1] or high)
    draws: Floats | None = None
    intervals: dict[str, Ends] = {}
    resamples, rejected, refused = None, 0.0, None
    if bootstrap:
        tell("bootstrap", 0.4)
        resamples = bootstrap_counts(full_form, points, bootstrap, seed)
        rejected, refused = resamples.rejected, resamples.refused
        if refused is None:
            draws, intervals = bootstrapped(chosen, points, open_ends, bootstrap, seed)
        else:
            warnings.append(refused)
    alone = problem.shared is None or problem.chosen
    without_each = None if alone else jackknifed(best, points, asked)
    test = None
    if held is not None:
        tell("hold-out", 0.7)
        test = predict_held(problem, points, held, rule, bootstrap, seed, force)
        if test is None:
            warnings.append("no held-out point is on the envelope: the law was not tested")
    rolled, errors = None, None
    if rolling:
        tell("rolling hold-out", 0.85)
        rolled, errors = roll(best, points, rolling)
    changed = None
    if sensitivity:
        tell("sensitivity", 0.9)
        changed = rows_of(best, points, countings)
    fits = lack_of_fit(best, points)
    tell("done", 1.0)

    if problem.chosen and refused is None:
        warnings.append(CHOSEN)
    if (missed := missed_coverage(rolled, LEVEL)) is not None:
        warnings.append(missed)
    if (lacking := rejected_form(fits)) is not None:
        warnings.append(lacking)
    warnings += chosen.warnings
    if hits and not chosen.open_ends:
        warnings.append(f"not determined by these points: {', '.join(hits)}")
    for name, one in (profiled or {}).items():
        for side, end in zip(("below", "above"), one.interval, strict=True):
            if end is None and one.flat_range is not None and name not in chosen.open_ends:
                warnings.append(f"{name} is unidentified {side}: {_flat(one.flat_range)} fits as well")
    ranges = points.ranges(("params", "tokens", "flops", "loss", *form.variables, form.target))
    parameters, *named = (
        dict(zip(form.parameter_names, map(float, row), strict=True))
        for row in (best.parameters(), *(() if draws is None else draws))
    )
    optimum = optimum_of(form, parameters, named, points.flops, cost)
    if optimum is not None:
        budgets = beyond_the_data(optimum.budgets, ranges, rolled, errors)
        optimum = optimum.model_copy(update={"budgets": budgets})
    return Law(
        law=law,
        equation=form.equation,
        parameters=reported(form, best.theta, problem.reference),
        intervals=intervals,
        objective=ObjectiveValue(
            name=describe(residual, form.target),
            delta=delta,
            value=best.value * unit,
            scale=residual_scale,
            residual=residual,
        ),
        n_points=len(points),
        n_selected=len(problem.x),
        n_starts=best.n_starts,
        n_starts_at_best=best.n_at_best,
        gradient_norm=best.gradient,
        boundary_hits=hits,
        holdout=test,
        optimum=optimum,
        cost=cost,
        limits=chosen.limits,
        unidentified=tuple(name for name in form.parameter_names if name in open_ends),
        counting=points.counting,
        counts=points.conventions,
        bootstrap=None if draws is None else document(form, points, draws, seed, rejected, resamples),
        bootstrap_refused=refused,
        jackknife=None if without_each is None else errors_in_counting(without_each, cost, form),
        profile=None if profiled is None else in_counting(profiled, cost, form),
        hessian=errors_in_counting(_hessian(best, found, asked, open_ends), cost, form),
        rolling=rolled,
        rolling_by_reach=errors,
        seed_noise=seed_noise(runs),
        lack_of_fit=fits,
        swept=reduced.swept,
        sensitivity=changed,
        dropped=points.dropped,
        loss_unit=points.loss_unit,
        tokenizer=points.tokenizer,
        dataset=points.corpus,
        notes=(*points.notes, *reduced.notes),
        ranges=ranges,
        warnings=tuple(warnings),
        forced=forced,
        then=second,
        source=points.source,
        versions={name: version(name) for name in ("jax", "numpy")},
    )


def _flat(ends: Ends) -> str:
    low, high = ("any value" if end is None else f"{end:.3g}" for end in ends)
    return f"anything from {low} to {'infinity' if ends[1] is None else high}"


def _hessian(
    best: BestFit, found: Curvature, asked: Quantities, open_ends: Mapping[str, tuple[bool, bool]]
) -> Hessian:
    intervals, errors = curvature_intervals(found, asked, best.theta, LEVEL)
    intervals |= dict.fromkeys(open_ends)
    errors |= dict.fromkeys(open_ends)
    scale, covariance = found.scale, found.covariance
    return Hessian(
        estimator=CLUSTERED if found.clustered else TEXT,
        level=LEVEL,
        condition=found.condition,
        flattest=found.flattest,
        reason=found.reason,
        intervals=intervals,
        standard_errors=errors,
        freedom=None if scale is None else scale.freedom,
        drop_scale=None if scale is None else scale.drop,
        residual_noise=None if scale is None else scale.noise,
        theta=dict(zip(asked.form.theta_names, map(float, best.theta), strict=True)),
        reference=tuple(map(float, best.problem.reference)),
        covariance=None if covariance is None else tuple(tuple(map(float, row)) for row in covariance),
    )


def fit_by(
    points: Points,
    column: str,
    countings: Mapping[str, Points],
    fit: Callable[[Points, Mapping[str, Points]], Law],
) -> tuple[dict[str, Law], dict[str, str]]:
    """The law of each value's points, and the reason for each value without one.

    Args:
        points: of all values.
        column: a name in `points.columns`, or `dataset`.
        countings: the same points with N or C counted otherwise, by a label.
        fit: fits points, with their other countings.

    Raises:
        BadInputError: there is no such column, or no value's points give a law.
    """
    parts = split_by(points, column)
    others = {label: split_by(other, column) for label, other in countings.items()}
    laws: dict[str, Law] = {}
    refused: dict[str, str] = {}
    for value, part in parts.items():
        try:
            laws[value] = fit(
                part, {label: other[value] for label, other in others.items() if value in other}
            )
        except BadInputError as error:
            refused[value] = str(error)
    if not laws:
        value, reason = next(iter(refused.items()))
        raise BadInputError(
            f"--by {column}: none of {len(refused)} values has a law; {column}={value}: {reason}"
        )
    return laws, refused


def exponents(
    points: Points, column: str, laws: Mapping[str, Law], refused: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row for each value, in the order of the points: its parameters and exponent a with their intervals.

    A value without a law has null parameters and the reason in `refused`.
    """
    rows = []
    for value, part in split_by(points, column).items():
        law = laws.get(value)
        optimum = None if law is None else law.optimum
        rows.append(
            {
                "value": value,
                "n_points": len(part),
                "parameters": None if law is None else law.parameters,
                "intervals": None if law is None else law.intervals,
                "a": None if optimum is None else optimum.a,
                "a_interval": None if optimum is None else optimum.intervals.get("a"),
                "b": None if optimum is None else optimum.b,
                "b_interval": None if optimum is None else optimum.intervals.get("b"),
                "loss_unit": part.loss_unit if law is None else law.loss_unit,
                "refused": refused.get(value),
            }
        )
    return rows
