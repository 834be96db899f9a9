"""The joint law of N and D of Kaplan et al. 2020 (arXiv:2001.08361), equation 1.5."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.laws.forms.form import LOG_TERM, SCALE_EXPONENT, Floats, Form, finite_exp, no_term


class KaplanTokens(Form):
    """The larger of two bottlenecks, softly, without an irreducible loss."""

    name = "kaplan-tokens"
    equation = "L(N, D) = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D"
    parameter_names = ("Nc", "Dc", "alpha_N", "alpha_D")
    theta_names = ("log (Nc/N)^alpha_N", "log (Dc/D)^alpha_D", "alpha_N", "alpha_D")
    variables = ("params", "tokens")
    bounds = (LOG_TERM, LOG_TERM, SCALE_EXPONENT, SCALE_EXPONENT)
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
        """(n,) a maximum of the two limits; the larger alpha_D, the softer."""
        n, d, alpha_N, alpha_D = theta
        return alpha_D * xp.logaddexp((n - alpha_N * x[:, 0]) / alpha_D, d / alpha_D - x[:, 1])

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Exponents, by which of the two limits is nearer."""
        level, exponents = log_loss.mean(), (0.03, 0.1, 0.3, 0.8)
        gaps = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
        return np.array(
            [
                [level - np.log(2) * d - below_n, level - np.log(2) * d - below_d, n, d]
                for n, d, (below_n, below_d) in product(exponents, exponents, gaps)
            ]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """The limits at the reference point, as the scales Nc and Dc."""
        n, d, alpha_N, alpha_D = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        Nc, Dc = finite_exp(n / alpha_N + reference[0], xp), finite_exp(d / alpha_D + reference[1], xp)
        return xp.stack([Nc, Dc, alpha_N, alpha_D], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The scales, as limits at the reference point."""
        Nc, Dc, alpha_N, alpha_D = (parameters[name] for name in self.parameter_names)
        n, d = alpha_N * (np.log(Nc) - reference[0]), alpha_D * (np.log(Dc) - reference[1])
        return np.array([n, d, alpha_N, alpha_D])

    def frontier_slopes(self, parameters: Mapping[str, Any]) -> tuple[float, float]:
        """Of the two terms of L^(1/alpha_D)."""
        return float(parameters["alpha_N"] / parameters["alpha_D"]), 1.0

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        """The minimum of L on 6ND = C: that of L^(1/alpha_D), a sum of powers in N and D."""
        ratio = parameters["alpha_N"] / parameters["alpha_D"]
        log_G = xp.log(ratio) + ratio * xp.log(parameters["Nc"]) - xp.log(parameters["Dc"])
        return log_G / (ratio + 1), 1 / (ratio + 1)
