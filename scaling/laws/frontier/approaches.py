"""The three approaches of Hoffmann et al. 2022 (arXiv:2203.15556), section 3, side by side for one sweep."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scaling.config.base import Frozen
from scaling.laws.forms.form import ComputeOptimum, Form
from scaling.laws.forms.laws import LAWS
from scaling.laws.forms.numeric_optimum import NumericOptimum
from scaling.laws.frontier.cost import compute_cost
from scaling.laws.frontier.isoflop import Method, fit_isoflops
from scaling.laws.frontier.power_law import PowerLaw
from scaling.laws.frontier.projection import NAMES, fit_projected
from scaling.laws.frontier.training_envelope import TrainingCurve, fit_training_envelope
from scaling.laws.law import Law
from scaling.laws.points import Points, canonical
from scaling.laws.tuned import tuned
from scaling.laws.uncertainty.resample import Interval, percentiles
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

Floats = NDArray[np.float64]

POOR = 0.01  # relative; seeds differ by 0.1% or so
SHOWN = 60  # points of the envelope kept for a figure
BEYOND = 10.0
LINE = 20  # points of a power law with its band


class OptimalPoint(Frozen):
    """One optimum an approach found, or reads off its law."""

    flops: float
    params: float
    tokens: float


class LinePoint(Frozen):
    """N_opt and D_opt of an approach's power laws at one compute, with 95% intervals."""

    flops: float
    params: float
    tokens: float
    params_interval: Interval | None = None
    tokens_interval: Interval | None = None


class Approach(Frozen):
    """N_opt = k C^a and D_opt = k' C^b by one approach; `refused` says why there is none, and what to add.

    `line` is the two power laws with their bands, over the compute of the optima; `at` the same at the
    largest compute of the data and at `BEYOND` times it.
    """

    name: str = ""
    a: float | None = None
    b: float | None = None
    k: float | None = None  # N_opt at C = 1
    a_interval: Interval | None = None
    b_interval: Interval | None = None
    n: int = 0  # budgets, or points for a law
    optima: tuple[OptimalPoint, ...] = ()
    line: tuple[LinePoint, ...] = ()
    at: tuple[LinePoint, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str | None = None
    interval_method: Literal["bootstrap", "jackknife"] | None = None


def compare_approaches(
    points: Points,
    curves: Sequence[TrainingCurve] = (),
    law: Law | None = None,
    method: Method = "windowed",
    bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[Approach, ...]:
    """Exponents by envelope, isoFLOP minima, variable projection and fitted law, each where it is possible.

    Args:
        points: finished budgets; those of equal compute make the isoFLOP groups.
        curves: training curves in the same counting of N and C, for the envelope.
        law: a fit with a closed optimum, for approach 3.
        method: of the isoFLOP minima.
        bootstrap: resamples of each approach but the law, which has its own.
        seed: of the resamples.
    """
    reduced = tuned(canonical(points), LAWS["chinchilla"])
    swept = (*reduced.notes, *reduced.edges)
    largest = float(points.flops.max())
    at = np.array([largest, BEYOND * largest])
    builders: dict[str, Callable[[], Approach]] = {
        "envelope of training curves": lambda: _envelope(
            curves, float(points.flops.min()), bootstrap, seed, at
        ),
        f"isoFLOP minima ({method})": lambda: _isoflop(points, method, bootstrap, seed, swept, at),
        "variable projection": lambda: _projected(points, bootstrap, seed, swept),
        "fitted law": lambda: _law(points, law),
    }
    found = []
    for name, build in builders.items():
        try:
            found.append(build().model_copy(update={"name": name}))
        except BadInputError as error:
            found.append(Approach(name=name, refused=str(error)))
    return tuple(found)


def _powers(
    params: PowerLaw, tokens: PowerLaw, bootstrap: int, optima: Floats, notes: tuple[str, ...], at: Floats
) -> Approach:
    """`optima` is (K, 3): FLOPs, N and D."""
    if bootstrap and params.interval_method is None:
        notes = (*notes, "fewer than half of the resamples determine the exponent: no interval; add runs")
    elif params.interval_method == "jackknife":
        notes = (
            *notes,
            "interval by leaving out each run in turn: fewer than half of the resamples determine it",
        )

    def of_powers(flops: Floats) -> tuple[LinePoint, ...]:
        return _line(
            flops,
            (params.predict(flops), tokens.predict(flops)),
            (params.interval(flops), tokens.interval(flops)),
        )

    return Approach(
        a=params.exponent,
        b=tokens.exponent,
        k=params.k,
        a_interval=params.exponent_interval,
        b_interval=tokens.exponent_interval,
        n=params.n,
        optima=_optima(optima),
        line=of_powers(np.geomspace(optima[:, 0].min(), optima[:, 0].max(), LINE)),
        at=of_powers(at),
        notes=notes,
        interval_method=params.interval_method,
    )


def _line(
    flops: Floats, values: Sequence[Floats], bands: Sequence[tuple[Floats, Floats] | None]
) -> tuple[LinePoint, ...]:
    """`values` and `bands` are those of N and of D at `flops`."""

    def ends(band: tuple[Floats, Floats] | None, i: int) -> Interval | None:
        return None if band is None else (float(band[0][i]), float(band[1][i]))

    return tuple(
        LinePoint(
            flops=float(c),
            params=float(values[0][i]),
            tokens=float(values[1][i]),
            params_interval=ends(bands[0], i),
            tokens_interval=ends(bands[1], i),
        )
        for i, c in enumerate(flops)
    )


def _optima(rows: Floats) -> tuple[OptimalPoint, ...]:
    return tuple(OptimalPoint(flops=float(c), params=float(n), tokens=float(d)) for c, n, d in rows)


def _envelope(
    curves: Sequence[TrainingCurve], from_flops: float, bootstrap: int, seed: int, at: Floats
) -> Approach:
    fit = fit_training_envelope(curves, bootstrap, seed, from_flops=from_flops)
    shown = np.unique(np.linspace(0, len(fit.flops_K) - 1, SHOWN).astype(int))
    optima = np.stack([fit.flops_K, fit.params_K, fit.tokens_K], axis=1)[shown]
    return _powers(fit.params, fit.tokens, bootstrap, optima, (fit.caveat,), at)


def _isoflop(
    points: Points, method: Method, bootstrap: int, seed: int, notes: tuple[str, ...], at: Floats
) -> Approach:
    fit = fit_isoflops(points, method, bootstrap=bootstrap, seed=seed)
    optima = np.array([(m.flops, m.params, m.tokens) for m in fit.minima.minima])
    refused = [r.reason for r in fit.minima.refused if r.sizes > 1]
    if single := sum(r.sizes == 1 for r in fit.minima.refused):
        refused.append(f"{plural(single, 'budget')} with runs of one size only")
    return _powers(fit.params, fit.tokens, bootstrap, optima, (*notes, *refused), at)


def _projected(points: Points, bootstrap: int, seed: int, notes: tuple[str, ...]) -> Approach:
    fit = fit_projected(points, bootstrap, seed)
    if fit.optimum is None:
        raise BadInputError(
            f"{points.source}: the term of params or of tokens is 0, and there is no optimum; vary both more"
        )
    notes = (*notes, *(f"not determined by these points: {name}" for name in fit.at_bound))
    missed = f"the law misses the measured losses by {fit.rms_error:.2%}, root mean square"
    notes = (*notes, missed + ("" if fit.rms_error < POOR else ": its form does not hold over all sizes"))
    rows = [dict(zip(NAMES, row, strict=True)) for row in fit.samples_S5.tolist()]
    # A resample without one of the terms has no optimum.
    draws = [row for row in rows if row["A"] > 0 and row["B"] > 0]
    if 2 * len(draws) < len(rows):
        draws = []
    cost, form = compute_cost(points), LAWS["chinchilla"]
    if cost is None:
        return _closed(fit.optimum, fit.intervals, points, fit.n, notes, draws, form)
    optimum = form.optimum(fit.parameters, cost)
    assert optimum is not None
    drawn = [o for row in draws if (o := form.optimum(row, cost)) is not None]
    ends = {name: percentiles(np.array([getattr(o, name) for o in drawn])) for name in ("a", "b") if drawn}
    intervals = {name: interval for name, interval in ends.items() if interval is not None}
    return _closed(optimum, intervals, points, fit.n, notes, draws, form)


def _law(points: Points, law: Law | None) -> Approach:
    if law is None:
        raise BadInputError("no fitted law was given; fit one of params and tokens, as `chinchilla`")
    optimum = law.frontier()
    if optimum is None:
        raise BadInputError(f"{law.law} has no closed optimum; fit one of params and tokens, as `chinchilla`")
    intervals = law.optimum.intervals if law.optimum else {}
    return _closed(optimum, intervals, points, law.n_selected, law.warnings, law.draws() or [], law.form)


def _closed(
    optimum: ComputeOptimum | NumericOptimum,
    intervals: Mapping[str, Interval],
    points: Points,
    n: int,
    notes: tuple[str, ...],
    draws: Sequence[Mapping[str, float]],
    form: Form,
) -> Approach:
    """A law's optimum, read over the points' compute; `draws` are parameters of its resamples."""
    largest = float(points.flops.max())
    shown = np.geomspace(points.flops.min(), largest, LINE)
    flops = np.concatenate([shown, [largest, BEYOND * largest]])
    drawn = [o for parameters in draws if (o := form.optimum(parameters, optimum.cost, largest)) is not None]
    bands: list[tuple[Floats, Floats] | None] = [None, None]
    if drawn:
        low, high = np.quantile([[o.params(flops), o.tokens(flops)] for o in drawn], [0.025, 0.975], axis=0)
        bands = [(low[0], high[0]), (low[1], high[1])]
    at = 1.0 if isinstance(optimum, ComputeOptimum) and optimum.cost is None else largest
    lines = _line(flops, (optimum.params(flops), optimum.tokens(flops)), bands)
    return Approach(
        a=optimum.a,
        b=optimum.b,
        k=float(optimum.params(at)) / at**optimum.a,
        a_interval=intervals.get("a"),
        b_interval=intervals.get("b"),
        interval_method="bootstrap" if "a" in intervals else None,
        n=n,
        optima=_optima(np.stack([shown, optimum.params(shown), optimum.tokens(shown)], axis=1)),
        line=lines[:LINE],
        at=lines[LINE:],
        notes=notes,
    )
