"""From loss to the error of tasks, and the chain from a budget to that error (Gadre et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling.laws.forms import Floats, Law

if TYPE_CHECKING:
    from scaling.laws.law import LawFit

FLOOR = 1e-3  # errors below this are none that an average over tasks can have


class DownstreamError(Law):
    """Gadre et al. 2024 (arXiv:2403.08540), equation 5: the average error of tasks falls with loss.

    `eps` is the error of a model that has learned nothing. The authors fit it by least squares of the error
    itself: `residual="plain"`, `delta=10`.
    """

    name = "downstream-error"
    equation = "Err(L) = eps - k exp(-gamma L)"
    parameter_names = ("eps", "k", "gamma")
    theta_names = ("log eps", "log k exp(-gamma L)", "log gamma L")
    variables = ("loss",)
    target = "error"
    bounds = ((-7.0, 2.0), (-25.0, 2.0), (-5.0, 5.0))

    def log_loss(self, theta: Any, x: Any, xp: Any = np) -> Any:
        """(n,) log of the error.

        Below `FLOOR` the logarithm goes on as its tangent, so that a trial step past zero has a way back.
        """
        rise = xp.exp(theta[2]) * xp.expm1(x[:, 0])
        error = xp.exp(theta[0]) - xp.exp(theta[1] - rise)
        above = xp.maximum(error, FLOOR)
        return xp.log(above) + (error - above) / FLOOR

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


@dataclass(frozen=True)
class Chain:
    """Two steps, budget to loss and loss to error (Gadre et al. 2024, section 3.4)."""

    loss: "LawFit"
    error: "LawFit"

    def predict(self, **variables: Any) -> Floats:
        """Error at params and tokens, or whatever the law of loss reads."""
        return self.error.predict(loss=self.loss.predict(**variables))

    def interval(self, **variables: Any) -> tuple[Floats, Floats] | None:
        """Bootstrap percentiles, draw i of one law with draw i of the other; None where either has none.

        The two bootstraps are taken as independent.
        """
        draws = [law.draws() for law in (self.loss, self.error)]
        if draws[0] is None or draws[1] is None or self.error.bootstrap is None:
            return None
        chosen = {name: variables[name] for name in self.loss.form.variables}
        errors = [
            self.error.form.predict(error, loss=self.loss.form.predict(loss, **chosen))
            for loss, error in zip(draws[0], draws[1], strict=False)
        ]
        tail = (1 - self.error.bootstrap.level) / 2
        low, high = np.quantile(np.array(errors), [tail, 1 - tail], axis=0)
        return low, high
