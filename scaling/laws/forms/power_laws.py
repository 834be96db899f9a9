"""Power laws of one variable, N, D or C, with an irreducible loss and without."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.envelope import lower_envelope
from scaling.laws.forms.form import LOG_TERM, Floats, Form, Limit, finite_exp, log_of_term, no_term

# Below, a scale such as Nc, of which the loss is a power, is beyond any number.
EXPONENT = (5e-3, 4.0)


def floor_limits(term: str, scale: str, exponent: str) -> tuple[Limit, ...]:
    """The limits of E + (X0 / X)^exponent."""
    return no_term(scale, 1, f" + {term}", (exponent, 2)), no_term("E", 0, "E + ")


def lowest_of_each(log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
    """(n,) True for the point of lowest loss at each value of the variables (n, V)."""
    _, level = np.unique(np.round(log_variables, 9), axis=0, return_inverse=True)
    level = level.reshape(-1)
    order = np.lexsort((log_loss, level))
    mask = np.zeros(len(log_loss), bool)
    mask[order[np.diff(level[order], prepend=-1) > 0]] = True
    return mask


class PurePower(Form):
    """L(X) = (X0 / X)^exponent; subclasses name X, X0 and the exponent."""

    theta_names = ("log L", "exponent")
    bounds = (LOG_TERM, EXPONENT)

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """The lowest loss of each value: the run least limited by what the law leaves out."""
        return lowest_of_each(log_variables, log_loss)

    def terms(self, x: Any, xp: Any = np) -> Any:
        """One term, linear in theta: its log at the reference point, less its exponent times x."""
        return xp.stack([xp.ones_like(x[:, 0]), -x[:, 0]], axis=1)[None]

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """12 exponents at the level of the data."""
        return np.array([[log_loss.mean(), exponent] for exponent in np.geomspace(0.01, 2.0, 12)])

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """The level at the reference point as the scale X0."""
        level, exponent = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        return xp.stack([finite_exp(level / exponent + reference[0], xp), exponent], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The scale X0 as the level at the reference point."""
        scale, exponent = (parameters[name] for name in self.parameter_names)
        return np.array([exponent * (np.log(scale) - reference[0]), exponent])


class PowerOverFloor(Form):
    """L(X) = E + (X0 / X)^exponent; subclasses name X, X0 and the exponent."""

    theta_names = ("log E", "log (X0/X)^exponent", "exponent")
    bounds = (LOG_TERM, LOG_TERM, EXPONENT)

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """The lowest loss of each value: the run least limited by what the law leaves out."""
        return lowest_of_each(log_variables, log_loss)

    def terms(self, x: Any, xp: Any = np) -> Any:
        """Each term is linear in theta: its log at the reference point, less its exponent times x."""
        one, zero = xp.ones_like(x[:, 0]), xp.zeros_like(x[:, 0])
        return xp.stack([xp.stack([one, zero, zero], axis=1), xp.stack([zero, one, -x[:, 0]], axis=1)])

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Ten shares of the loss that are irreducible, by ten exponents."""
        level = log_loss.min()
        shares, exponents = np.linspace(0.02, 0.98, 10), np.geomspace(0.01, 2.0, 10)
        return np.array(
            [[level + np.log(s), level + np.log(1 - s), g] for s, g in product(shares, exponents)]
        )

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """The level of the power at the reference point as the scale X0."""
        e, level, exponent = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        return xp.stack([xp.exp(e), finite_exp(level / exponent + reference[0], xp), exponent], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The scale X0 as the level of the power at the reference point."""
        floor, scale, exponent = (parameters[name] for name in self.parameter_names)
        return np.array([log_of_term(floor), exponent * (np.log(scale) - reference[0]), exponent])


class ParamsPower(PurePower):
    """Kaplan et al. 2020 (arXiv:2001.08361), equation 1.1, on the lowest loss at each N."""

    name = "params-power"
    equation = "L(N) = (Nc / N)^alpha_N on the lowest loss at each N"
    parameter_names = ("Nc", "alpha_N")
    variables = ("params",)


class TokensPower(PurePower):
    """Kaplan et al. 2020 (arXiv:2001.08361), equation 1.2, on the lowest loss at each D."""

    name = "tokens-power"
    equation = "L(D) = (Dc / D)^alpha_D on the lowest loss at each D"
    parameter_names = ("Dc", "alpha_D")
    variables = ("tokens",)


class ParamsFloor(PowerOverFloor):
    """Henighan et al. 2020 (arXiv:2010.14701), equation 1.1 in N, on the lowest loss at each N."""

    name = "params-floor"
    equation = "L(N) = E + (Nc / N)^alpha_N on the lowest loss at each N"
    parameter_names = ("E", "Nc", "alpha_N")
    variables = ("params",)
    limits = floor_limits("(Nc / N)^alpha_N", "Nc", "alpha_N")


class TokensFloor(PowerOverFloor):
    """Henighan et al. 2020 (arXiv:2010.14701), equation 1.1 in D, on the lowest loss at each D."""

    name = "tokens-floor"
    equation = "L(D) = E + (Dc / D)^alpha_D on the lowest loss at each D"
    parameter_names = ("E", "Dc", "alpha_D")
    variables = ("tokens",)
    limits = floor_limits("(Dc / D)^alpha_D", "Dc", "alpha_D")


class ComputePower(PurePower):
    """Pure power law of the compute envelope (Kaplan et al. 2020, arXiv:2001.08361, equation 1.3)."""

    name = "compute-power"
    equation = "L(C) = (C0 / C)^gamma"
    parameter_names = ("C0", "gamma")
    theta_names = ("log L", "gamma")
    variables = ("flops",)

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """The lower envelope."""
        return lower_envelope(log_variables[:, 0], log_loss)


class ComputeEnvelope(PowerOverFloor):
    """Power law over an irreducible loss, on the lower envelope of loss against compute.

    The envelope is the lower convex hull of the final points in (log C, log L) up to the least loss: see
    `lower_envelope`. The form is that of Henighan et al. 2020 (arXiv:2010.14701), equation 1.1.
    """

    name = "compute-envelope"
    equation = "L(C) = E + (C0 / C)^gamma on the lower convex hull of (log C, log L)"
    parameter_names = ("E", "C0", "gamma")
    theta_names = ("log E", "log (C0/C)^gamma", "gamma")
    variables = ("flops",)
    limits = floor_limits("(C0 / C)^gamma", "C0", "gamma")

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """The lower envelope."""
        return lower_envelope(log_variables[:, 0], log_loss)
