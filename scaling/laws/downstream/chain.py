"""The chain from a budget to the error of tasks: a law of loss, then the error at that loss.

Gadre et al. 2024 (arXiv:2403.08540), section 3.4; Bhagia et al. 2024 (arXiv:2412.04403), section 3.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.law import Law
from scaling.laws.sections import Interval
from scaling.laws.uncertainty.resample import middles

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """Two steps: budget to loss, loss to error.

    Draw i of `loss` is used with draw i of `error`. Of a law with `then` both come from one resample of the
    same runs, so that the interval includes how the two steps vary together.
    """

    loss: Law
    error: Law

    def predict(self, **variables: Any) -> Floats:
        """Error at params and tokens, or whatever the law of loss reads."""
        return self.error.predict(loss=self.loss.predict(**variables))

    def interval(self, **variables: Any) -> tuple[Floats, Floats] | None:
        """Bootstrap percentiles of the error through both steps; None where a law has no bootstrap."""
        losses = self._losses(**variables)
        return None if losses is None else middles(self._errors(losses))

    def run_interval(self, **variables: Any) -> Interval | None:
        """The same for the error of one run: with the residual noise of both steps."""
        losses = self._losses(**variables)
        if losses is None:
            return None
        first, second = np.random.default_rng(3).normal(size=(2, len(losses)))
        noise = (self.loss.residual_noise or 0.0) * first
        losses = losses * np.exp(noise) if self.loss.logarithmic else losses + noise
        errors = self._errors(losses) + (self.error.residual_noise or 0.0) * second
        low, high = middles(np.clip(errors, 0.0, 1.0))
        return float(low), float(high)

    def _losses(self, **variables: Any) -> Floats | None:
        """(R, ...) losses of the resamples."""
        parameters = self.loss.draws()
        if parameters is None or self.error.draws() is None:
            return None
        chosen = {name: variables[name] for name in self.loss.form.variables}
        return np.array([self.loss.form.predict(one, **chosen) for one in parameters])

    def _errors(self, losses: Floats) -> Floats:
        """(R, ...) errors of the resamples, each at its own loss."""
        parameters = (self.error.draws() or [])[: len(losses)]
        losses = losses[: len(parameters)]
        pairs = zip(parameters, losses, strict=True)
        errors = np.array([self.error.form.predict(one, loss=loss) for one, loss in pairs])
        if self.error.averaging is not None:
            errors = self.error.averaging.widened(errors, self.error.predict(loss=losses))
        return errors
