"""The same law fitted to many weightings of the same points at once, from the full fit and from elsewhere."""

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Form
from scaling.laws.solving.objective import Residual
from scaling.laws.solving.optimise import WIDE, Optimised
from scaling.laws.solving.solver import Solutions, solve

Floats = NDArray[np.float64]

ELSEWHERE = 20  # of the law's own starts, beside the full fit's optimum


def refits(
    form: Form,
    x: Floats,
    log_target: Floats,
    weights_Rn: Floats,
    best: Optimised,
    delta: float,
    residual: Residual,
    width: int,
) -> Solutions:
    """(R, P) the best fit of each row of weights; x is relative to the reference of `best`.

    From the full fit's optimum along the homotopy and directly, and from a spread of the law's own starts:
    without a part of its points a law may sit elsewhere.
    """
    grid = form.starts(x, log_target, best.reference)
    chosen = grid[np.unique(np.linspace(0, len(grid) - 1, ELSEWHERE).astype(int))]
    wide = max(WIDE, delta)
    starts = np.concatenate([best.theta[None], best.theta[None], chosen])
    first = np.concatenate([[wide, delta], np.full(len(chosen), wide)])
    R, K = len(weights_Rn), len(starts)
    out = solve(
        form,
        x,
        log_target,
        weights_Rn,
        np.repeat(np.arange(R), K),
        np.tile(starts, (R, 1)),
        np.tile(first, R),
        delta,
        width,
        residual,
    )
    pick = np.arange(R) * K + out.value.reshape(R, K).argmin(axis=1)
    return Solutions(*(part[pick] for part in out))
