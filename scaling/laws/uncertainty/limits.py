"""Limiting forms: when the data let a parameter run to a limit, the law is fitted without that parameter.

A parameter at a bound biases the others, and has no interval: E of a small ladder runs to 0, R_N of data
without excess parameters to infinity, a break to a place without points. Every law declares such limits
(`forms.form.Limit`). Each limiting form is fitted too, and compared with the full one by the drop
test of `uncertainty.noise.Scale`: with k entries of theta held, T = 2 (F_limit - F_full) / drop is k
times an F-distributed number with k and n - P degrees of freedom.

- T below its 95% quantile: the data do not exclude the limit. The parameter is unidentified, and its
  interval is open on that side.
- T about 0, or an entry of theta at the edge of its box: the full form is no better than its limit, and the
  limiting form is reported. The same holds for a break that is not needed, whose place and sharpness have no
  meaning without it.
- An entry of theta at the edge of its box without a limiting form is held there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scaling.laws.forms.form import Floats, Form, Limit
from scaling.laws.forms.limiting import limiting_form, reported
from scaling.laws.forms.quantities import Ends, Quantities, quantities
from scaling.laws.points import Points
from scaling.laws.sections import LEVEL, LimitComparison, Profile
from scaling.laws.solving.optimise import BestFit, optimise, refits
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.solver import solve
from scaling.laws.uncertainty.bootstrap import bootstrap_parameters, intervals_of
from scaling.laws.uncertainty.curvature import Curvature, curvature
from scaling.laws.uncertainty.noise import drop_quantile, residual_scale
from scaling.laws.uncertainty.profile import profiles

NEAR = 0.25  # of T: a parameter within half a standard error of its limit counts as at the limit
SHARES = (0.1, 0.4, 0.8)  # of the target, at which a term is held to find fits in which it is present


@dataclass(frozen=True)
class Chosen:
    """The optimum of the form to report, that of the full law, and the limits that are not excluded.

    `open_ends` names the unidentified parameters, and says which ends of their intervals are open.
    """

    best: BestFit
    full: BestFit
    limits: tuple[LimitComparison, ...] = ()
    open_ends: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Compared:
    limit: Limit
    form: Form
    theta: Floats
    rise: float
    statistic: float | None
    threshold: float | None

    @property
    def excluded(self) -> bool:
        if self.statistic is None or self.threshold is None:
            return self.rise > 0
        return self.statistic > self.threshold

    @property
    def near(self) -> bool:
        if self.excluded or self.limit.side == "inside":
            return not self.excluded
        return self.statistic is None or self.statistic <= NEAR

    def is_at(self, edges: Collection[int]) -> bool:
        """Whether an entry that it would hold is already at the edge of its box, and the data allow it."""
        return not self.excluded and any(entry in edges for entry, _ in self.limit.held)


def choose(problem: Problem, seed: int) -> Chosen:
    """Fit the law of the problem and its limiting forms, and choose the form to report."""
    law = problem.form
    best = full = optimise(problem, seed)
    taken, kept = list[_Compared](), list[_Compared]()
    while True:
        compared = [_compare(law, best, taken, one) for one in best.form.limits]
        at_edge = {entry for entry, _ in _edges(best)}
        adopted = next((one for one in compared if one.near or one.is_at(at_edge)), None)
        if adopted is None:
            break
        taken.append(adopted)
        # For a parameter without meaning here, the opposite limit is not excluded either.
        kept += [
            one for one in compared if one.limit.parameter == adopted.limit.parameter and one is not adopted
        ]
        best = optimise(problem.with_form(adopted.form), seed)
    kept = [one for one in (*kept, *compared) if not one.excluded]
    edges = _edges(best)
    if edges:
        best = best.with_form(limiting_form(law, tuple(one.limit for one in taken), tuple(edges)))
    open_ends: dict[str, tuple[bool, bool]] = {}
    for one in (*taken, *kept):
        side = one.limit.side
        here = open_ends.get(one.limit.parameter, (False, False))
        open_ends[one.limit.parameter] = (here[0] or side == "lower", here[1] or side == "upper")
        open_ends |= dict.fromkeys(one.limit.absent, (True, True))
    warnings = [_in_words(one, one in taken) for one in (*taken, *kept)]
    for entry, value in edges:
        name, lower = law.parameter_names[entry], value == law.bounds[entry][0]
        open_ends[name] = (lower, not lower)
        warnings.append(
            f"{name} is unidentified: {law.theta_names[entry]} is at its {'lower' if lower else 'upper'} "
            f"bound {value:g}, and is held there for the intervals of the others"
        )
    documents = [
        LimitComparison(
            parameter=one.limit.parameter,
            limit=one.limit.value,
            equation=one.form.equation,
            adopted=one in taken,
            rise=one.rise,
            statistic=one.statistic,
            threshold=one.threshold,
            other=reported(law, full.theta, problem.reference)
            if one in taken
            else reported(one.form, one.theta, problem.reference),
        )
        for one in (*taken, *kept)
    ]
    return Chosen(best, full, tuple(documents), open_ends, tuple(warnings))


def _compare(law: Form, best: BestFit, taken: Sequence[_Compared], limit: Limit) -> _Compared:
    problem, form = best.problem, best.form
    there = limiting_form(law, (*(one.limit for one in taken), limit))
    found = refits(problem.with_form(there), problem.weight[None], best.theta)
    rise = float(found.value[0] - best.value)
    fitted = int(form.free.sum())
    scale = residual_scale(best.residuals(), problem.weight, problem.delta, fitted)
    if scale is None:
        # A perfect fit has an objective of rounding errors, below which nothing can be distinguished.
        same = rise <= 1e-9 * best.value + 1e-18 * problem.weight.sum()
        return _Compared(limit, there, found.theta[0], 0.0 if same else rise, None, None)
    effect = 1.0
    if problem.shared is not None:
        # Points that share runs count for less: the rise is divided by the design effect of what is held.
        found_here = curvature(best)
        held = np.eye(len(best.theta))[[entry for entry, _ in limit.held if form.free[entry]]]
        effect = max(1.0, float(found_here.design_effect(held).max(initial=1.0)))
        scale = found_here.scale or scale
    statistic = 2 * rise / (scale.drop * problem.weight.mean() * effect)
    threshold = drop_quantile(LEVEL, fitted - int(there.free.sum()), scale.freedom)
    return _Compared(limit, there, found.theta[0], rise, max(statistic, 0.0), threshold)


def _edges(best: BestFit) -> list[tuple[int, float]]:
    """Entries of theta at the edge of their boxes that no limit holds."""
    form = best.form
    return [
        (i, edge)
        for i, box in enumerate(form.bounds)
        for edge in box
        if i not in form.held and abs(best.theta[i] - edge) < 1e-9
    ]


def _in_words(one: _Compared, adopted: bool) -> str:
    limit = one.limit
    subject = f"{limit.parameter} is unidentified"
    if limit.absent:
        subject += ", and with it " + ", ".join(f"{name} is unidentified" for name in limit.absent)
    place = "infinity" if limit.value is None else f"{limit.value:g}"
    evidence = (
        "every point is fitted exactly"
        if one.statistic is None or one.threshold is None
        else f"drop test {one.statistic:.2g}, 95% at {one.threshold:.2g}"
    )
    if adopted:
        return (
            f"{subject}: the law fits as well with {limit.parameter} at its limit {place} "
            f"({evidence}); reported is {one.form.equation}"
        )
    return (
        f"{subject}: the points do not exclude the limit {place} of {limit.parameter} "
        f"({evidence}), {one.form.equation}"
    )


def elsewhere(best: BestFit, names: Sequence[str]) -> Floats:
    """(K, P) fits in which terms that may be absent are held at a share of the target.

    The objective is flat in the log of a term towards 0: a resample started there finds no other fit.
    """
    problem = best.problem
    level = float(problem.log_target.min())
    found = [best.theta[None][:0]]
    for limit in best.form.limits:
        if limit.parameter not in names or not limit.share:
            continue
        for share in SHARES:
            inside = limiting_form(best.form, (), ((limit.held[0][0], level + np.log(share)),))
            start, weights = best.theta[None].copy(), problem.weight[None]
            out = solve(problem.with_form(inside), weights, np.array([0]), start, np.array([0.3]))
            found.append(out.theta)
    return np.concatenate(found)


def profiled_of(chosen: Chosen, found: Curvature, asked: Quantities) -> dict[str, Profile]:
    """Profiles in the reported form, and in the full law of the parameters that the reported form holds."""
    full = chosen.full
    out = profiles(chosen.best, found, asked, LEVEL)
    lacking = [name for name in chosen.open_ends if name not in out]
    if lacking:
        everything = quantities(full.form, full.problem.reference, asked.flops, asked.cost)
        out |= profiles(full, curvature(full, tuple(lacking)), everything, LEVEL, lacking)
    for name, (low, high) in chosen.open_ends.items():
        if name in out:
            out[name] = _opened(out[name], low, high)
    return {name: out[name] for name in asked.names if name in out}


def _opened(one: Profile, low: bool, high: bool) -> Profile:
    """The profile with open ends on the sides on which the parameter may run to a limit."""
    ends = (None if low else one.interval[0], None if high else one.interval[1])
    if ends == one.interval:
        return one
    flat = one.flat_range or (one.grid[0], one.grid[-1])
    return one.model_copy(update={"interval": ends, "identified": None not in ends, "flat_range": flat})


def bootstrapped(
    chosen: Chosen, points: Points, open_ends: Mapping[str, tuple[bool, bool]], n: int, seed: int
) -> tuple[Floats, dict[str, Ends]]:
    """Draws of the reported form, and intervals; of parameters it holds, from draws of the full law.

    Resamples of the full law start where its terms are present too, so that they find the largest values that
    a parameter at its limit may have.
    """
    law, form = chosen.full.form, chosen.best.form
    target = float(np.median(points.column(law.target)))
    others = elsewhere(chosen.full, list(open_ends))
    full: Floats | None = None
    if form is law or chosen.open_ends:
        full = bootstrap_parameters(chosen.full, points, n, seed, others)
    draws = full
    if form is not law or full is None:
        draws = bootstrap_parameters(chosen.best, points, n, seed)
    assert draws is not None
    intervals = intervals_of(form, draws, open_ends, target)
    if full is not None and form is not law:
        of_full = intervals_of(law, full, open_ends, target)
        held = {law.parameter_names[i] for i in form.held}
        intervals |= {name: ends for name, ends in of_full.items() if name in held}
    return draws, {name: intervals[name] for name in law.parameter_names if name in intervals}
