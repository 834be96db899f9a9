"""Chinchilla's law (Hoffmann et al. 2022), and the same for repeated data (Muennighoff et al. 2023)."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.laws.forms.form import EXPONENT, LOG_TERM, Floats, Form, Limit, no_term
from scaling.laws.forms.power_sum import PowerSum, constant, falling


def hoffmann_grid(form: PowerSum, log_target: Floats, reference: Floats) -> Floats:
    """The 4,500 starts of Hoffmann et al. 2022, appendix D.3."""
    exponents = (0.0, 0.5, 1.0, 1.5, 2.0)
    logs = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
    grid = np.array(list(product((-1.0, -0.5, 0.0, 0.5, 1.0), logs, logs, exponents, exponents)))
    return (
        grid
        - np.outer(grid[:, 3], [0, 1, 0, 0, 0]) * reference[0]
        - np.outer(grid[:, 4], [0, 0, 1, 0, 0]) * reference[1]
    )


# Hoffmann et al. 2022 (arXiv:2203.15556), equation 2, fitted as in equation 10.
CHINCHILLA = PowerSum(
    "chinchilla",
    (constant("E"), falling("A", "params", "alpha"), falling("B", "tokens", "beta")),
    starts=hoffmann_grid,
)


# R* as log(1 + SCALE / R*), which is 0 where repetition is never worthless, linear in 1 / R* from there, and
# linear in log R* where R* is small.
SCALE = 10.0
DECAY = (0.0, float(np.log1p(SCALE * np.exp(4.0))))  # at R* = e^-4 repetition is worthless at once
WORTHLESS = 40.0  # R* = 0, to the last digit
LARGEST = 50.0  # log of a ratio beyond which nothing is left to decay


_DECAYING_D = "D' = U (1 + R_D (1 - exp((1 - D/U) / R_D)))"
_DECAYING_N = "N' = U_N (1 + R_N (1 - exp((1 - N/U_N) / R_N)))"


class RepeatedData(Form):
    """Muennighoff et al. 2023 (arXiv:2305.16264), equations 4 to 6, all parameters fitted together.

    D' = U_D (1 + R*_D (1 - exp(-R_D / R*_D))) with R_D = D/U_D - 1 repetitions of U_D unique tokens. N' the
    same with U_N, the compute-optimal size for U_D unique tokens (at most N), and R_N = N/U_N - 1. The paper
    fits E, A, B, alpha, beta to runs without repetition first, and then only R*_N and R*_D.
    """

    name = "repeated-data"
    equation = (
        f"L(N, D, U) = E + A / N'^alpha + B / D'^beta, {_DECAYING_D}, {_DECAYING_N}, "
        "U_N = min(N, N_opt of U tokens)"
    )
    parameter_names = ("E", "A", "B", "alpha", "beta", "R_N", "R_D")
    theta_names = (
        "log E", "log A/N^alpha", "log B/D^beta", "alpha", "beta", "log(1 + 10/R_N)", "log(1 + 10/R_D)"
    )  # fmt: skip
    variables = ("params", "tokens", "unique_tokens")
    kinked = True
    bounds = (LOG_TERM, LOG_TERM, LOG_TERM, EXPONENT, EXPONENT, DECAY, DECAY)
    limits = (
        Limit("R_N", None, "upper", ((5, 0.0),), ((_DECAYING_N, "N' = N"),)),
        Limit("R_D", None, "upper", ((6, 0.0),), ((_DECAYING_D, "D' = D"),)),
        Limit("R_N", 0.0, "lower", ((5, WORTHLESS),), ((_DECAYING_N, "N' = U_N"),)),
        Limit("R_D", 0.0, "lower", ((6, WORTHLESS),), ((_DECAYING_D, "D' = U"),)),
        no_term("E", 0, "E + "),
    )

    def reference(self, log_variables: Floats) -> Floats:
        """Tokens and unique tokens share a reference, so that x keeps their ratio."""
        params, tokens, _ = log_variables.mean(axis=0)
        return np.array([params, tokens, tokens])

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) log of the loss; unique tokens beyond the tokens trained on count for nothing."""
        e, a, b, alpha, beta, decay_N, decay_D = theta
        params, tokens = x[:, 0], x[:, 1]
        unique = xp.minimum(x[:, 2], tokens)
        # On the frontier alpha A N^-alpha = beta B D^-beta (Hoffmann et al. 2022, equation 4).
        fed = xp.minimum((xp.log(alpha) + a - xp.log(beta) - b + beta * unique) / alpha, params)
        n = fed + _worth(params - fed, decay_N, xp)
        d = unique + _worth(tokens - unique, decay_D, xp)
        t = xp.stack([e + xp.zeros_like(n), a - alpha * n, b - beta * d])
        top = t.max(axis=0)
        return top + xp.log(xp.exp(t - top).sum(axis=0))

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Shares of the three terms, by exponents, by how soon repetition is worthless."""
        level = log_loss.mean()
        shares = np.log([(0.3, 0.3, 0.4), (0.6, 0.2, 0.2), (0.85, 0.05, 0.1)])
        exponents, lives = (0.15, 0.35, 0.7), np.log1p(SCALE / np.array([3.0, 30.0]))
        grid = product(level + shares, exponents, exponents, lives, lives)
        return np.array([[*terms, alpha, beta, n, d] for terms, alpha, beta, n, d in grid])

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Terms move from the reference point to N = D = 1."""
        theta = xp.asarray(theta, float)
        base = CHINCHILLA.parameters(theta[..., :5], reference, xp)
        return xp.concatenate([base, _half_life(theta[..., 5:], xp)], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Terms move from N = D = 1 to the reference point; R_N and R_D may be infinite."""
        lives = np.array([parameters["R_N"], parameters["R_D"]])
        with np.errstate(divide="ignore"):
            decays = np.minimum(np.log1p(SCALE / lives), WORTHLESS)
        return np.concatenate([CHINCHILLA.theta(parameters, reference), decays])

    def own_scale(self, name: str) -> int | None:
        """R_N and R_D are infinite at 0."""
        return {"R_N": 5, "R_D": 6}.get(name)

    def from_own_scale(self, name: str, value: float) -> float:
        """R_N or R_D; infinite at and beyond 0."""
        return float(_half_life(np.array(value)))


def _half_life(decay: Any, xp: Any = np) -> Any:
    """R* from log(1 + SCALE / R*)."""
    beyond = decay <= 0
    return xp.where(beyond, xp.inf, SCALE / xp.expm1(xp.where(beyond, 1.0, decay)))


def _worth(log_ratio: Any, decay: Any, xp: Any) -> Any:
    """log(1 + R (1 - exp(-(ratio - 1) / R))): the value of `ratio` passes over the same data, in passes.

    `decay` is log(1 + SCALE / R); where it is 0, every pass counts in full.
    """
    repeats = xp.expm1(xp.minimum(log_ratio, LARGEST))
    rate = xp.expm1(decay) / SCALE  # 1 / R
    z = rate * repeats
    # repeats (1 - exp(-z)) / z, by its series near 0, where the quotient has no digits and no derivative.
    small = z < 1e-3
    safe = xp.where(small, 1.0, z)
    share = xp.where(small, 1 - z / 2 + z**2 / 6 - z**3 / 24, -xp.expm1(-safe) / safe)
    return xp.log1p(repeats * share)
