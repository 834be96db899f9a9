"""The best learning rate and batch size as power laws of the budget."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats, Form, finite_exp
from scaling.laws.forms.power_laws import lowest_of_each

LOG_LEVEL = (-50.0, 50.0)
SIGNED_EXPONENT = (-4.0, 4.0)


class BestSetting(Form):
    """y = c times a power of each variable, on the run of lowest loss at each budget.

    Exponents have either sign: a best learning rate falls with tokens, a best batch grows. Runs must sweep
    the setting at each budget: the lowest loss then marks the best of the sweep.
    """

    def select(self, log_variables: Floats, log_loss: Floats) -> NDArray[np.bool_]:
        """The lowest loss at each budget."""
        return lowest_of_each(log_variables, log_loss)

    def terms(self, x: Any, xp: Any = np) -> Any:
        """One term, linear in theta: its log at the reference point, plus exponents times x."""
        return xp.concatenate([xp.ones_like(x[:, :1]), x], axis=1)[None]

    def starts(self, x: Floats, log_loss: Floats, reference: Floats) -> Floats:
        """Signs of the exponents at the level of the data."""
        return np.array([[log_loss.mean(), *signs] for signs in product((-0.5, 0.0, 0.5), repeat=x.shape[1])])

    def parameters(self, theta: Any, reference: Floats, xp: Any = np) -> Any:
        """The level moves from the reference point to a budget of one."""
        theta = xp.asarray(theta, float)
        c = finite_exp(theta[..., 0] - theta[..., 1:] @ reference, xp)
        return xp.concatenate([c[..., None], theta[..., 1:]], axis=-1)

    def theta(self, parameters: Mapping[str, float], reference: Floats) -> Floats:
        """The level moves from a budget of one to the reference point."""
        c, *exponents = (parameters[name] for name in self.parameter_names)
        return np.array([np.log(c) + np.dot(exponents, reference), *exponents])


class BudgetSetting(BestSetting):
    """In N and D, the form of Bjorck et al. 2024 (arXiv:2409.19913) for the learning rate."""

    parameter_names = ("c", "a", "b")
    theta_names = ("log level", "a", "b")
    variables = ("params", "tokens")
    bounds = (LOG_LEVEL, SIGNED_EXPONENT, SIGNED_EXPONENT)


class ComputeSetting(BestSetting):
    """In C, the form of DeepSeek-AI 2024 (arXiv:2401.02954), equation 1."""

    parameter_names = ("c", "a")
    theta_names = ("log level", "a")
    variables = ("flops",)
    bounds = (LOG_LEVEL, SIGNED_EXPONENT)


class LearningRate(BudgetSetting):
    """The best learning rate in N and D."""

    name = "learning-rate"
    equation = "learning_rate(N, D) = c N^a D^b on the lowest loss at each (N, D)"
    target = "learning_rate"


class BatchSize(BudgetSetting):
    """The best batch size, in tokens, in N and D."""

    name = "batch-size"
    equation = "batch_tokens(N, D) = c N^a D^b on the lowest loss at each (N, D)"
    target = "batch_tokens"


class LearningRateCompute(ComputeSetting):
    """The best learning rate in C."""

    name = "learning-rate-compute"
    equation = "learning_rate(C) = c C^a on the lowest loss at each C"
    target = "learning_rate"


class BatchSizeCompute(ComputeSetting):
    """The best batch size, in tokens, in C."""

    name = "batch-size-compute"
    equation = "batch_tokens(C) = c C^a on the lowest loss at each C"
    target = "batch_tokens"
