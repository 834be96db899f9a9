"""IsoFLOP sweeps drawn from a known law: sizes around the optimum of each budget, or off it."""

import numpy as np

from scaling.laws import LAWS
from tests.laws.known import TRUE, points_of

BUDGETS = np.geomspace(1e18, 1e21, 6)


def valleys(span=4.0, skew=1.0, drift=0.0, noise=0.0, seed=0, sizes=9, law=TRUE, budgets=BUDGETS):
    """Points at `sizes` sizes from N_opt skew / span to N_opt skew span of each budget.

    `drift` moves the grid's centre by that power of compute: the sizes were chosen with a wrong exponent.
    """
    optimum = LAWS["chinchilla"].optimum(law)
    middle = optimum.params(budgets) * skew * (budgets / budgets[0]) ** drift
    params = (middle[:, None] * np.geomspace(1 / span, span, sizes)).ravel()
    tokens = np.repeat(budgets, sizes) / 6 / params
    loss = law["E"] + law["A"] / params ** law["alpha"] + law["B"] / tokens ** law["beta"]
    return points_of(
        params, tokens, loss * np.exp(noise * np.random.default_rng(seed).normal(size=len(loss)))
    )


def exponent(law=TRUE):
    return law["beta"] / (law["alpha"] + law["beta"])
