"""Chinchilla's law with a coupling of N and D: the terms of both under one more exponent."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.config.chinchilla import log_slope_ratio
from scaling.laws.forms.form import (
    EXPONENT,
    LOG_TERM,
    NO_TERM,
    Floats,
    Form,
    Limit,
    finite_exp,
    log_of_term,
    no_term,
)

COUPLING = (-3.0, 1.5)  # log k: 0.05 is the larger of two bottlenecks, 4.5 nearly their product
BOTH = "(A / N^alpha + B / D^beta)^k"


def _alone(scale: str, entry: int, exponent: str, rest: str) -> Limit:
    """The limit at which one of N and D is absent, and with it the coupling."""
    held = ((entry, NO_TERM), (entry + 2, 1.0), (5, 0.0))
    return Limit(scale, 0.0, "lower", held, ((BOTH, rest),), (exponent, "k"), share=True, optimum=False)


class Coupled(Form):
    """Busbridge et al. 2025 (arXiv:2502.08606), the supervised law; Videau et al. 2026 (arXiv:2608.07222).

    With k = 1 it is Chinchilla's law. With k < 1 N and D together lower the loss by more than each alone, as
    in Kaplan's law, and the loss still falls with both everywhere: a product term C / (N^a D^b) of the sign
    that data show would make it rise. The outer power is monotone, so the optimum has Chinchilla's form.

    theta holds the terms and exponents of the loss that each of N and D would leave alone, (A / N^alpha)^k
    and k alpha: the data determine these, and k much less.
    """

    name = "coupled"
    equation = f"L(N, D) = E + {BOTH}"
    parameter_names = ("E", "A", "B", "alpha", "beta", "k")
    theta_names = ("log E", "log (A/N^alpha)^k", "log (B/D^beta)^k", "k alpha", "k beta", "log k")
    variables = ("params", "tokens")
    bounds = (LOG_TERM, LOG_TERM, LOG_TERM, EXPONENT, EXPONENT, COUPLING)
    limits = (
        _alone("A", 1, "alpha", "B / D^beta"),
        _alone("B", 2, "beta", "A / N^alpha"),
        no_term("E", 0, "E + ", optimum=True),
    )

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) a floor, and a soft maximum of the losses that N and D alone would leave."""
        e, a, b, alpha, beta, log_k = theta
        k = xp.exp(log_k)
        both = k * xp.logaddexp((a - alpha * x[:, 0]) / k, (b - beta * x[:, 1]) / k)
        return xp.logaddexp(e + xp.zeros_like(both), both)

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Shares of the floor and of N and D, by exponents, by couplings."""
        level, exponents = log_loss.mean(), (0.05, 0.15, 0.4)
        shares = [
            (f, (1 - f) * n, (1 - f) * (1 - n)) for f, n in product((0.05, 0.4, 0.8), (0.25, 0.5, 0.75))
        ]
        grid = product(shares, exponents, exponents, np.log([0.4, 1.0]))
        return np.array([[*(level + np.log(row)), alpha, beta, k] for row, alpha, beta, k in grid])

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Terms move from the reference point to N = D = 1, from under the outer power."""
        e, a, b, alpha, beta, log_k = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        k = xp.exp(log_k)
        A, B = (
            finite_exp((level + exponent * reference[i]) / k, xp)
            for i, (level, exponent) in enumerate(((a, alpha), (b, beta)))
        )
        return xp.stack([finite_exp(e, xp), A, B, alpha / k, beta / k, k], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Terms move from N = D = 1 to the reference point."""
        E, A, B, alpha, beta, k = (parameters[name] for name in self.parameter_names)
        levels = [
            k * (np.log(scale) - exponent * reference[i])
            for i, (scale, exponent) in enumerate(((A, alpha), (B, beta)))
        ]
        return np.array([log_of_term(E), *levels, k * alpha, k * beta, np.log(k)])

    def frontier_slopes(self, parameters: Mapping[str, Any]) -> tuple[float, float]:
        """Alpha and beta: the outer power moves no minimum."""
        return float(parameters["alpha"]), float(parameters["beta"])

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        """The minimum of A / N^alpha + B / D^beta on 6ND = C (Hoffmann et al. 2022, equation 4)."""
        alpha, beta = parameters["alpha"], parameters["beta"]
        log_A, log_B = xp.log(parameters["A"]), xp.log(parameters["B"])
        return log_slope_ratio(alpha, log_A, beta, log_B, xp.log) / (alpha + beta), beta / (alpha + beta)
