"""Intervals by resampling complete runs: points of one trunk share their noise, and are drawn together.

A resample that does not determine the law is drawn again. Where that happens often, the accepted ones are
too much like the data: of three trunks, every accepted resample is the data itself. Such a design has no
bootstrap interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats, Form
from scaling.laws.forms.quantities import Ends
from scaling.laws.points import Points
from scaling.laws.sections import LEVEL, Bootstrap
from scaling.laws.solving.optimise import BestFit
from scaling.laws.solving.problem import chosen_by_loss
from scaling.laws.solving.solver import solve
from scaling.laws.uncertainty.noise import CHOSEN
from scaling.laws.uncertainty.resample import expanded, expansion, middle
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

ABSENT = 1e-6  # of the target: a smaller term counts as none
KEPT_SAMPLES = 1000  # bootstrap parameters kept in law.json, for intervals of predictions
MOST_REJECTED = 0.2  # of the resamples: four runs of three levels reject 34%, five 10%


@dataclass(frozen=True)
class Resamples:
    """R resamples of complete runs.

    Attributes:
        counts: (R, points) how often each point is drawn.
        kept: (R, points) which of them the form reads.
        rejected: share of all resamples drawn that do not determine the form.
        runs: digest of the runs that are drawn from.
        tries: (R,) number of each among all resamples drawn.
        chosen: whether the form reads only the points of low loss.
    """

    counts: Floats
    kept: NDArray[np.bool_]
    rejected: float
    runs: str
    tries: NDArray[np.int64]
    chosen: bool = False

    @property
    def refused(self) -> str | None:
        """Why there is no bootstrap interval; None if there is one."""
        if self.chosen:
            return CHOSEN
        if self.rejected <= MOST_REJECTED:
            return None
        return (
            f"{self.rejected:.0%} of the resamples of runs do not determine the law, and the others are too "
            "much like the data: no bootstrap intervals; add runs"
        )


def bootstrap_parameters(
    best: BestFit, points: Points, n: int, seed: int, elsewhere: Floats | None = None
) -> Floats:
    """(n, P) reported parameters fitted to n resamples of complete runs, drawn with replacement.

    `points` are all points, of which each resample selects those that the form describes. `elsewhere` (K, P)
    are further starts, in addition to the optimum of the full data. Draws are moved away from that optimum by
    the `expansion` for few runs.
    """
    form, problem = best.form, best.problem.over(points)
    drawn = bootstrap_counts(form, points, n, seed)
    wide = replace(best, problem=problem).homotopy_from()
    # Each resample twice from the full data's optimum: along the homotopy, and directly.
    others = np.empty((0, len(best.theta))) if elsewhere is None else elsewhere
    from_theta = np.concatenate([best.theta[None], best.theta[None], others])
    K = len(from_theta)
    first = np.repeat([wide, problem.delta, *[wide] * len(others)], n)
    rows = np.tile(np.arange(n), K)
    out = solve(
        problem, drawn.counts * drawn.kept * points.weight, rows, np.repeat(from_theta, n, axis=0), first
    )
    pick = np.arange(n) + n * out.value.reshape(K, n).argmin(axis=0)
    root, bounds = np.sqrt(problem.weight), np.array(form.bounds).T
    terms = form.terms(problem.x, np)

    def predicted(theta: Floats) -> Floats:
        if terms is None:
            values: Floats = root * form.log_loss(theta, problem.x)
        else:
            values = root * np.logaddexp.reduce(terms @ theta)
        return values

    factor = expansion(int(points.group_index().max()) + 1)
    theta = expanded(predicted, best.theta, out.theta[pick], factor, bounds)
    parameters: Floats = form.parameters(theta, problem.reference)
    return parameters


def bootstrap_counts(form: Form, points: Points, n: int, seed: int) -> Resamples:
    """n resamples of complete runs that determine `form`.

    All resamples, with those that are rejected, depend only on the runs and the seed: a second law of the
    same runs varies together with the first.

    Raises:
        BadInputError: hardly any resample determines the law.
    """
    random = np.random.default_rng([seed, 1])
    columns, log_loss = form.log_variables(points), np.log(points.loss)
    chosen = chosen_by_loss(form, form.select(columns, log_loss))
    run = points.group_index()
    runs = int(run.max()) + 1
    counts = np.zeros((n, len(points)))
    kept = np.zeros((n, len(points)), bool)
    tries: list[int] = []
    for tried in range(1, 1000 * n + 1):
        count = np.bincount(random.integers(runs, size=runs), minlength=runs)[run]
        drawn = count > 0
        read = np.zeros(len(points), bool)
        read[np.flatnonzero(drawn)[form.select(columns[drawn], log_loss[drawn])]] = True
        # A resample without enough levels has no fit, and would only measure the bounds.
        if read.sum() >= form.min_points - 1 and form.has_levels(columns[read]):
            counts[len(tries)], kept[len(tries)] = count, read
            tries.append(tried - 1)
            if len(tries) == n:
                return Resamples(counts, kept, 1 - n / tried, _digest(points), np.array(tries), chosen)
    raise BadInputError(
        f"{points.source}: resamples of {plural(runs, 'run')} seldom determine {form.name}; "
        "give more runs, or --bootstrap 0"
    )


def intervals_of(
    form: Form, draws: Floats, open_ends: Mapping[str, tuple[bool, bool]], target: float
) -> dict[str, Ends]:
    """Percentile intervals of the columns of draws (S, P), None for an open end.

    Ends are open if the data do not exclude a limit (`open_ends`), or if the resamples themselves run to one:
    to infinity, or a term to nothing compared with the `target`.
    """
    out: dict[str, Ends] = {}
    floors = {limit.parameter for limit in form.program.limits if limit.share and not limit.absent}
    for i, name in enumerate(form.parameter_names):
        column = draws[:, i]
        if np.isnan(column).any():
            continue
        infinite = np.isinf(column).any()
        # 1 / R is finite where R is not, and falls with it.
        ends: list[float | None] = list(middle(-1 / column if infinite else column))
        if infinite:
            ends = [-1 / end if end else None for end in ends]
        elif name in floors and (ends[0] or 0.0) < ABSENT * target:
            ends[0] = None
        for side, is_open in enumerate(open_ends.get(name, (False, False))):
            if is_open:
                ends[side] = None
        out[name] = (ends[0], ends[1])
    return out


def samples_of(form: Form, parameters_SP: Floats) -> dict[str, tuple[float | None, ...]]:
    """Parameters (S, P) as law.json keeps them, by name; null where infinite."""
    return {
        name: tuple(float(f"{v:.10g}") if np.isfinite(v) else None for v in parameters_SP[:, i])
        for i, name in enumerate(form.parameter_names)
        if name not in form.absent
    }


def _digest(points: Points) -> str:
    """Of the names of the runs, in the order in which resamples number them, with the budgets of each."""
    budgets = zip(points.groups, points.params, points.tokens, strict=True)
    text = "\n".join(f"{name} {n:.9g} {d:.9g}" for name, n, d in budgets)
    return sha256(text.encode()).hexdigest()[:16]


def document(
    form: Form, points: Points, draws: Floats, seed: int, rejected: float, drawn: Resamples | None = None
) -> Bootstrap:
    """The part of law.json about the draws (S, P), fitted to the resamples `drawn`."""
    samples = samples_of(form, draws[:KEPT_SAMPLES])
    unit = "run" if len(set(points.groups)) < len(points) else "point"
    tries = None if drawn is None or not drawn.rejected else tuple(map(int, drawn.tries[:KEPT_SAMPLES]))
    return Bootstrap(
        n=len(draws),
        level=LEVEL,
        unit=unit,
        seed=seed,
        rejected=rejected,
        samples=samples,
        runs=None if drawn is None else drawn.runs,
        tries=tries,
    )
