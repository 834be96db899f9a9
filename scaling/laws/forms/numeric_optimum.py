"""The compute optimum of a law without a closed one: the least loss along the sizes of each compute."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.compute_cost import ComputeCost

Floats = NDArray[np.float64]

FEWEST = float(np.log(1e3))  # log of the smallest size and the shortest training that are searched
COARSE, FINE, ROUNDS = 129, 17, 2  # sizes; each round looks between the neighbours of the best one before
STEP, NEWTON = 1e-3, 4  # of differences in log N: near a minimum losses differ by less than their rounding
APART = 0.05  # log of the compute on either side by which a slope is taken


@dataclass(frozen=True)
class NumericOptimum:
    """N_opt and D_opt of a law with C = 6ND or C = c(N) D.

    `predict` gives its loss at `params` and `tokens`.

    N_opt is no power of the compute: `a` and `b` are local exponents at `flops`. It is the minimum at the
    smallest size: far beyond the data, Farseer's law may fall again for sizes that hardly train at all. NaN
    where there is none.
    """

    predict: Callable[..., Any]
    cost: ComputeCost | None
    flops: float

    def params(self, flops: Any) -> Floats:
        """N_opt at a training compute in FLOPs."""
        log_c = np.atleast_1d(np.log(np.asarray(flops, float)))
        rows = np.arange(len(log_c))
        low, high = np.full(len(log_c), FEWEST), log_c - np.log(6) - FEWEST
        found = high > low
        for count in (COARSE, *[FINE] * ROUNDS):
            grid = low[:, None] + np.outer(high - low, np.linspace(0.0, 1.0, count))
            loss = self._loss(grid, log_c[:, None])
            dip = (loss[:, 1:-1] < loss[:, :-2]) & (loss[:, 1:-1] <= loss[:, 2:])
            found &= dip.any(axis=1)
            best = 1 + dip.argmax(axis=1)  # the first
            low, high = grid[rows, best - 1], grid[rows, best + 1]
        log_n = 0.5 * (low + high)
        for _ in range(NEWTON):
            near = log_n[:, None] + STEP * np.array([-1.0, 0.0, 1.0])
            before, here, after = self._loss(near, log_c[:, None]).T
            bend = (before - 2 * here + after) / STEP
            log_n = np.clip(log_n - 0.5 * (after - before) / np.where(bend > 0, bend, np.inf), low, high)
        return np.exp(np.where(found, log_n, np.nan)).reshape(np.shape(flops))

    def tokens(self, flops: Any) -> Floats:
        """D_opt at a training compute in FLOPs."""
        log_c = np.log(np.asarray(flops, float))
        tokens: Floats = np.exp(log_c - self._log_per_token(np.log(self.params(flops))))
        return tokens

    @property
    def a(self) -> float:
        """The exponent of N_opt in the compute, at `flops`."""
        low, high = np.log(self.params(self.flops * np.exp([-APART, APART])))
        return float((high - low) / (2 * APART))

    @property
    def b(self) -> float:
        """The exponent of D_opt, at `flops`."""
        low, high = np.log(self.tokens(self.flops * np.exp([-APART, APART])))
        return float((high - low) / (2 * APART))

    def _log_per_token(self, log_n: Any) -> Any:
        return np.log(6) + log_n if self.cost is None else self.cost.log_per_token(log_n)

    def _loss(self, log_n: Floats, log_c: Floats) -> Floats:
        tokens = np.exp(np.clip(log_c - self._log_per_token(log_n), -700.0, 700.0))
        with np.errstate(over="ignore", invalid="ignore"):
            return np.log(self.predict(params=np.exp(log_n), tokens=tokens))
