"""Over-training: loss in compute and tokens per parameter, with tied exponents (Gadre et al. 2024)."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.laws.forms.form import EXPONENT, LOG_TERM, Floats, Form, log_of_term, no_term


class OverTraining(Form):
    """Gadre et al. 2024 (arXiv:2403.08540), equation 4: a line in log C, moved but not turned by M.

    C = 6ND, so that the terms are a 6^-eta N^-2eta and b 6^-eta D^-2eta: `Chinchilla` with one exponent.
    The authors fit it by least squares of the loss itself: `residual="plain"`, `delta=10`.
    """

    name = "over-training"
    equation = "L(C, M) = E + (a M^eta + b M^-eta) C^-eta with M = D/N, C = 6ND"
    parameter_names = ("E", "a", "b", "eta")
    theta_names = ("log E", "log a (M/C)^eta", "log b (MC)^-eta", "eta")
    variables = ("params", "tokens")
    bounds = (LOG_TERM, LOG_TERM, LOG_TERM, EXPONENT)
    limits = (
        no_term("a", 1, "(a M^eta + b M^-eta)", rest="(b M^-eta)"),
        no_term("b", 2, "(a M^eta + b M^-eta)", rest="(a M^eta)"),
        no_term("E", 0, "E + ", optimum=True),
    )

    def terms(self, x: Any, xp: Any = np) -> Any:
        """Each term is linear in theta: its log at the reference point, less its exponent times x."""
        one, zero = xp.ones_like(x[:, 0]), xp.zeros_like(x[:, 0])
        return xp.stack(
            [
                xp.stack([one, zero, zero, zero], axis=1),
                xp.stack([zero, one, zero, -2 * x[:, 0]], axis=1),
                xp.stack([zero, zero, one, -2 * x[:, 1]], axis=1),
            ]
        )

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Shares of the loss that are irreducible, of the rest that is N's, by exponents."""
        level = log_loss.mean()
        grid = product(np.linspace(0.05, 0.95, 7), (0.2, 0.5, 0.8), np.geomspace(0.02, 1.0, 7))
        return np.array(
            [
                [level + np.log(s), level + np.log((1 - s) * n), level + np.log((1 - s) * (1 - n)), eta]
                for s, n, eta in grid
            ]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """Terms move from the reference point to N = D = 1, where C = 6."""
        e, a, b, eta = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        six = eta * xp.log(6)
        return xp.stack(
            [
                xp.exp(e),
                xp.exp(a + six + 2 * eta * reference[0]),
                xp.exp(b + six + 2 * eta * reference[1]),
                eta,
            ],
            axis=-1,
        )

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """Terms move from N = D = 1 to the reference point."""
        eta = parameters["eta"]
        a, b = (
            np.log(parameters[name]) - eta * (np.log(6) + 2 * middle)
            for name, middle in zip("ab", reference, strict=True)
        )
        return np.array([log_of_term(parameters["E"]), a, b, eta])

    def log_frontier(self, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        """At every compute the same M: a M^eta = b M^-eta."""
        log_ratio = xp.log(parameters["a"]) - xp.log(parameters["b"])
        return log_ratio / (4 * parameters["eta"]), 0.5
