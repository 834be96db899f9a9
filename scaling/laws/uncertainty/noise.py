"""How noisy one run is: the scale of a fit's residuals, and what replicates disagree by.

The scale also turns a rise of the objective into a test (`Scale.drop`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from scipy.special import fdtri, stdtrit

from scaling.laws.forms.form import Floats
from scaling.laws.points import Points
from scaling.laws.sections import SeedNoise
from scaling.laws.settings import is_setting

# Residuals of log loss below this are the rounding of a table, or of the solver: a loss in float32 is off by
# 6e-8.
EXACT = 1e-9
# Why a law of an envelope has no intervals: the lowest of many points are low by chance too.
CHOSEN = (
    "the points were chosen for their low loss, which is partly chance: there are no intervals; "
    "a law of params and tokens has them"
)
MIN_RUNS = 5  # that noise between runs can be measured with: with fewer, one run carries most of the variance


@dataclass(frozen=True)
class Scale:
    """What residuals say about the noise.

    `psi_squared` and `psi_slope` are E[psi^2], corrected for P fitted parameters, and E[psi'], with psi the
    Huber loss's slope. Their ratio `drop` is the scale of the objective: 2 (F - F_min) / drop is chi-squared
    with one degree of freedom for one parameter held (Schrader and Hettmansperger 1980, "Robust analysis of
    variance based upon a likelihood ratio criterion"), and F-distributed with n - P, exactly, for a linear
    law and least squares. `noise` is the standard deviation of residuals, robust to outliers (1.4826 times
    the median size).
    """

    n: int
    freedom: int  # points less parameters; of points that share runs, runs less one
    psi_squared: float
    psi_slope: float
    noise: float

    @property
    def drop(self) -> float:
        """E[psi^2] / E[psi']."""
        return self.psi_squared / self.psi_slope


def residual_scale(off: Floats, weight: Floats, delta: float, parameters: int) -> Scale | None:
    """Scale of residuals (n,) after fitting `parameters`; None if as many parameters fit every point.

    A delta of the size of the noise or more makes the objective smooth: E[psi'] is the share of residuals
    within delta, and E[psi^2] has Huber's correction for the parameters (Huber 1981, section 7.6). With a
    smaller delta E[psi'] = P(|r| < delta) comes from a kernel estimate of the density of residuals, not from
    the few that are within delta, as it would with the Hessian of the objective itself. The P residuals
    nearest to zero are left out there: a fit of P parameters to absolute values passes through P points,
    whose residuals are 0 whatever the noise is (Koenker 2005, "Quantile Regression", section 3.4, and the
    `iid` rule of his quantreg).
    """
    n = len(off)
    freedom = n - parameters
    if freedom < 1:
        return None
    w = weight / weight.mean()
    psi = np.clip(off, -delta, delta)
    squared = float((w * psi**2).sum() / freedom)
    kept = np.sort(np.abs(off) * np.sqrt(w))[parameters:]  # those that the fit did not make zero
    spread = 1.4826 * float(np.median(kept))
    noise = spread if spread > 0 else float(np.sqrt((w * off**2).mean()))
    if squared <= EXACT**2 or noise <= EXACT:
        return None
    if delta >= noise:
        # The fit makes residuals smaller than the noise, by the root of n - P of n.
        inside = float(w[np.abs(off) * sqrt(n / freedom) < delta].sum() / n)
        if inside <= 0:
            return None
        correction = 1 + parameters / n * (1 - inside) / inside
        return Scale(n, freedom, squared * correction**2, inside, noise)
    width = 0.9 * noise * n**-0.2  # Silverman 1986, equation 3.31
    both = np.concatenate([kept, -kept])  # symmetric, as the loss is
    root = width * sqrt(2)
    inside = sum((erf((delta - r) / root) + erf((delta + r) / root)) / 2 for r in both) / len(both)
    return Scale(n, freedom, squared, max(inside, 1e-12), noise)


def replicates(points: Points) -> list[list[int]]:
    """Sets of two or more points that differ only in their seed.

    For records, equal recipes form a set; for a CSV, equal params, tokens, flops, dataset and settings, if a
    column `seed` differs or there is none.
    """
    sets: dict[tuple[object, ...], list[int]] = {}
    settings: list[Sequence[object]] = [
        v.tolist() for v in (points.unique_tokens, points.learning_rate, points.batch_tokens) if v is not None
    ]
    settings += [cells for name, cells in points.columns.items() if is_setting(name, False)]
    for i in range(len(points)):
        recipe = points.recipes[i] if points.recipes else ""
        numbers = (points.params[i], points.tokens[i], points.flops[i], *(v[i] for v in settings))
        sets.setdefault((recipe, points.dataset[i], *map(repr, numbers)), []).append(i)
    found = []
    for members in sets.values():
        # The same seed twice: one run written twice, or a difference that no column names.
        twice = points.seeds is not None and len({points.seeds[i] for i in members}) < len(members)
        if len(members) > 1 and not twice:
            found.append(members)
    return found


def seed_noise(points: Points) -> SeedNoise | None:
    """Pooled standard deviation of log loss over sets of points that differ only in their seed; or None."""
    squares, freedom, n, n_sets = 0.0, 0, 0, 0
    for members in replicates(points):
        logs = np.log(points.loss[members])
        squares += float(((logs - logs.mean()) ** 2).sum())
        freedom += len(members) - 1
        n, n_sets = n + len(members), n_sets + 1
    if not freedom:
        return None
    by = "seed" if points.seeds is not None else "equal numbers"
    return SeedNoise(std_log_loss=float(np.sqrt(squares / freedom)), n_sets=n_sets, n_points=n, by=by)


def t_quantile(level: float, freedom: int) -> float:
    """The half-width, in standard errors, of a two-sided interval by Student's t."""
    return float(stdtrit(freedom, (1 + level) / 2))


def drop_quantile(level: float, held: int, freedom: int) -> float:
    """The quantile of k F with k = `held` and `freedom` degrees of freedom; t squared for k = 1."""
    return float(held * fdtri(held, freedom, level))
