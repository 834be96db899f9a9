"""Fit a law to points: the best optimum there is, its bootstrap, its held-out test, in one document."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.laws.forms import LAWS, Law
from scaling.laws.holdout import holdout_groups, holdout_mask
from scaling.laws.law import Allocation, Bootstrap, Holdout, Interval, LawFit, Objective, Optimum, Prediction
from scaling.laws.points import Points
from scaling.laws.solver import Solutions, solve

Floats = NDArray[np.float64]
Progress = Callable[[str, float], None]

LEVEL = 0.95
WIDE = 0.3  # nats of log loss: residuals of a sensible fit all lie in a quadratic zone this wide
SAME_VALUE = 1e-7  # relative difference of objectives that count as the same optimum
RESTARTS = 128
KEPT_SAMPLES = 1000  # bootstrap parameters kept in law.json, for intervals of predictions


@dataclass(frozen=True)
class Optimised:
    """The best optimum found, with how hard it was to find."""

    theta: Floats
    reference: Floats
    value: float
    gradient: float
    n_starts: int
    n_at_best: int
    x: Floats
    log_loss: Floats
    weight: Floats


def fit_points(
    points: Points,
    law: str = "chinchilla",
    delta: float = 1e-3,
    bootstrap: int = 0,
    holdout: float | int | None = 0.2,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> LawFit:
    """Fit `law` to all points; then once more without the largest runs, and predict those.

    The objective is sum_i weight_i Huber_delta(log L(theta, i) - log L_i) (Hoffmann et al. 2022, equation
    10): a sum, not a mean, so that an optimiser's absolute tolerances do not stop it early.

    Args:
        points: finished training budgets.
        law: a name in `LAWS`.
        delta: width of the Huber loss's quadratic zone, in log loss.
        bootstrap: resamples of whole runs; 0 for none.
        holdout: a fraction of the points (of the largest compute), a number of the largest model sizes, or
            None for no test.
        seed: of the resamples and restarts.
        force: fit what would be refused, and say so in the document.
        progress: called with a phase and the share of the work done.

    Raises:
        BadInputError: an argument is out of range, or the points cannot determine the law.
    """
    if law not in LAWS:
        raise BadInputError(f"law={law!r} is not known; known: {', '.join(LAWS)}")
    if not (np.isfinite(delta) and delta > 0):
        raise BadInputError(f"delta={delta:g} is not accepted; give a positive number, 1e-3 for the paper's")
    if bootstrap < 0 or bootstrap == 1:
        raise BadInputError(f"bootstrap={bootstrap} is not accepted; give 0, or at least 2 resamples")
    tell = progress or (lambda phase, share: None)
    form = LAWS[law]
    warnings = _refuse(form, points, force)
    held, rule = _held(points, holdout)

    tell("fit", 0.0)
    best = _optimise(form, points, delta, seed, len(points))
    parameters = _named(form, form.parameters(best.theta, best.reference))
    draws: Floats | None = None
    if bootstrap:
        tell("bootstrap", 0.4)
        draws = _bootstrap(form, points, best, delta, bootstrap, seed, len(points))
    test = None
    if held is not None:
        tell("hold-out", 0.7)
        test = _predict_held(form, points, held, rule, delta, bootstrap, seed, force)
        if test is None:
            warnings = (*warnings, "no held-out point lies on the envelope: the law was not tested")
    tell("done", 1.0)

    hits = _boundary_hits(form, best, delta)
    if hits:
        warnings = (*warnings, f"not determined by these points: {', '.join(hits)}")
    return LawFit(
        law=law,
        equation=form.equation,
        parameters=parameters,
        intervals={} if draws is None else _intervals(form.parameter_names, draws),
        objective=Objective(name="sum of Huber(log L_pred - log L_obs)", delta=delta, value=best.value),
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
            for name in ("params", "tokens", "flops", "loss")
            for values in [getattr(points, name)]
        },
        warnings=warnings,
        forced=force and bool(warnings),
        source=points.source,
        versions={name: version(name) for name in ("jax", "numpy")},
    )


def _log_variables(form: Law, points: Points) -> Floats:
    return np.log(np.stack([getattr(points, name) for name in form.variables], axis=1))


def _named(form: Law, values: Floats) -> dict[str, float]:
    return {name: float(v) for name, v in zip(form.parameter_names, values, strict=True)}


def _refuse(form: Law, points: Points, force: bool) -> tuple[str, ...]:
    """What stands against the fit; raised unless forced."""
    columns = _log_variables(form, points)
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
            f"{points.source}: tokens follow params exactly, so that A/N^alpha and B/D^beta cannot be told "
            "apart; add other token budgets at some sizes, or fit compute-envelope"
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


def _optimise(form: Law, points: Points, delta: float, seed: int, width: int) -> Optimised:
    """The lowest objective over all starts and restarts.

    All starts are first solved with a wide quadratic zone. Starts that meet there share the rest of the way,
    which is the same for all of them; each distinct solution goes on both by homotopy and directly.
    Restarts from fits to randomly reweighted points then look for a lower optimum until none is found.
    """
    columns = _log_variables(form, points)
    chosen = form.select(columns, np.log(points.loss))
    columns, log_loss, weight = columns[chosen], np.log(points.loss[chosen]), points.weight[chosen]
    reference = columns.mean(axis=0)
    x = columns - reference

    random = np.random.default_rng(seed)
    weights = np.stack([weight] * (RESTARTS + 1))

    def descend(starts: Floats, rows: Any, first: Any, final: float) -> Solutions:
        count = len(starts)
        rows, first = np.broadcast_to(rows, count), np.broadcast_to(np.asarray(first, float), count)
        return solve(form, x, log_loss, weights, rows, starts, first, final, width)

    starts = form.starts(x, log_loss, reference)
    wide = max(WIDE, delta)
    met = descend(starts, 0, wide, wide)
    _, first, where = np.unique(np.round(met.theta, 5), axis=0, return_index=True, return_inverse=True)
    distinct = met.theta[first]
    ends = descend(np.concatenate([distinct, distinct]), 0, np.repeat([wide, delta], len(distinct)), delta)
    reached = ends.value[: len(distinct)][where.reshape(-1)]
    found = _best_of(ends)
    extra: list[Floats] = []
    for _ in range(3):
        weights[1:] = weight * random.exponential(size=(RESTARTS, len(weight)))
        away = descend(
            np.repeat(found[0][None], RESTARTS, axis=0),
            np.arange(1, RESTARTS + 1),
            min(WIDE, 30 * delta),
            delta,
        )
        back = descend(away.theta, 0, delta, delta)
        extra.append(back.value)
        before, found = found[1], min(found, _best_of(back), key=lambda item: item[1])
        if found[1] >= before * (1 - 1e-10):
            break
    theta, value, gradient = found
    values = np.concatenate([reached, *extra])
    at_best = int((values <= value * (1 + SAME_VALUE) + 1e-300).sum())
    return Optimised(
        theta, reference, float(value), float(gradient), len(values), at_best, x, log_loss, weight
    )


def _best_of(s: Solutions) -> tuple[Floats, float, float]:
    """Theta, value and gradient norm of the lowest objective; of equal ones, the smallest gradient."""
    near = s.value <= s.value.min() * (1 + 1e-12) + 1e-300
    best = int(np.argmin(np.where(near, s.gradient, np.inf)))
    return s.theta[best], float(s.value[best]), float(s.gradient[best])


def _boundary_hits(form: Law, best: Optimised, delta: float) -> tuple[str, ...]:
    """Entries of theta at a bound, or that could go there at no cost: the data do not hold them."""

    def objective(theta: Floats) -> float:
        size = np.abs(form.log_loss(theta, best.x) - best.log_loss)
        inside = size <= delta
        return float((best.weight * np.where(inside, 0.5 * size**2, delta * (size - 0.5 * delta))).sum())

    here = objective(best.theta)
    hits = []
    for i, name in enumerate(form.theta_names):
        for bound, side in zip(form.bounds[i], ("lower", "upper"), strict=True):
            moved = best.theta.copy()
            moved[i] = bound
            # A perfect fit has an objective of rounding errors, below which nothing is told apart.
            if objective(moved) <= here * (1 + 1e-9) + 1e-18 * best.weight.sum():
                hits.append(f"{name} at its {side} bound {bound:g}")
    return tuple(hits)


def _bootstrap(
    form: Law, points: Points, best: Optimised, delta: float, n: int, seed: int, width: int
) -> Floats:
    """(n, P) reported parameters fitted to n resamples of whole runs, drawn with replacement."""
    random = np.random.default_rng([seed, 1])
    columns, log_loss = _log_variables(form, points), np.log(points.loss)
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
    residual = np.abs(form.log_loss(best.theta, x) - log_loss)
    wide = float(np.clip(4 * np.median(residual), delta, WIDE))
    starts = np.repeat(best.theta[None], 2 * n, axis=0)
    # Each resample twice from the full data's optimum: along the homotopy, and directly.
    rows = np.concatenate([np.arange(n), np.arange(n)])
    first = np.concatenate([np.full(n, wide), np.full(n, delta)])
    out = solve(form, x, log_loss, weights, rows, starts, first, delta, width)
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
) -> Holdout | None:
    """Fit without the held-out runs and predict them; of an envelope law, those on the full envelope."""
    rest = points.subset(~held)
    try:
        _refuse(form, rest, force)
    except BadInputError as error:
        raise BadInputError(f"hold-out of {int(held.sum())} points: {error}; or give no hold-out") from error
    asked = held & form.select(_log_variables(form, points), np.log(points.loss))
    if not asked.any():
        return None
    target = points.subset(asked)
    best = _optimise(form, rest, delta, seed, len(points))
    x = _log_variables(form, target)
    predicted = np.exp(form.log_loss(best.theta, x - best.reference))
    parameters = _named(form, form.parameters(best.theta, best.reference))
    ends: list[Interval | None] = [None] * len(target)
    if bootstrap:
        draws = _bootstrap(form, rest, best, delta, bootstrap, seed, len(points))
        variables = {name: getattr(target, name) for name in form.variables}
        losses = np.array([form.predict(_named(form, draw), **variables) for draw in draws])
        ends = [_percentiles(column) for column in losses.T]
    relative = predicted / target.loss - 1
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
                measured=float(target.loss[i]),
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
