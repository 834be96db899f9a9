"""Intervals by resampling whole runs: points of one trunk share their noise, and are drawn together."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Form
from scaling.laws.forms.quantities import Ends
from scaling.laws.law import Bootstrap, Interval
from scaling.laws.points import Points
from scaling.laws.solving.objective import Residual, residuals
from scaling.laws.solving.optimise import WIDE, Optimised, log_variables
from scaling.laws.solving.solver import solve
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]

LEVEL = 0.95
ABSENT = 1e-6  # of the target: a term this small is none
KEPT_SAMPLES = 1000  # bootstrap parameters kept in law.json, for intervals of predictions


def bootstrap_parameters(
    form: Form,
    points: Points,
    best: Optimised,
    delta: float,
    n: int,
    seed: int,
    width: int,
    residual: Residual = "log",
    elsewhere: Floats | None = None,
) -> Floats:
    """(n, P) reported parameters fitted to n resamples of whole runs, drawn with replacement.

    `elsewhere` (K, P) are further starts, besides the optimum of the full data.
    """
    columns, log_target = log_variables(form, points), np.log(points.column(form.target))
    counts, kept = bootstrap_counts(form, points, n, seed)
    weights = counts * kept * points.weight
    x = columns - best.reference
    off = np.abs(residuals(residual, form.log_loss(best.theta, x), log_target))
    wide = float(np.clip(4 * np.median(off), delta, max(WIDE, delta)))
    # Each resample twice from the full data's optimum: along the homotopy, and directly.
    others = np.empty((0, len(best.theta))) if elsewhere is None else elsewhere
    from_theta = np.concatenate([best.theta[None], best.theta[None], others])
    K = len(from_theta)
    starts = np.repeat(from_theta, n, axis=0)
    rows = np.tile(np.arange(n), K)
    first = np.repeat([wide, delta, *[wide] * len(others)], n)
    out = solve(form, x, log_target, weights, rows, starts, first, delta, width, residual)
    pick = np.arange(n) + n * out.value.reshape(K, n).argmin(axis=0)
    return form.parameters(out.theta[pick], best.reference)


def bootstrap_counts(form: Form, points: Points, n: int, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """(n, points) how often each point is drawn in n resamples of whole runs, and which of them `form` reads.

    The rows depend on nothing but the points, the form and the seed: a second law fitted to the same counts
    varies together with the first.

    Raises:
        BadInputError: hardly any resample determines the law.
    """
    random = np.random.default_rng([seed, 1])
    columns, log_loss = log_variables(form, points), np.log(points.loss)
    run = points.group_index()
    runs = int(run.max()) + 1
    counts = np.zeros((n, len(points)))
    kept = np.zeros((n, len(points)), bool)
    filled = 0
    for _ in range(1000 * n):
        count = np.bincount(random.integers(runs, size=runs), minlength=runs)[run]
        drawn = count > 0
        read = np.zeros(len(points), bool)
        read[np.flatnonzero(drawn)[form.select(columns[drawn], log_loss[drawn])]] = True
        # A resample without enough levels has no fit at all, and would only measure the bounds.
        enough = read.sum() >= form.min_points - 1 and all(
            len(np.unique(np.round(c[read], 9))) >= form.min_levels for c in columns.T
        )
        if enough:
            counts[filled], kept[filled] = count, read
            filled += 1
            if filled == n:
                return counts, kept
    raise BadInputError(
        f"{points.source}: resamples of {runs} run(s) seldom determine {form.name}; "
        "give more runs, or --bootstrap 0"
    )


def percentiles_of(values: Floats) -> Interval:
    """The middle `LEVEL` of each estimate's draws."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return float(low), float(high)


def intervals_of(
    form: Form, draws: Floats, open_ends: Mapping[str, tuple[bool, bool]], target: float
) -> dict[str, Ends]:
    """Percentile intervals of the columns of draws (S, P), None where an end is open.

    Ends are open where the points do not exclude a limit (`open_ends`), and where the resamples themselves
    run to one: to infinity, or a term to nothing compared with the `target`.
    """
    out: dict[str, Ends] = {}
    floors = {limit.parameter for limit in form.program.limits if limit.share and not limit.absent}
    for i, name in enumerate(form.parameter_names):
        column = draws[:, i]
        if np.isnan(column).any():
            continue
        infinite = np.isinf(column).any()
        # 1 / R is finite where R is not, and falls with it.
        ends: list[float | None] = list(percentiles_of(-1 / column if infinite else column))
        if infinite:
            ends = [-1 / end if end else None for end in ends]
        elif name in floors and (ends[0] or 0.0) < ABSENT * target:
            ends[0] = None
        for side, is_open in enumerate(open_ends.get(name, (False, False))):
            if is_open:
                ends[side] = None
        out[name] = (ends[0], ends[1])
    return out


def document(form: Form, points: Points, draws: Floats, seed: int) -> Bootstrap:
    """What law.json keeps of the draws."""
    kept = draws[:KEPT_SAMPLES]
    samples = {
        name: tuple(float(f"{v:.10g}") if np.isfinite(v) else None for v in kept[:, i])
        for i, name in enumerate(form.parameter_names)
        if name not in form.absent
    }
    unit = "run" if len(set(points.groups)) < len(points) else "point"
    return Bootstrap(n=len(draws), level=LEVEL, unit=unit, seed=seed, samples=samples)
