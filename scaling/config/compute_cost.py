"""Training FLOPs per token as a smooth function of model size: C = c(N) D, for compute that is not 6ND.

Arithmetic on the values of a law.json, for the fit (`scaling.laws.frontier.cost` estimates it) and the
planner.
"""

import math
from typing import Any

from scaling.config.base import Frozen


class ComputeCost(Frozen):
    """log c is a polynomial in log(N / N0) between two sizes, N0 their geometric mean, and linear beyond.

    Locally c grows as N^(1 + eps); `elasticity` is 1 + eps over the range of sizes.
    """

    coefficients: tuple[float, ...]  # of the polynomial, constant first
    sizes: tuple[float, float]  # least and largest N
    elasticity: float
    max_rel_error: float  # of c at the points

    @property
    def middle(self) -> float:
        """log N0."""
        return 0.5 * (math.log(self.sizes[0]) + math.log(self.sizes[1]))

    def _half(self) -> float:
        return 0.5 * (math.log(self.sizes[1]) - math.log(self.sizes[0]))

    def log_per_token(self, log_params: Any) -> Any:
        """log c at log N (a number or array)."""
        u = log_params - self.middle
        inside = self._inside(u)
        value = 0.0 * u
        for coefficient in reversed(self.coefficients):
            value = value * inside + coefficient
        return value + self.slope(log_params) * (u - inside)

    def slope(self, log_params: Any) -> Any:
        """1 + eps: the slope of log c in log N."""
        inside = self._inside(log_params - self.middle)
        value = 0.0 * inside
        for power in range(len(self.coefficients) - 1, 0, -1):
            value = value * inside + power * self.coefficients[power]
        return value

    def _inside(self, u: Any) -> Any:
        half = self._half()
        return 0.5 * (abs(u + half) - abs(u - half))  # u clipped to [-half, half], of a number or an array

    def exponent(self, a: float) -> float:
        """The exponent of N_opt where it is `a` under 6ND: beta / (alpha + beta (1 + eps))."""
        return a / (1 - a + a * self.elasticity)
