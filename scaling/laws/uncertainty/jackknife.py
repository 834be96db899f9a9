"""Intervals from leaving out one run at a time: for runs with several points, and for few runs.

The delete-one-run jackknife with Student's t of G - 1 for G runs (MacKinnon, Nielsen and Webb 2022,
"Cluster-robust inference: a guide to empirical practice", section 5). Unlike a bootstrap it never leaves
fewer than G - 1 runs, and unlike the curvature it refits the law.
"""

import numpy as np

from scaling.laws.forms.quantities import Ends, Quantities
from scaling.laws.points import Points
from scaling.laws.sections import LEVEL, Jackknife
from scaling.laws.solving.optimise import BestFit, refits
from scaling.laws.uncertainty.bootstrap import samples_of
from scaling.laws.uncertainty.noise import MIN_RUNS, t_quantile
from scaling.laws.uncertainty.resample import jackknife_error, leave_one_out


def jackknifed(best: BestFit, points: Points, asked: Quantities, level: float = LEVEL) -> Jackknife:
    """The law without each run in turn; no intervals if a run less leaves it undetermined.

    Args:
        best: the fit to all points.
        points: all points, of which the form selects those that it describes.
        asked: the quantities that get intervals, each on its own scale.
        level: of the intervals.
    """
    form, problem = best.form, best.problem.over(points)
    run = points.group_index()
    runs = int(run.max()) + 1
    none = Jackknife(
        runs=runs,
        level=level,
        reason=None,
        intervals=dict.fromkeys(asked.names),
        standard_errors=dict.fromkeys(asked.names),
        samples={},
    )
    if runs < MIN_RUNS:
        return none.model_copy(update={"reason": f"{runs} runs; at least {MIN_RUNS} are needed"})
    columns, log_loss = form.log_variables(points), np.log(points.loss)
    weights_Rn = leave_one_out(run) * points.weight
    for g, row in enumerate(weights_Rn):
        left = np.flatnonzero(run != g)
        read = left[form.select(columns[left], log_loss[left])]
        if len(read) < form.min_points - 1 or not form.has_levels(columns[read]):
            why = f"the law is not determined without {points.groups[int(np.argmax(run == g))]}"
            return none.model_copy(update={"reason": why})
        unread = np.ones(len(points), bool)
        unread[read] = False
        row[unread] = 0.0
    out = refits(problem, weights_Rn, best.theta, spread=0)
    centre = asked.scaled(best.theta)
    deleted_RQ = np.stack([asked.scaled(theta) for theta in out.theta])
    intervals: dict[str, Ends | None] = {}
    errors: dict[str, float | None] = {}
    for i, name in enumerate(asked.names):
        error = None if name in asked.missing else jackknife_error(deleted_RQ[:, i])
        errors[name] = None if error is None else float(error)
        reach = None if error is None else t_quantile(level, runs - 1) * float(error)
        intervals[name] = (
            None if reach is None else asked.interval(centre[i] - reach, centre[i] + reach, name)
        )
    return none.model_copy(
        update={
            "intervals": intervals,
            "standard_errors": errors,
            "samples": samples_of(form, form.parameters(out.theta, problem.reference)),
        }
    )
