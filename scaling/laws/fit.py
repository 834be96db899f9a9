"""Fit a law to points: the best optimum there is, its bootstrap, its held-out test, in one document."""

from collections.abc import Callable
from importlib.metadata import version
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.laws.forms import Law
from scaling.laws.holdout import holdout_groups, holdout_mask
from scaling.laws.law import Allocation, Bootstrap, Holdout, Interval, LawFit, Objective, Optimum, Prediction
from scaling.laws.objective import RESIDUALS, Residual, describe, residuals
from scaling.laws.optimise import WIDE, Optimised, boundary_hits, log_variables, optimise
from scaling.laws.points import Points
from scaling.laws.registry import LAWS
from scaling.laws.solver import solve

Floats = NDArray[np.float64]
Progress = Callable[[str, float], None]

LEVEL = 0.95
KEPT_SAMPLES = 1000  # bootstrap parameters kept in law.json, for intervals of predictions


def fit_points(
    points: Points,
    law: str = "chinchilla",
    delta: float = 1e-3,
    bootstrap: int = 0,
    holdout: float | int | None = 0.2,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
    residual: Residual = "log",
) -> LawFit:
    """Fit `law` to all points; then once more without the largest runs, and predict those.

    The objective is sum_i weight_i Huber_delta(log L(theta, i) - log L_i) (Hoffmann et al. 2022, equation
    10): a sum, not a mean, so that an optimiser's absolute tolerances do not stop it early. `residual`
    "plain" takes the loss itself, not its logarithm; a delta beyond every residual (10) gives least squares.

    Args:
        points: finished training budgets.
        law: a name in `LAWS`.
        delta: width of the Huber loss's quadratic zone, in units of the residual.
        bootstrap: resamples of whole runs; 0 for none.
        holdout: a fraction of the points (of the largest compute), a number of the largest model sizes, or
            None for no test.
        seed: of the resamples and restarts.
        force: fit what would be refused, and say so in the document.
        progress: called with a phase and the share of the work done.
        residual: "log" for residuals of the logarithm, "plain" for those of the loss (or target) itself.

    Raises:
        BadInputError: an argument is out of range, or the points cannot determine the law.
    """
    if law not in LAWS:
        raise BadInputError(f"law={law!r} is not known; known: {', '.join(LAWS)}")
    if not (np.isfinite(delta) and delta > 0):
        raise BadInputError(f"delta={delta:g} is not accepted; give a positive number, 1e-3 for the paper's")
    if residual not in get_args(Residual):
        raise BadInputError(f"residual={residual!r} is not accepted; give {' or '.join(RESIDUALS)}")
    if bootstrap < 0 or bootstrap == 1:
        raise BadInputError(f"bootstrap={bootstrap} is not accepted; give 0, or at least 2 resamples")
    tell = progress or (lambda phase, share: None)
    form = LAWS[law]
    warnings = _refuse(form, points, force)
    held, rule = _held(points, holdout)

    tell("fit", 0.0)
    best = optimise(form, points, delta, seed, len(points), residual)
    parameters = _named(form, form.parameters(best.theta, best.reference))
    draws: Floats | None = None
    if bootstrap:
        tell("bootstrap", 0.4)
        draws = _bootstrap(form, points, best, delta, bootstrap, seed, len(points), residual)
    test = None
    if held is not None:
        tell("hold-out", 0.7)
        test = _predict_held(form, points, held, rule, delta, bootstrap, seed, force, residual)
        if test is None:
            warnings = (*warnings, "no held-out point lies on the envelope: the law was not tested")
    tell("done", 1.0)

    hits = boundary_hits(form, best, delta, residual)
    if hits:
        warnings = (*warnings, f"not determined by these points: {', '.join(hits)}")
    return LawFit(
        law=law,
        equation=form.equation,
        parameters=parameters,
        intervals={} if draws is None else _intervals(form.parameter_names, draws),
        objective=Objective(name=describe(residual, form.target), delta=delta, value=best.value),
        n_points=len(points),
        n_selected=len(best.x),
        n_starts=best.n_starts,
        n_starts_at_best=best.n_at_best,
        gradient_norm=best.gradient,
        boundary_hits=hits,
        holdout=test,
        optimum=_optimum(form, parameters, draws, points),
        counting=points.counting,
        bootstrap=None if draws is None else _document(form, points, draws, seed),
        ranges={
            name: (float(values.min()), float(values.max()))
            for name in dict.fromkeys(("params", "tokens", "flops", "loss", *form.variables, form.target))
            for values in [points.column(name)]
        },
        warnings=warnings,
        forced=force and bool(warnings),
        source=points.source,
        versions={name: version(name) for name in ("jax", "numpy")},
    )


def _named(form: Law, values: Floats) -> dict[str, float]:
    return {name: float(v) for name, v in zip(form.parameter_names, values, strict=True)}


def _refuse(form: Law, points: Points, force: bool) -> tuple[str, ...]:
    """What stands against the fit; raised unless forced."""
    columns = log_variables(form, points)
    selected = form.select(columns, np.log(points.loss))
    n = int(selected.sum())
    reasons = []
    if n < form.min_points:
        on = "" if n == len(points) else f" of {len(points)} on the lower envelope"
        reasons.append(f"{points.source}: {n} point(s){on}; {form.name} needs at least {form.min_points}")
    for name, column in zip(form.variables, columns.T, strict=True):
        levels = len(np.unique(np.round(column, 9)))
        if levels < form.min_levels:
            reasons.append(
                f"{points.source}: {levels} different value(s) of {name}; "
                f"{form.name} needs at least {form.min_levels}"
            )
    if not reasons and columns.shape[1] == 2 and np.abs(np.corrcoef(columns.T)).min() > 0.9999:
        reasons.append(
            f"{points.source}: {form.variables[1]} follow {form.variables[0]} exactly, so that their powers "
            "cannot be told apart; add other token budgets at some sizes, or fit a law of flops"
        )
    if reasons and (not force or n == 0):
        raise BadInputError(reasons[0])
    return tuple(reasons)


def _held(points: Points, holdout: float | int | None) -> tuple[NDArray[np.bool_] | None, str]:
    if holdout is None:
        return None, ""
    if isinstance(holdout, int) and not isinstance(holdout, bool):
        word = "size" if holdout == 1 else f"{holdout} sizes"
        return holdout_groups(points, holdout), f"every run of the largest model {word}"
    return holdout_mask(points, holdout), f"the runs of largest compute, at most {holdout:.0%} of the points"


def _bootstrap(
    form: Law,
    points: Points,
    best: Optimised,
    delta: float,
    n: int,
    seed: int,
    width: int,
    residual: Residual = "log",
) -> Floats:
    """(n, P) reported parameters fitted to n resamples of whole runs, drawn with replacement."""
    random = np.random.default_rng([seed, 1])
    columns, log_loss = log_variables(form, points), np.log(points.loss)
    log_target = np.log(points.column(form.target))
    run = points.group_index()
    runs = int(run.max()) + 1
    weights = np.zeros((n, len(points)))
    filled = 0
    for _ in range(1000 * n):
        counts = np.bincount(random.integers(runs, size=runs), minlength=runs)[run]
        drawn = counts > 0
        kept = np.zeros(len(points), bool)
        kept[np.flatnonzero(drawn)[form.select(columns[drawn], log_loss[drawn])]] = True
        # A resample without enough levels has no fit at all, and would only measure the bounds.
        enough = kept.sum() >= len(form.theta_names) and all(
            len(np.unique(np.round(c[kept], 9))) >= form.min_levels for c in columns.T
        )
        if enough:
            weights[filled] = counts * kept * points.weight
            filled += 1
            if filled == n:
                break
    if filled < n:
        raise BadInputError(
            f"{points.source}: resamples of {runs} run(s) seldom determine {form.name}; "
            "give more runs, or --bootstrap 0"
        )
    x = columns - best.reference
    off = np.abs(residuals(residual, form.log_loss(best.theta, x), log_target))
    wide = float(np.clip(4 * np.median(off), delta, max(WIDE, delta)))
    starts = np.repeat(best.theta[None], 2 * n, axis=0)
    # Each resample twice from the full data's optimum: along the homotopy, and directly.
    rows = np.concatenate([np.arange(n), np.arange(n)])
    first = np.concatenate([np.full(n, wide), np.full(n, delta)])
    out = solve(form, x, log_target, weights, rows, starts, first, delta, width, residual)
    pick = np.where(out.value[:n] <= out.value[n:], np.arange(n), np.arange(n, 2 * n))
    return form.parameters(out.theta[pick], best.reference)


def _percentiles(values: Floats) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return float(low), float(high)


def _intervals(names: tuple[str, ...], draws: Floats) -> dict[str, Interval]:
    return {name: _percentiles(draws[:, i]) for i, name in enumerate(names)}


def _document(form: Law, points: Points, draws: Floats, seed: int) -> Bootstrap:
    kept = draws[:KEPT_SAMPLES]
    samples = {
        name: tuple(float(f"{v:.10g}") for v in kept[:, i]) for i, name in enumerate(form.parameter_names)
    }
    unit = "run" if len(set(points.groups)) < len(points) else "point"
    return Bootstrap(n=len(draws), level=LEVEL, unit=unit, seed=seed, samples=samples)


def _predict_held(
    form: Law,
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
        _refuse(form, rest, force)
    except BadInputError as error:
        raise BadInputError(f"hold-out of {int(held.sum())} points: {error}; or give no hold-out") from error
    asked = held & form.select(log_variables(form, points), np.log(points.loss))
    if not asked.any():
        return None
    target = points.subset(asked)
    best = optimise(form, rest, delta, seed, len(points), residual)
    x = log_variables(form, target)
    predicted = np.exp(form.log_loss(best.theta, x - best.reference))
    parameters = _named(form, form.parameters(best.theta, best.reference))
    ends: list[Interval | None] = [None] * len(target)
    if bootstrap:
        draws = _bootstrap(form, rest, best, delta, bootstrap, seed, len(points), residual)
        variables = {name: target.column(name) for name in form.variables}
        losses = np.array([form.predict(_named(form, draw), **variables) for draw in draws])
        ends = [_percentiles(column) for column in losses.T]
    measured = target.column(form.target)
    relative = predicted / measured - 1
    return Holdout(
        n=len(target),
        mean_abs_rel_error=float(np.abs(relative).mean()),
        max_abs_rel_error=float(np.abs(relative).max()),
        n_fitted=len(rest),
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
            for i in np.argsort(target.flops)
        ),
    )


def _optimum(form: Law, parameters: dict[str, float], draws: Floats | None, points: Points) -> Optimum | None:
    """The frontier from the smallest decade of compute in the data to two decades beyond the largest."""
    frontier = form.optimum(parameters)
    if frontier is None:
        return None
    low, high = np.log10(points.flops.min()), np.log10(points.flops.max())
    budgets = 10.0 ** np.arange(int(np.ceil(low)), int(np.ceil(high)) + 3)
    resampled = []
    if draws is not None:
        named = [_named(form, draw) for draw in draws]
        resampled = [(p, o) for p in named if (o := form.optimum(p)) is not None]
    rows = []
    for flops in budgets:
        n, d = frontier.params(flops), frontier.tokens(flops)
        ratio = loss = None
        if resampled:
            sizes = np.array([[o.params(flops), o.tokens(flops)] for _, o in resampled])
            ratio = _percentiles(sizes[:, 1] / sizes[:, 0])
            loss = _percentiles(
                np.array(
                    [
                        form.predict(p, params=s[0], tokens=s[1])
                        for (p, _), s in zip(resampled, sizes, strict=True)
                    ]
                )
            )
        rows.append(
            Allocation(
                flops=float(flops),
                params=float(n),
                tokens=float(d),
                tokens_per_param=float(d / n),
                tokens_per_param_interval=ratio,
                loss=float(form.predict(parameters, params=n, tokens=d)),
                loss_interval=loss,
            )
        )
    exponents = np.array([[o.a, o.b] for _, o in resampled])
    return Optimum(
        a=frontier.a,
        b=frontier.b,
        intervals=_intervals(("a", "b"), exponents) if resampled else {},
        tokens_per_param={f"{row.flops:.0e}": row.tokens_per_param for row in rows},
        budgets=tuple(rows),
    )
