"""The joint laws of Kaplan et al. 2020 (arXiv:2001.08361): N and D, N and steps, and the critical batch."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.laws.forms.form import LOG_TERM, Floats, Form, finite_exp, no_term
from scaling.laws.forms.power_laws import EXPONENT


class KaplanTokens(Form):
    """Equation 1.5: one bottleneck or the other, no irreducible loss."""

    name = "kaplan-tokens"
    equation = "L(N, D) = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D"
    parameter_names = ("Nc", "Dc", "alpha_N", "alpha_D")
    theta_names = ("log (Nc/N)^alpha_N", "log (Dc/D)^alpha_D", "alpha_N", "alpha_D")
    variables = ("params", "tokens")
    bounds = (LOG_TERM, LOG_TERM, EXPONENT, EXPONENT)
    limits = (
        no_term("Nc", 0, "((Nc / N)^(alpha_N / alpha_D) + Dc / D)", ("alpha_N", 2), rest="(Dc / D)"),
        # With N alone the exponents are one: (Nc / N)^(alpha_N / alpha_D) to the power alpha_D.
        no_term(
            "Dc",
            1,
            "((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D",
            ("alpha_D", 3),
            rest="(Nc / N)^alpha_N",
        ),
    )

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) a maximum of the two limits, as soft as alpha_D is large."""
        n, d, alpha_N, alpha_D = theta
        return alpha_D * xp.logaddexp((n - alpha_N * x[:, 0]) / alpha_D, d / alpha_D - x[:, 1])

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Exponents, by which of the limits is the nearer."""
        level, exponents = log_loss.mean(), (0.03, 0.1, 0.3, 0.8)
        gaps = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
        return np.array(
            [
                [level - np.log(2) * d - below_n, level - np.log(2) * d - below_d, n, d]
                for n, d, (below_n, below_d) in product(exponents, exponents, gaps)
            ]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Limits at the reference point as the scales Nc and Dc."""
        n, d, alpha_N, alpha_D = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        Nc, Dc = finite_exp(n / alpha_N + reference[0], xp), finite_exp(d / alpha_D + reference[1], xp)
        return xp.stack([Nc, Dc, alpha_N, alpha_D], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Scales as limits at the reference point."""
        Nc, Dc, alpha_N, alpha_D = (parameters[name] for name in self.parameter_names)
        n, d = alpha_N * (np.log(Nc) - reference[0]), alpha_D * (np.log(Dc) - reference[1])
        return np.array([n, d, alpha_N, alpha_D])

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        """The minimum of L on 6ND = C: that of L^(1/alpha_D), a sum of powers in N and D."""
        ratio = parameters["alpha_N"] / parameters["alpha_D"]
        log_G = xp.log(ratio) + ratio * xp.log(parameters["Nc"]) - xp.log(parameters["Dc"])
        return log_G / (ratio + 1), 1 / (ratio + 1)


class KaplanSteps(Form):
    """Equation 1.6, in N and S_min, the steps that an infinite batch would take.

    S_min comes from a column `min_steps`, or from tokens, `batch_tokens` and loss by equations 1.4 and 5.4
    (see `CriticalBatch`).
    """

    name = "kaplan-steps"
    equation = "L(N, S_min) = (Nc / N)^alpha_N + (Sc / S_min)^alpha_S"
    parameter_names = ("Nc", "Sc", "alpha_N", "alpha_S")
    theta_names = ("log (Nc/N)^alpha_N", "log (Sc/S_min)^alpha_S", "alpha_N", "alpha_S")
    variables = ("params", "min_steps")
    bounds = (LOG_TERM, LOG_TERM, EXPONENT, EXPONENT)
    limits = (
        no_term("Nc", 0, "(Nc / N)^alpha_N + ", ("alpha_N", 2)),
        no_term("Sc", 1, " + (Sc / S_min)^alpha_S", ("alpha_S", 3)),
    )

    def terms(self, x: Any, xp: Any = np) -> Any:
        """Each term is linear in theta: its log at the reference point, less its exponent times x."""
        one, zero = xp.ones_like(x[:, 0]), xp.zeros_like(x[:, 0])
        return xp.stack(
            [
                xp.stack([one, zero, -x[:, 0], zero], axis=1),
                xp.stack([zero, one, zero, -x[:, 1]], axis=1),
            ]
        )

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Exponents, by the share of the loss that is N's."""
        level, exponents = log_loss.mean(), (0.03, 0.1, 0.3, 0.8)
        return np.array(
            [
                [level + np.log(share), level + np.log(1 - share), n, s]
                for n, s, share in product(exponents, exponents, (0.1, 0.3, 0.5, 0.7, 0.9))
            ]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Terms at the reference point as the scales Nc and Sc."""
        n, s, alpha_N, alpha_S = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        Nc, Sc = finite_exp(n / alpha_N + reference[0], xp), finite_exp(s / alpha_S + reference[1], xp)
        return xp.stack([Nc, Sc, alpha_N, alpha_S], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Scales as terms at the reference point."""
        Nc, Sc, alpha_N, alpha_S = (parameters[name] for name in self.parameter_names)
        n, s = alpha_N * (np.log(Nc) - reference[0]), alpha_S * (np.log(Sc) - reference[1])
        return np.array([n, s, alpha_N, alpha_S])


class CriticalBatchLaw(Form):
    """Equation 1.4, fitted to critical batch sizes that were measured: `batch_tokens` at each loss."""

    name = "critical-batch"
    equation = "B_crit(L) = B_star / L^(1 / alpha_B), B_crit in batch_tokens"
    parameter_names = ("B_star", "alpha_B")
    theta_names = ("log B_crit", "1 / alpha_B")
    variables = ("loss",)
    target = "batch_tokens"
    bounds = ((0.0, 40.0), (1e-2, 100.0))

    def terms(self, x: Any, xp: Any = np) -> Any:
        """One term, linear in theta."""
        return xp.stack([xp.ones_like(x[:, 0]), -x[:, 0]], axis=1)[None]

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Eight powers at the level of the data."""
        return np.array([[log_loss.mean(), power] for power in np.geomspace(0.5, 20.0, 8)])

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """The level moves from the loss of reference to one nat."""
        level, power = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        return xp.stack([finite_exp(level + power * reference[0], xp), 1 / power], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The level moves from one nat to the loss of reference."""
        power = 1 / parameters["alpha_B"]
        return np.array([np.log(parameters["B_star"]) - power * reference[0], power])
