"""Laws with every part a figure or the report can show, made without the search that `scaling fit` runs.

The numbers are those of least squares and of seeded draws: close enough to a fit for what is drawn, and
found in milliseconds.
"""

import numpy as np
from scipy.optimize import least_squares

from scaling.laws import LAWS, fit_points
from scaling.laws.frontier.optimum import optimum_of
from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.sections import CutOff, Holdout, ObjectiveValue, Prediction, Profile, SensitivityRow
from scaling.laws.uncertainty.bootstrap import document, intervals_of

DRAWS = 60


def law_of(
    points: Points, name: str = "chinchilla", held_sizes: int = 0, resampled: bool = True, full: bool = False
) -> Law:
    """A law through the points.

    Args:
        points: the runs.
        name: of the law.
        held_sizes: how many of the largest sizes are shown as held out.
        resampled: with bootstrap samples and intervals.
        full: with profiles (one of a parameter that is not identified), rolling test and sensitivity.
    """
    form = LAWS[name]
    if not form.bounds:  # an average of other forms, which only the search can weigh
        return fit_points(
            points, name, bootstrap=20, holdout=None, rolling=0, profile=full, sensitivity=False
        )
    x = np.log(np.stack([points.column(v) for v in form.variables], axis=1))
    y = np.log(points.column(form.target))
    chosen = form.select(x, np.log(points.loss))
    x, y = x[chosen], y[chosen]
    reference = form.reference(x)
    low, high = np.array(form.bounds, float).T
    starts = np.clip(form.starts(x - reference, y, reference)[::47], low + 1e-6, high - 1e-6)
    error = lambda theta: form.log_loss(theta, x - reference) - y  # noqa: E731
    start = min(starts, key=lambda theta: np.abs(error(theta)).sum())
    theta = least_squares(error, start, bounds=(low, high)).x
    random = np.random.default_rng(0)
    thetas = np.clip(theta + 0.03 * random.normal(size=(DRAWS, len(theta))), low, high)
    draws = np.array([form.parameters(t, reference) for t in thetas])
    named = [dict(zip(form.parameter_names, map(float, draw), strict=True)) for draw in draws]
    parameters = dict(zip(form.parameter_names, map(float, form.parameters(theta, reference)), strict=True))
    return Law(
        law=name,
        equation=form.equation,
        parameters=parameters,
        intervals=intervals_of(form, draws, {}, float(np.exp(y.mean()))) if resampled else {},
        objective=ObjectiveValue(name="Huber loss of log residuals", delta=1e-3, value=0.00123456),
        n_points=len(points),
        n_selected=int(chosen.sum()),
        n_starts=4500,
        n_starts_at_best=3971,
        gradient_norm=1e-9,
        boundary_hits=(),
        holdout=_holdout(points, form, parameters, held_sizes, resampled) if held_sizes else None,
        optimum=optimum_of(form, parameters, named if resampled else [], points.flops),
        counting=points.counting,
        counts=points.conventions,
        bootstrap=document(form, points, draws, 0, 0.0) if resampled else None,
        profile=_profiles(parameters) if full else None,
        rolling=_rolling(points, parameters) if full else None,
        unidentified=form.parameter_names[:1] if full else (),
        sensitivity=_sensitivity(points, parameters) if full else None,
        ranges={
            v: (float(c.min()), float(c.max()))
            for v in dict.fromkeys(("params", "tokens", "flops", "loss", *form.variables, form.target))
            for c in [points.column(v)]
        },
        source=points.source,
        versions={"jax": "0.10.2", "numpy": "2.4.0"},
    )


def _holdout(points: Points, form, parameters, held_sizes: int, resampled: bool) -> Holdout:
    largest = np.unique(points.params)[-held_sizes:]
    index = np.flatnonzero(np.isin(points.params, largest))
    held = points.subset(index.tolist())
    predicted = form.predict(parameters, **{v: held.column(v) for v in form.variables}) * 1.004
    measured = held.column(form.target)
    errors = predicted / measured - 1
    predictions = tuple(
        Prediction(
            label=held.labels[i],
            group=held.groups[i],
            params=held.params[i],
            tokens=held.tokens[i],
            flops=held.flops[i],
            measured=measured[i],
            predicted=predicted[i],
            rel_error=errors[i],
            interval=(predicted[i] * 0.99, predicted[i] * 1.01) if resampled else None,
        )
        for i in range(len(held))
    )
    return Holdout(
        n=len(held),
        mean_abs_rel_error=float(np.abs(errors).mean()),
        max_abs_rel_error=float(np.abs(errors).max()),
        n_fitted=len(points) - len(held),
        rule="every run of the largest model size",
        parameters=parameters,
        predictions=predictions,
    )


def _profiles(parameters: dict[str, float]) -> dict[str, Profile]:
    """A parabola for each quantity; the first is flat towards 0, as of a parameter at its limit."""
    out = {}
    values = parameters | {"a": 0.46, "tokens_per_param": 23.0}
    for i, (name, value) in enumerate(values.items()):
        if i == 0:
            grid = value * np.geomspace(1e-9, 2.0, 30)
            rise = np.where(grid > value, 0.02 * np.log(grid / value) ** 2, 0.0)
            interval: tuple[float | None, float | None] = (None, float(value * 1.6))
        else:
            spread = 1.5 if value > 10 else 0.2
            grid = value * np.exp(np.linspace(-spread, spread, 30) * (4 if name == "A" else 1))
            rise = 0.01 * (np.log(grid / value) / spread) ** 2
            interval = (float(value * np.exp(-spread / 2)), float(value * np.exp(spread / 2)))
        out[name] = Profile(
            grid=tuple(map(float, grid)),
            objective=tuple(map(float, 0.00123456 + rise)),
            interval=interval,
            identified=i > 0,
            flat_range=None if i else (float(grid[0]), value),
        )
    return out


def _rolling(points: Points, parameters: dict[str, float]) -> tuple[CutOff, ...]:
    cuts = np.quantile(points.flops, [0.4, 0.6, 0.8])
    return tuple(
        CutOff(
            flops=float(c),
            extrapolation=float(points.flops.max() / c),
            n_fitted=int((points.flops <= c).sum()),
            n=int((points.flops > c).sum()),
            mean_abs_rel_error=0.0123,
            max_abs_rel_error=0.0345,
            inside=0.5,
            parameters=parameters,
        )
        for c in cuts
    )


def _sensitivity(points: Points, parameters: dict[str, float]) -> tuple[SensitivityRow, ...]:
    at = {"params": float(points.params.max()), "tokens": float(points.tokens.max()), "flops": 1e20}
    same = {"delta": 1e-3, "counting": points.counting, "at": at}
    return (
        SensitivityRow(
            change="as fitted", n=len(points), parameters=parameters, a=0.46, prediction=2.1, **same
        ),
        SensitivityRow(
            change="without the smallest size", n=20, parameters=parameters, a=0.47, prediction=2.2, **same
        ),
        SensitivityRow(
            change="N counts all parameters", n=20, refused="the points cannot tell the two terms", **same
        ),
    )
