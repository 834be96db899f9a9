"""One fitting problem: a form, an objective, and points as arrays. Every solve and interval reads it."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats, Form
from scaling.laws.points import Points
from scaling.laws.solving.huber import Residual, huber, residuals


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimise sum_i weight_i Huber_delta(residual_i) over theta.

    Attributes:
        form: the functional form; its bounds are kept at every iterate.
        x: (n, V) log variables over their reference.
        log_target: (n,) observed, of whatever the form predicts.
        weight: (n,) of each point.
        reference: (V,) the log of the reference point.
        delta: width of the objective's quadratic zone, in units of the residual.
        tied: whether delta follows the noise: each set of points then has its own (`solving.scale`).
        residual: "log" for log(predicted) - log(observed), "plain" for predicted - observed.
        run: (n,) number of each point's run; points of one run share its noise. None if each is its own.
        chosen: whether the points were chosen from more for their low loss: their noise is not 0 on average.
        width: pad the arrays to this many points; fits to subsets then share one compiled program.
    """

    form: Form
    x: Floats
    log_target: Floats
    weight: Floats
    reference: Floats
    delta: float = 1e-3
    residual: Residual = "log"
    width: int = 0
    run: NDArray[np.int64] | None = None
    tied: bool = False
    chosen: bool = False

    @classmethod
    def of(
        cls,
        form: Form,
        points: Points,
        delta: float = 1e-3,
        residual: Residual = "log",
        width: int = 0,
        tied: bool = False,
    ) -> "Problem":
        """The problem of the points that the form describes, at their own reference point."""
        columns = form.log_variables(points)
        chosen = form.select(columns, np.log(points.loss))
        reference = form.reference(columns[chosen])
        return cls(
            form,
            columns[chosen] - reference,
            np.log(points.column(form.target)[chosen]),
            points.weight[chosen],
            reference,
            delta,
            residual,
            width,
            points.group_index()[chosen],
            tied,
            chosen_by_loss(form, chosen),
        )

    def over(self, points: Points) -> "Problem":
        """The same problem over all of the points: resamples and cut-offs choose among them by weight."""
        x = self.form.log_variables(points) - self.reference
        log_target = np.log(points.column(self.form.target))
        return replace(self, x=x, log_target=log_target, weight=points.weight, run=points.group_index())

    def at(self, index: NDArray[np.bool_]) -> "Problem":
        """The same problem over some of its points."""
        run = None if self.run is None else self.run[index]
        return replace(
            self, x=self.x[index], log_target=self.log_target[index], weight=self.weight[index], run=run
        )

    def with_form(self, form: Form) -> "Problem":
        """The same points and objective with another form."""
        return replace(self, form=form)

    @cached_property
    def shared(self) -> NDArray[np.int64] | None:
        """(n,) number of each point's run, from 0, if some runs have several points; None if none has."""
        if self.run is None:
            return None
        names, run = np.unique(self.run, return_inverse=True)
        return run.reshape(-1) if len(names) < len(run) else None

    def with_delta(self, delta: float) -> "Problem":
        """The same points and form with another width of the quadratic zone."""
        return replace(self, delta=delta)

    def residuals(self, theta: Floats) -> Floats:
        """(n,) at theta (P,)."""
        off: Floats = residuals(self.residual, self.form.log_loss(theta, self.x), self.log_target)
        return off

    def objective(self, theta: Floats) -> float:
        """At theta (P,)."""
        return float((self.weight * huber(self.residuals(theta), self.delta)).sum())

    @property
    def padded_points(self) -> int:
        """Points of the compiled program: 32, 48, 64, 96, 128, ..., so that few programs serve every fit."""
        count = max(self.width, len(self.x))
        power = max(32, 1 << (count - 1).bit_length())
        return 3 * power // 4 if count <= 3 * power // 4 and power > 32 else power

    @cached_property
    def padded(self) -> tuple[Floats, Floats]:
        """x, or the terms (K, n, P) of a form of terms, and the log target; padding has no weight."""
        n, terms = self.padded_points, self.form.terms(self.x, np)
        data = pad(self.x, n) if terms is None else np.stack([pad(term, n) for term in terms])
        return data, pad(self.log_target, n)

    def padded_weights(self, weights_Rn: Floats, rows: int) -> Floats:
        """(rows, padded points) of the weights of R resamples."""
        out = np.zeros((rows, self.padded_points))
        out[: len(weights_Rn), : len(self.x)] = weights_Rn
        return out


def chosen_by_loss(form: Form, selected: NDArray[np.bool_]) -> bool:
    """Whether a form of the loss describes only some of the points, those that are low."""
    return form.target == "loss" and not bool(selected.all())


def pad(array: NDArray[Any], length: int) -> NDArray[Any]:
    """`array` with zeros appended along its first axis."""
    out = np.zeros((length, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out
