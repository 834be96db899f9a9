"""Farseer, in which the level and the exponent of the data term change with model size (Li et al. 2025)."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.laws.forms.form import Floats, Form, Limit

LOG_TOKENS = float(np.log(1e10))  # where theta has the level of the data term
POWER, NEGATIVE_POWER = (0.01, 1.5), (-1.5, -0.01)
FALL, STEEP_FALL = (0.0, 2.0), (0.0, 8.0)


class Farseer(Form):
    """Li et al. 2025, "Predictable Scale: Part II, Farseer" (arXiv:2506.10972).

    At each model size a power law in D over a floor. The logarithms of the floor, of the power law's level
    and of its exponent are stretched exponentials of N, a N^p + b, of the signs of the paper: all three fall
    with N. The law's form depends on the unit of D; it is tokens.

    theta has for each of the three its fall with log N at the reference size, its power, and its value there
    (of the level, at `LOG_TOKENS`). a and b without the others are strongly correlated; where a power is near
    0 both are large and of opposite sign.
    """

    name = "farseer"
    equation = "L(N, D) = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) / D^p, p = exp(a1 N^alpha + b1)"
    parameter_names = ("a1", "alpha", "b1", "a2", "beta", "b2", "a3", "gamma", "b3")
    theta_names = (
        "fall of the exponent of D", "alpha", "log exponent of D", "fall of the level of D", "beta",
        "log level of D", "fall of the floor", "gamma", "log floor",
    )  # fmt: skip
    variables = ("params", "tokens")
    bounds = (
        FALL, POWER, (-5.0, 1.5), STEEP_FALL, NEGATIVE_POWER, (-25.0, 10.0), FALL, POWER, (-25.0, 10.0),
    )  # fmt: skip
    signed = ("a1", "b1", "a2", "b2", "a3", "b3")
    numeric_optimum = True
    curved = True
    min_levels = 4  # a stretched exponential of N has three parameters
    limits = (
        Limit("a1", 0.0, "upper", ((0, 0.0), (1, 0.5)), (("a1 N^alpha + b1", "b1"),), ("alpha",)),
        Limit("a2", 0.0, "lower", ((3, 0.0), (4, -0.5)), (("a2 N^beta + b2", "b2"),), ("beta",)),
        Limit("a3", 0.0, "upper", ((6, 0.0), (7, 0.5)), (("a3 N^gamma + b3", "b3"),), ("gamma",)),
    )

    def reference(self, log_variables: Floats) -> Floats:
        """The geometric mean of N; one token, because the form depends on the unit of D."""
        return np.array([log_variables[:, 0].mean(), 0.0])

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) x has log N over the reference, and log D."""
        fall1, alpha, exponent, fall2, beta, level, fall3, gamma, floor = theta
        n, d = x[:, 0], x[:, 1]
        power = xp.exp(exponent - fall1 * xp.expm1(alpha * n) / alpha)
        of_data = level - fall2 * xp.expm1(beta * n) / beta - power * d + xp.exp(exponent) * LOG_TOKENS
        return xp.logaddexp(floor - fall3 * xp.expm1(gamma * n) / gamma, of_data)

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Shares of the floor, by how it falls, by exponents of D and their falls."""
        level, tokens = log_loss.mean(), x[:, 1].mean() - LOG_TOKENS
        grid = product((0.3, 0.6, 0.85), (0.02, 0.1), (0.2, 0.4), (0.02, 0.2), (0.3, 1.2))
        return np.array(
            [
                [
                    *(fall1, 0.2, np.log(exponent)),
                    *(fall2, -0.2, level + np.log(1 - share) + exponent * tokens),
                    *(fall3, 0.2, level + np.log(share)),
                ]
                for share, fall3, exponent, fall1, fall2 in grid
            ]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """From falls and values at the reference size to a N^p + b at N = 1."""
        fall1, alpha, exponent, fall2, beta, level, fall3, gamma, floor = xp.moveaxis(
            xp.asarray(theta, float), -1, 0
        )
        level = level + xp.exp(exponent) * LOG_TOKENS  # at one token
        out = []
        for fall, power, value in ((fall1, alpha, exponent), (fall2, beta, level), (fall3, gamma, floor)):
            out += [-fall / power * xp.exp(-power * reference[0]), power, value + fall / power]
        return xp.stack(out, axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The inverse."""
        values = [parameters[name] for name in self.parameter_names]
        out: list[float] = []
        for a, power, b in zip(values[0::3], values[1::3], values[2::3], strict=True):
            grown = a * np.exp(power * reference[0])
            out += [-power * grown, power, grown + b]
        out[5] -= np.exp(out[2]) * LOG_TOKENS
        return np.array(out)
