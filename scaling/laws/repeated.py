"""Repeated data: what passes over the same tokens are worth (Muennighoff et al. 2023)."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.laws.forms import EXPONENT, LOG_TERM, Chinchilla, Floats, Law

HALF_LIFE = (-4.0, 10.0)  # log of R*: repetition worthless at once, or never in any data there is
LARGEST = 50.0  # log of a ratio beyond which nothing is left to decay


class RepeatedData(Law):
    """Muennighoff et al. 2023 (arXiv:2305.16264), equations 4 to 6, all parameters fitted together.

    D' = U_D (1 + R*_D (1 - exp(-R_D / R*_D))) with R_D = D/U_D - 1 repetitions of U_D unique tokens. N' the
    same with U_N, the compute-optimal size for U_D unique tokens (at most N), and R_N = N/U_N - 1. The paper
    fits E, A, B, alpha, beta to runs without repetition first, and then only R*_N and R*_D.
    """

    name = "repeated-data"
    equation = (
        "L(N, D, U) = E + A / N'^alpha + B / D'^beta, D' = U (1 + R_D (1 - exp((1 - D/U) / R_D))), "
        "N' = U_N (1 + R_N (1 - exp((1 - N/U_N) / R_N))), U_N = min(N, N_opt of U tokens)"
    )
    parameter_names = ("E", "A", "B", "alpha", "beta", "R_N", "R_D")
    theta_names = ("log E", "log A/N^alpha", "log B/D^beta", "alpha", "beta", "log R_N", "log R_D")
    variables = ("params", "tokens", "unique_tokens")
    bounds = (LOG_TERM, LOG_TERM, LOG_TERM, EXPONENT, EXPONENT, HALF_LIFE, HALF_LIFE)

    def reference(self, log_variables: Floats) -> Floats:
        """Tokens and unique tokens share a reference, so that x keeps their ratio."""
        params, tokens, _ = log_variables.mean(axis=0)
        return np.array([params, tokens, tokens])

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) log of the loss; unique tokens beyond the tokens trained on count for nothing."""
        e, a, b, alpha, beta, log_R_N, log_R_D = theta
        params, tokens = x[:, 0], x[:, 1]
        unique = xp.minimum(x[:, 2], tokens)
        # On the frontier alpha A N^-alpha = beta B D^-beta (Hoffmann et al. 2022, equation 4).
        fed = xp.minimum((xp.log(alpha) + a - xp.log(beta) - b + beta * unique) / alpha, params)
        n = fed + _worth(params - fed, log_R_N, xp)
        d = unique + _worth(tokens - unique, log_R_D, xp)
        t = xp.stack([e + xp.zeros_like(n), a - alpha * n, b - beta * d])
        top = t.max(axis=0)
        return top + xp.log(xp.exp(t - top).sum(axis=0))

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Shares of the three terms, by exponents, by how soon repetition is worthless."""
        level = log_loss.mean()
        shares = np.log([(0.3, 0.3, 0.4), (0.6, 0.2, 0.2), (0.85, 0.05, 0.1)])
        exponents, lives = (0.15, 0.35, 0.7), np.log([3.0, 30.0])
        grid = product(level + shares, exponents, exponents, lives, lives)
        return np.array([[*terms, alpha, beta, n, d] for terms, alpha, beta, n, d in grid])

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Terms move from the reference point to N = D = 1."""
        theta = xp.asarray(theta, float)
        base = Chinchilla().parameters(theta[..., :5], reference, xp)
        return xp.concatenate([base, xp.exp(theta[..., 5:])], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Terms move from N = D = 1 to the reference point."""
        lives = np.log([parameters["R_N"], parameters["R_D"]])
        return np.concatenate([Chinchilla().theta(parameters, reference), lives])


def _worth(log_ratio: Any, log_R: Any, xp: Any) -> Any:
    """log(1 + R (1 - exp(-(ratio - 1) / R))): what `ratio` passes over the same are worth, in passes."""
    R = xp.exp(log_R)
    return xp.log1p(-R * xp.expm1(-xp.expm1(xp.minimum(log_ratio, LARGEST)) / R))
