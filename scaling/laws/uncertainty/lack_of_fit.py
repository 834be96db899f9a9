"""Does the law's form hold? Its misses at each budget, against the noise between seeds.

Where runs are repeated with other seeds, the sum of squared residuals has two parts: pure error, of the
repeats about their mean, and lack of fit, of the means about the law. If the law holds, the ratio of their
mean squares is F-distributed (Draper and Smith 1998, "Applied Regression Analysis", section 2.1). The law is
fitted again by least squares, on the residuals of the fit: the F distribution is that of least squares.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from scaling.laws.points import Points
from scaling.laws.sections import LackOfFit
from scaling.laws.solving.optimise import BestFit, refits
from scaling.laws.uncertainty.noise import EXACT, replicates

SIGNIFICANT = 0.01
SQUARES = 10.0  # a Huber delta beyond every residual: least squares


def lack_of_fit(best: BestFit, points: Points) -> LackOfFit:
    """The F test of the form of a law of `points`; without one where nothing measures the pure error.

    Points of one run share its noise: of each run, its longest budget is used.
    """
    if len(best.problem.x) < len(points):
        return _none("the law describes the lowest losses, which are no sample of the noise")
    last = _last_of_each_run(points)
    problem, points = best.problem.at(last), points.subset(last)
    sets = replicates(points)
    pure_dof = sum(len(members) - 1 for members in sets)
    if not pure_dof:
        return _none("no runs differ only in their seed")
    dof = len(points) - pure_dof - int(best.form.free.sum())
    if dof < 1 or not best.form.has_levels(best.form.log_variables(points)):
        return _none("too few different budgets to test the form with")
    problem = replace(problem, delta=SQUARES, width=len(best.problem.x))
    theta = refits(problem, problem.weight[None], best.theta, spread=0).theta[0]
    off, w = problem.residuals(theta), problem.weight
    pure = 0.0
    for members in sets:
        centre = np.average(off[members], weights=w[members])
        pure += float((w[members] * (off[members] - centre) ** 2).sum())
    std = float(np.sqrt(pure / w.mean() / pure_dof))
    if std <= EXACT:
        return _none("runs that differ only in their seed agree exactly")
    lack = max(float((w * off**2).sum()) - pure, 0.0)
    f = lack / dof / (pure / pure_dof)
    return LackOfFit(f=f, dof=dof, pure_dof=pure_dof, p=float(fdtrc(dof, pure_dof, f)), seeds_std=std)


def rejected_form(test: LackOfFit) -> str | None:
    """One line where the form is rejected."""
    if test.p is None or test.p >= SIGNIFICANT:
        return None
    return (
        "the form does not hold: its errors are larger than the noise between seeds explains (lack of fit "
        f"F = {test.f:.3g} with {test.dof} and {test.pure_dof} degrees of freedom, p = {test.p:.1g}); "
        "compare other laws with --law auto"
    )


def _none(reason: str) -> LackOfFit:
    return LackOfFit(f=None, dof=None, pure_dof=None, p=None, seeds_std=None, reason=reason)


def _last_of_each_run(points: Points) -> NDArray[np.bool_]:
    """(n,) the longest budget of each run."""
    run, kept = points.group_index(), np.zeros(len(points), bool)
    for g in range(int(run.max()) + 1):
        mine = np.flatnonzero(run == g)
        kept[mine[np.argmax(points.tokens[mine])]] = True
    return kept
