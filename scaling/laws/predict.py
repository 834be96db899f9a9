"""What a fitted law predicts at a point, with intervals: directly, or through a chain of two laws.

A chain goes from a budget to a loss, and from the loss to the error of tasks: Gadre et al. 2024
(arXiv:2403.08540), section 3.4; Bhagia et al. 2024 (arXiv:2412.04403), section 3.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.config.base import Frozen
from scaling.config.reach import Reach, reach
from scaling.config.reach_errors import widened
from scaling.laws.forms.form import Floats
from scaling.laws.law import Law
from scaling.laws.sections import LEVEL, Interval
from scaling.laws.uncertainty.noise import t_quantile
from scaling.laws.uncertainty.resample import middles
from scaling.runtime.errors import BadInputError

SMALLEST = 1e-9  # of a lower end: below it the data say zero


@dataclass(frozen=True)
class Chain:
    """Two steps: budget to loss, loss to error.

    Where both steps were resampled from the same runs, draws of the same resample go together, so that the
    interval includes how the steps vary together; where they were not, draws are paired at random.
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

    def widened(self, ends: Interval, **variables: Any) -> Interval | None:
        """An interval of the error, widened by the rolled errors of both steps at the reach of the loss.

        None where either step has no interval there.
        """
        bias = []
        for law in (self.loss, self.error):
            errors = law.rolling_by_reach
            reach = None if errors is None else errors.reach(variables, law.ranges)
            if errors is not None and errors.refused(reach) is not None:
                return None
            bias.append(0.0 if errors is None else errors.bias(reach))
        loss = float(self.loss.predict(**variables))
        error = float(self.error.predict(loss=loss))
        # What a bias of the loss does to the error, as a bias of the error.
        moved = [float(self.error.predict(loss=loss * np.exp(sign * bias[0]))) for sign in (-1, 1)]
        through = max(abs(np.log(max(one, SMALLEST) / max(error, SMALLEST))) for one in moved)
        return widened(error, ends, through + bias[1])

    def _pairs(self) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        """Draws of the loss and of the error that go together."""
        first, second = self.loss.bootstrap, self.error.bootstrap
        one, other = self.loss.draws() or [], self.error.draws() or []
        if first is None or second is None:
            return one, other
        if (first.runs, first.seed) != (second.runs, second.seed):
            order = np.random.default_rng(4).permutation(len(other))
            return one, [other[i] for i in order]
        at = {number: i for i, number in enumerate(second.tries or range(len(other)))}
        both = [(i, at[number]) for i, number in enumerate(first.tries or range(len(one))) if number in at]
        return [one[i] for i, _ in both], [other[j] for _, j in both]

    def _losses(self, **variables: Any) -> Floats | None:
        """(R, ...) losses of the resamples."""
        if self.loss.draws() is None or self.error.draws() is None:
            return None
        parameters, _ = self._pairs()
        chosen = {name: variables[name] for name in self.loss.form.variables}
        return np.array([self.loss.form.predict(one, **chosen) for one in parameters])

    def _errors(self, losses: Floats) -> Floats:
        """(R, ...) errors of the resamples, each at its own loss."""
        parameters = self._pairs()[1][: len(losses)]
        losses = losses[: len(parameters)]
        pairs = zip(parameters, losses, strict=True)
        errors = np.array([self.error.form.predict(one, loss=loss) for one, loss in pairs])
        if self.error.averaging is not None:
            errors = self.error.averaging.widened(errors, self.error.predict(loss=losses))
        return errors


class Step(Frozen):
    """A value with its 95% interval: the law's own, and `widened` by the errors of the rolled hold-out."""

    value: float
    interval: Interval | None
    widened: Interval | None = None


class Predicted(Frozen):
    """A law's target at a place. `interval` is the law's own, `run_interval` holds the noise of one run too.

    `widened` and `widened_run` are the same with the errors of the rolled hold-out at this reach, and are
    what pages show; null where none can be given. `widening` says how, or why not. Of a law with `then` the
    target is the error of tasks, `loss` the step before it, and the interval goes
    through both. `accuracy` is 1 - error.
    """

    at: dict[str, float]
    target: str
    value: float
    interval: Interval | None
    run_interval: Interval | None
    method: str | None
    reach: Reach | None
    loss: Step | None = None
    accuracy: Step | None = None
    widened: Interval | None = None
    widened_run: Interval | None = None
    widening: str | None = None


def predicted(law: Law, place: dict[str, float]) -> Predicted:
    """The target of `law`, or of the law after it, at a value of each variable.

    Raises:
        BadInputError: a form without a floor is below zero there.
    """
    far = reach(place, law.ranges, law.rolling)
    value, interval = _value(law.predict(**place)), _ends(law.interval(**place), law.form.target)
    wide = _ends(law.widened(**place), law.form.target)
    if law.then is None:
        if law.form.target == "error" and value <= 0:
            raise BadInputError(
                f"--predict: {law.law} has no floor and is below 0 at {_words(place)}; use --law "
                "downstream-error, whose floor is chosen by evidence"
            )
        return Predicted(
            at=place,
            target=law.form.target,
            value=value,
            interval=interval,
            run_interval=_of_one_run(law, value, interval),
            method=law.method,
            reach=far,
            accuracy=_accuracy(value, interval, wide) if law.form.target == "error" else None,
            widened=wide,
            widened_run=_of_one_run(law, value, wide),
            widening=_widening(law, place) if interval is not None else None,
        )
    chain = Chain(law, law.then)
    error, ends = _value(chain.predict(**place)), _ends(chain.interval(**place), "error")
    run_ends = chain.run_interval(**place)
    wide_error, wide_run = (
        None if one is None or wide is None else _ends(chain.widened(one, **place), "error")
        for one in (ends, run_ends)
    )
    return Predicted(
        at=place,
        target="error",
        value=error,
        interval=ends,
        run_interval=run_ends,
        method=None if ends is None else "joint bootstrap of both steps",
        reach=reach(place | {"loss": value}, law.ranges | {"loss": law.then.ranges["loss"]}, law.rolling),
        loss=Step(value=value, interval=interval, widened=wide),
        accuracy=_accuracy(error, ends, wide_error),
        widened=wide_error,
        widened_run=wide_run,
        widening=None if ends is None else _widening(law, place) or _widening(law.then, place),
    )


def _widening(law: Law, place: dict[str, float]) -> str | None:
    errors = law.rolling_by_reach
    return None if errors is None else errors.words(errors.reach(place, law.ranges))


def _words(place: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in place.items())


def _value(array: Any) -> float:
    return float(np.asarray(array))


def _ends(ends: Any, target: str) -> Interval | None:
    if ends is None:
        return None
    low, high = (float(np.asarray(end)) for end in ends)
    if not (np.isfinite(low) and np.isfinite(high)):
        return None
    if target == "error":
        low, high = min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)
    return (0.0 if 0 < low < SMALLEST else low), high


def _accuracy(error: float, interval: Interval | None, wide: Interval | None) -> Step:
    own, widened = (None if ends is None else (1 - ends[1], 1 - ends[0]) for ends in (interval, wide))
    return Step(value=1 - error, interval=own, widened=widened)


def _of_one_run(law: Law, value: float, interval: Interval | None) -> Interval | None:
    """The interval with a run's residual noise added in quadrature."""
    noise = law.residual_noise
    if interval is None or not noise:
        return None
    freedom = law.hessian.freedom if law.hessian is not None and law.hessian.freedom else 10**6
    noise *= t_quantile(LEVEL, freedom)
    low, high = interval
    if law.logarithmic:
        if low <= 0 or value <= 0:
            return None
        below, above = (np.hypot(np.log(end / value), noise) for end in interval)
        return float(value * np.exp(-below)), float(value * np.exp(above))
    ends = value - np.hypot(value - low, noise), value + np.hypot(high - value, noise)
    return _ends(ends, law.form.target)
