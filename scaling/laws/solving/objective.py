"""What a fit minimises: the Huber loss of residuals of the logarithm, or of the quantity itself."""

from typing import Any, Literal

import numpy as np

Residual = Literal["log", "plain"]

RESIDUALS: dict[Residual, str] = {"log": "log {0}_pred - log {0}_obs", "plain": "{0}_pred - {0}_obs"}
LARGEST_LOG = 100.0  # e^100 nats are as wrong as any more; and squares stay finite


def describe(residual: Residual, target: str) -> str:
    """The objective in words, for `law.json`."""
    return f"sum of Huber({RESIDUALS[residual].format('L' if target == 'loss' else target)})"


def residuals(residual: Residual, log_predicted: Any, log_observed: Any, xp: Any = np) -> Any:
    """(...,) residuals from logarithms; `xp` is numpy or jax.numpy."""
    if residual == "log":
        return log_predicted - log_observed
    return xp.exp(xp.minimum(log_predicted, LARGEST_LOG)) - xp.exp(log_observed)


def huber(residual: Any, delta: float) -> Any:
    """Huber (1964): quadratic within `delta`, linear beyond, so that a large delta gives least squares."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
