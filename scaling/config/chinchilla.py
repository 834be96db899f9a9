"""Chinchilla's law, as far as the fit (`scaling.laws`) and the planner (`scaling.estimate`) share it.

L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv:2203.15556, equation 2).
"""

import math
from collections.abc import Callable
from typing import Any

PARAMETERS = ("E", "A", "B", "alpha", "beta")
EXPONENT = (1e-3, 4.0)  # bounds of alpha and beta


def log_slope_ratio(
    alpha: Any, log_A: Any, beta: Any, log_B: Any, log: Callable[[Any], Any] = math.log
) -> Any:
    """log of alpha A / (beta B), by which equation 4 gives the optimum under 6ND = C.

    N_opt^(alpha + beta) = alpha A / (beta B) (C / 6)^beta.
    """
    return log(alpha) + log_A - log(beta) - log_B
