"""Which law? Several laws judged by what a law is for: the prediction of larger runs from smaller ones.

Every law is fitted below the same cut-offs of compute and predicts the same runs beyond (the rolled
hold-out). The law to use is the simplest whose error is within one standard error of the best law's
(Breiman et al. 1984, section 3.4.3). The standard error is that of the difference of the two laws' squared
errors over the runs predicted: the laws predict the same runs, whose noise cancels. A law of more parameters
fits the data at hand better always, which says nothing here; AICc is given for information.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scaling.laws.forms.form import Floats, Form
from scaling.laws.forms.laws import LAWS
from scaling.laws.law import Law
from scaling.laws.points import Points, canonical
from scaling.laws.predict import predicted
from scaling.laws.read.comparable import comparable
from scaling.laws.refusals import refuse
from scaling.laws.sections import ComparedLaw, Comparison, StackedPrediction
from scaling.laws.solving.huber import Residual
from scaling.laws.solving.optimise import refits
from scaling.laws.solving.problem import Problem
from scaling.laws.solving.scale import PAPER, joint_delta
from scaling.laws.tuned import tuned
from scaling.laws.uncertainty.holdout import splits
from scaling.laws.uncertainty.lack_of_fit import SQUARES
from scaling.laws.uncertainty.stacking import (
    averaged,
    mixture_interval,
    shrunk,
    squares_by_run,
    stacked_weights,
)
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint, plural

AUTO = ("chinchilla", "over-training", "kaplan-tokens", "coupled", "farseer")
CUTS = 4  # cut-offs, where no number was given
SPREAD = 60  # of a law's starts, from which each fit is sought
LEAST_RUNS = 3  # predicted, that a standard error can be estimated with
NEGLIGIBLE = 0.01  # a smaller weight is left out of an average

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class _Scored:
    form: Form
    errors: Floats  # (predictions,) log of predicted over observed
    aicc: float | None


def compare_laws(
    points: Points,
    names: Sequence[str],
    cuts: int = CUTS,
    delta: float | str = "auto",
    residual: Residual = "log",
    force: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """The rolled errors of laws, their weights, and the law to use.

    Args:
        points: finished training budgets.
        names: of laws that predict loss at all points; those that the points cannot determine are left out.
        cuts: cut-offs of compute of the rolled hold-out.
        delta: as in `fit_points`; each law has its own noise.
        residual: as in `fit_points`.
        force: read data that would be refused.
        progress: called with a phase and the share of the work done.

    Raises:
        BadInputError: a name is unknown or given twice, a law predicts something else, or none is left.
    """
    forms = [_known(name) for name in names]
    if len(set(names)) < len(names):
        raise BadInputError(f"--laws {','.join(names)}: a law is given twice; give each once")
    points = tuned(comparable(canonical(points), force)[0], forms[0]).points
    refused = {form.name: why for form in forms if (why := _refusal(form, points)) is not None}
    left = [form for form in forms if form.name not in refused]
    if not left:
        name, why = next(iter(refused.items()))
        raise BadInputError(f"none of the laws can be fitted; {name}: {why}")
    # The law of most parameters has the fewest cut-offs, which all laws then share.
    by_size = sorted(left, key=lambda form: (int(form.free.sum()), form.name))
    common = splits(by_size[-1], points, cuts)
    while not common and len(by_size) > 1:
        refused[by_size[-1].name] = "too few runs below every cut-off of compute to predict the others"
        by_size.pop()
        common = splits(by_size[-1], points, cuts)
    tell = progress or (lambda phase, share: None)
    scored = []
    for i, form in enumerate(by_size):
        tell(f"compare {form.name}", i / len(by_size))
        scored.append(_score(form, points, common, delta, residual))
    tell("compared", 1.0)
    runs = [points.groups[i] for _, _, ahead in common for i in np.flatnonzero(ahead)]
    return _judged(scored, runs, common, refused)


def _known(name: str) -> Form:
    if name not in LAWS:
        raise BadInputError(f"--laws: {name!r} is not known; {hint(name, LAWS)}")
    form = LAWS[name]
    if form.target != "loss" or form.swept or not form.theta_names:
        raise BadInputError(f"--laws: {name} predicts {form.target}; give laws of loss, such as chinchilla")
    return form


def _refusal(form: Form, points: Points) -> str | None:
    try:
        columns = form.log_variables(points)
        if not form.select(columns, np.log(points.loss)).all():
            return "describes only the lowest losses, not those of all runs"
        refuse(form, points, False, part=True)
    except BadInputError as error:
        return str(error).removeprefix(f"{points.source}: ").split("; or fit")[0]
    return None


def _score(
    form: Form,
    points: Points,
    common: Sequence[tuple[float, np.ndarray, np.ndarray]],
    delta: float | str,
    residual: Residual,
) -> _Scored:
    """The law fitted to all points, for AICc, and below every cut-off, in one solve."""
    problem = Problem.of(form, points, PAPER, residual, len(points))
    if delta == "auto":
        delta = joint_delta(problem)[0]
    problem = problem.with_delta(PAPER if isinstance(delta, str) else delta)
    weights = np.stack([problem.weight, *(kept * problem.weight for _, kept, _ in common)])
    start = form.starts(problem.x, problem.log_target, problem.reference)[0]
    found = refits(problem, weights, start, spread=SPREAD).theta
    errors = [
        form.log_loss(theta, problem.x[ahead]) - problem.log_target[ahead]
        for theta, (_, _, ahead) in zip(found[1:], common, strict=True)
    ]
    squares = replace(problem, delta=SQUARES)
    least = refits(squares, problem.weight[None], found[0], spread=0).theta[0]
    rss = float((problem.weight * squares.residuals(least) ** 2).sum() / problem.weight.mean())
    return _Scored(form, np.concatenate(errors) if errors else np.empty(0), _aicc(rss, len(points), form))


def _aicc(rss: float, n: int, form: Form) -> float | None:
    """Of least squares with normal noise (Hurvich and Tsai 1989); None with too few points or no residual."""
    k = int(form.free.sum()) + 1  # and the noise
    if n - k - 1 < 1 or rss <= 0:
        return None
    return float(n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def _judged(
    scored: Sequence[_Scored],
    runs: Sequence[str],
    common: Sequence[tuple[float, np.ndarray, np.ndarray]],
    refused: dict[str, str],
) -> Comparison:
    names = [one.form.name for one in scored]
    sizes = np.array([int(one.form.free.sum()) for one in scored])
    R, reason = len(set(runs)), None
    if R < LEAST_RUNS:
        chosen = "chinchilla" if "chinchilla" in names else names[0]
        reason = (
            f"{plural(R, 'run')} can be predicted from runs of less compute; {LEAST_RUNS} are needed to "
            "compare laws"
        )
        nothing = {"rms": None, "se": None, "behind": None, "behind_se": None, "alike": None, "weight": None}
        rows = [
            ComparedLaw(law=name, n_parameters=int(size), aicc=one.aicc, **nothing)
            for name, size, one in zip(names, sizes, scored, strict=True)
        ]
    else:
        errors = np.stack([one.errors for one in scored], axis=1)
        squares = squares_by_run(errors, runs)
        mean = squares.mean(axis=0)
        best = int(np.argmin(mean))
        behind = squares - squares[:, [best]]
        spread = np.sqrt(behind.var(axis=0, ddof=1) / R)
        alike = behind.mean(axis=0) <= spread
        each = np.array([1 / runs.count(run) for run in runs])  # every run counts once
        weights = shrunk(stacked_weights(errors, each), alike, R)
        chosen = min((int(sizes[i]), float(mean[i]), names[i]) for i in np.flatnonzero(alike))[2]
        rms = np.sqrt(mean)
        error = np.sqrt(squares.var(axis=0, ddof=1) / R) / (2 * np.maximum(rms, 1e-12))
        rows = [
            ComparedLaw(
                law=name,
                n_parameters=int(sizes[i]),
                rms=float(rms[i]),
                se=float(error[i]),
                behind=float(behind[:, i].mean()),
                behind_se=float(spread[i]),
                alike=bool(alike[i]),
                aicc=scored[i].aicc,
                weight=float(weights[i]),
            )
            for i, name in enumerate(names)
        ]
    order = {name: i for i, name in enumerate(AUTO)}
    rows.sort(key=lambda row: (row.rms or 0.0, row.n_parameters, order.get(row.law, len(order)), row.law))
    assert all(one[0] < other[0] for one, other in pairwise(common))
    return Comparison(
        chosen=chosen,
        laws=tuple(rows),
        refused=refused,
        n_cut_offs=len(common),
        n_runs=R,
        n_predictions=len(runs),
        reason=reason,
    )


def stack(
    comparison: Comparison, laws: dict[str, Law], places: Sequence[dict[str, float]]
) -> tuple[StackedPrediction, ...]:
    """The average of the laws at each place, and the mixture of their intervals, widened for reach."""
    out = []
    weights = {one.law: one.weight for one in comparison.laws if one.law in laws and one.weight}
    for place in places:
        each = {
            name: predicted(laws[name], {v: place[v] for v in laws[name].form.variables}) for name in weights
        }
        steps = {name: one.loss or one for name, one in each.items()}  # of a chain, its loss
        values = {name: one.value for name, one in steps.items()}
        ends = {name: one.widened for name, one in steps.items()}
        out.append(
            StackedPrediction(
                at=place,
                value=averaged(values, weights),
                interval=mixture_interval(values, ends, weights),
                values=values,
                intervals=ends,
            )
        )
    return tuple(out)


def averaged_over(comparison: Comparison) -> tuple[str, ...]:
    """The laws that an average holds."""
    return tuple(one.law for one in comparison.laws if (one.weight or 0.0) >= NEGLIGIBLE)
