"""From loss to the error of tasks: the bounded law that `scaling fit` averages, and Gadre et al. 2024's.

`downstream-error` is fitted by `scaling.laws.downstream`, which chooses its floor, ceiling and shape by
evidence. `gadre-error` is the published form, which the generic solver fits; it has no floor.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from scaling.laws.forms.form import Floats, Form

LEAST_ERROR = 1e-3  # below it the logarithm of a trial step of `gadre-error` continues as its tangent
SATURATED = 40.0  # of k (L - L0): exp(-40) of the rise is left


def risen(z: Any, nu: Any) -> Any:
    """Share of the rise from floor to ceiling at z = k (L - L0): (1 + nu exp(-z))^(-1/nu).

    nu = 0 is the limit exp(-exp(-z)). All approach the ceiling as 1 - exp(-z); the larger nu, the more slowly
    they approach the floor (Richards 1959, "A flexible growth function for empirical use").
    """
    fall = np.exp(-np.clip(z, -SATURATED, 10 * SATURATED))
    limit = np.asarray(nu) < 1e-9
    safe = np.where(limit, 1.0, nu)
    return np.where(limit, np.exp(-fall), np.exp(-np.log1p(safe * fall) / safe))


class DownstreamError(Form):
    """Error of tasks as a bounded function of loss: a generalised logistic from a floor to a ceiling.

    nu = 1 is the logistic of Bhagia et al. 2024 (arXiv:2412.04403), equation 3, and of Llama 3
    (arXiv:2407.21783, section 3.2.1). Near the ceiling every nu is equation 5 of Gadre et al. 2024
    (arXiv:2403.08540), with eps the ceiling and gamma = k.
    """

    name = "downstream-error"
    equation = "Err(L) = floor + (ceiling - floor) (1 + nu exp(-k (L - L0)))^(-1/nu)"
    parameter_names = ("floor", "ceiling", "nu", "k", "L0")
    theta_names = ()
    variables = ("loss",)
    target = "error"
    bounds = ()
    min_levels = 4  # a sigmoid needs as many different losses as it has parameters

    @property
    def min_points(self) -> int:
        """One more than its parameters: floor, ceiling, k and L0."""
        return 5

    def predict(self, parameters: Mapping[str, float], **variables: Any) -> Floats:
        """Errors, between the floor and the ceiling."""
        floor, ceiling, nu, k, middle = (parameters[name] for name in self.parameter_names)
        loss = np.asarray(variables["loss"], float)
        errors: Floats = floor + (ceiling - floor) * risen(k * (loss - middle), nu)
        return errors


class GadreError(Form):
    """Gadre et al. 2024 (arXiv:2403.08540), equation 5: the average error of tasks falls with loss.

    `eps` is the error of a model that has learned nothing. The authors fit it by least squares of the error
    itself: `residual="plain"`, `delta=10`. Far below the data it predicts errors below zero.
    """

    name = "gadre-error"
    equation = "Err(L) = eps - k exp(-gamma L)"
    parameter_names = ("eps", "k", "gamma")
    theta_names = ("log eps", "log k exp(-gamma L)", "log gamma L")
    variables = ("loss",)
    target = "error"
    bounds = ((-7.0, 2.0), (-25.0, 2.0), (-5.0, 5.0))

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) log of the error.

        Below `LEAST_ERROR` it continues as its tangent, so that a trial step below zero finds its way back.
        """
        rise = xp.exp(theta[2]) * xp.expm1(x[:, 0])
        error = xp.exp(theta[0]) - xp.exp(theta[1] - rise)
        above = xp.maximum(error, LEAST_ERROR)
        return xp.log(above) + (error - above) / LEAST_ERROR

    def predict(self, parameters: Mapping[str, float], **variables: Any) -> Floats:
        """Equation 5 as it is: below zero where the loss is far below the data."""
        loss = np.asarray(variables["loss"], float)
        errors: Floats = parameters["eps"] - parameters["k"] * np.exp(-parameters["gamma"] * loss)
        return errors

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Errors of a model that has learned nothing, by how fast error saturates."""
        top, middle = np.exp(log_loss.max()), np.exp(log_loss.mean())
        grid = product((1.01, 1.1, 1.4), np.geomspace(0.1, 20.0, 8))
        return np.array([[np.log(top * f), np.log(top * f - middle), np.log(g)] for f, g in grid])

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """What is relative to the loss of reference in nats."""
        eps, drop, rate = xp.moveaxis(xp.asarray(theta, float), -1, 0)
        return xp.stack([xp.exp(eps), xp.exp(drop + xp.exp(rate)), xp.exp(rate - reference[0])], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The inverse."""
        rate = parameters["gamma"] * np.exp(reference[0])
        return np.array([np.log(parameters["eps"]), np.log(parameters["k"]) - rate, np.log(rate)])
