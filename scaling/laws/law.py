"""The `law.json` document: a fitted law with its uncertainty, its test and its diagnostics."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from scaling.config.base import Frozen
from scaling.config.compute_cost import ComputeCost
from scaling.config.reach_errors import ErrorsByReach, widened
from scaling.config.record import TokenizerInfo
from scaling.laws.forms.form import ComputeOptimum, Floats, Form
from scaling.laws.forms.laws import LAWS
from scaling.laws.forms.limiting import limiting_form
from scaling.laws.forms.numeric_optimum import NumericOptimum
from scaling.laws.sections import (
    LEVEL,
    Averaging,
    Bootstrap,
    Comparison,
    CutOff,
    Hessian,
    Holdout,
    Interval,
    Jackknife,
    LackOfFit,
    LimitComparison,
    ObjectiveValue,
    Optimum,
    Profile,
    SeedNoise,
    SensitivityRow,
    SweptRuns,
)
from scaling.laws.uncertainty.noise import t_quantile
from scaling.laws.uncertainty.resample import differences, jackknife
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically

T_DRAWS = 1000
Method = Literal["bootstrap", "jackknife", "Hessian"]


class Law(Frozen):
    """A fitted law: the document law.json. Intervals are bootstrap percentiles, empty without a bootstrap.

    `loss_unit` is the unit of the losses that it was fitted to and predicts; `tokenizer` and `dataset` are
    those of all points, null if they are unknown or differ. `notes` say how the source was read.

    If one of `limits` is adopted, everything is that of the limiting form, `equation` included. A parameter
    is null if it is infinite, or does not exist in that form; the end of an interval is null if the data do
    not bound the parameter on that side.
    """

    law: str
    equation: str
    parameters: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None]]
    objective: ObjectiveValue
    n_points: int
    n_starts: int
    n_starts_at_best: int
    gradient_norm: float
    boundary_hits: tuple[str, ...]
    holdout: Holdout | None
    optimum: Optimum | None
    counting: dict[str, str]  # what N and C are, in words
    counts: dict[str, str | None] | None = None  # the conventions of N and C, null for a column of a table
    cost: ComputeCost | None = None  # FLOPs per token by N where compute is not 6ND
    n_selected: int  # points that the law describes: those of the envelope, or all
    bootstrap: Bootstrap | None = None
    bootstrap_refused: str | None = None  # why the design carries no bootstrap
    jackknife: Jackknife | None = None
    ranges: dict[str, Interval]  # of params, tokens, flops, loss in the data
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()
    forced: bool = False
    source: str = ""
    profile: dict[str, Profile] | None = None
    hessian: Hessian | None = None
    limits: tuple[LimitComparison, ...] = ()  # that the points do not exclude
    unidentified: tuple[str, ...] = ()  # parameters that the data do not bound, on one side or both
    rolling: tuple[CutOff, ...] | None = None
    rolling_by_reach: ErrorsByReach | None = None  # by which predictions are widened
    seed_noise: SeedNoise | None = None
    lack_of_fit: LackOfFit | None = None
    comparison: Comparison | None = None  # with other laws
    swept: SweptRuns | None = None  # runs that sweep settings, each sweep as one point
    sensitivity: tuple[SensitivityRow, ...] | None = None
    dropped: tuple[str, ...] = ()  # rows that were no measurements, left out by force
    loss_unit: str = "nats per token"
    tokenizer: TokenizerInfo | None = None
    dataset: str | None = None
    notes: tuple[str, ...] = ()
    averaging: Averaging | None = None  # of a law whose form is chosen by evidence
    then: "Law | None" = None  # the error of tasks at this law's loss, from the same runs

    @property
    def form(self) -> Form:
        """The functional form; if a limit is adopted, the law's limiting form."""
        law = LAWS[self.law]
        adopted = [(one.parameter, one.limit) for one in self.limits if one.adopted]
        known = {(limit.parameter, limit.value): limit for limit in law.limits}
        return limiting_form(law, tuple(known[key] for key in adopted))

    def values(self) -> dict[str, float]:
        """The parameters as numbers; a null of the document is infinite, or ignored by `form`."""
        return {name: math.inf if value is None else value for name, value in self.parameters.items()}

    def predict(self, **variables: Any) -> Floats:
        """The law's target (a loss is in `loss_unit`) at its variables: params and tokens, or flops, ..."""
        chosen = {name: variables[name] for name in self.form.variables}
        if self.averaging is None:
            return self.form.predict(self.values(), **chosen)
        forms = self.averaging.forms
        each = [one.weight * self.form.predict(one.parameters, **chosen) for one in forms]
        return np.sum(each, axis=0)

    @property
    def method(self) -> Method | None:
        """How intervals of predictions are made: the first of bootstrap, jackknife, Hessian that exists.

        The bootstrap of a form with kinks does not count: in simulations it contained the truth in 84% of
        draws, and the Hessian in 91% (docs/coverage.md).
        """
        if self.bootstrap is not None and not self.form.kinked:
            return "bootstrap"
        if self.jackknife is not None and self.jackknife.reason is None:
            return "jackknife"
        if self.hessian is not None and self.hessian.covariance is not None:
            return "Hessian"
        return None

    @property
    def shown_intervals(self) -> Mapping[str, tuple[float | None, float | None]]:
        """Intervals of the parameters by `method`, for a page that shows one column."""
        if self.method == "bootstrap":
            return self.intervals
        found = self.jackknife if self.method == "jackknife" else self.hessian
        if self.method is None or found is None:
            return {}
        return {name: ends for name, ends in found.intervals.items() if ends is not None}

    def interval(self, method: Method | None = None, /, **variables: Any) -> tuple[Floats, Floats] | None:
        """The law's own interval of `predict`, by `method`; None where the law has no uncertainty.

        Percentiles over the bootstrap, or Student's t on the scale of the residuals.
        """
        method = method or self.method
        if method == "jackknife":
            return self._jackknifed(**variables)
        if method == "Hessian":
            return self._by_curvature(**variables)
        resampled = None if self.form.kinked else self.draws()
        if resampled is None:
            return None
        level = self.bootstrap.level if self.bootstrap is not None else LEVEL
        chosen = {name: variables[name] for name in self.form.variables}
        draws = np.array([self.form.predict(parameters, **chosen) for parameters in resampled])
        if self.averaging is not None:
            draws = self.averaging.widened(draws, self.predict(**chosen))
        tail = (1 - level) / 2
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        return low, high

    def widened(self, method: Method | None = None, /, **variables: Any) -> tuple[Floats, Floats] | None:
        """`interval`, widened by the errors of the rolled hold-out at the reach of the prediction.

        NaN where the reach is beyond what the hold-out can speak for (`config.reach_errors`); the law's own
        interval where the law was fitted without a rolled hold-out.
        """
        ends = self.interval(method, **variables)
        errors = self.rolling_by_reach
        if ends is None or errors is None:
            return ends
        names = list(variables)
        arrays = np.broadcast_arrays(*(np.asarray(variables[name], float) for name in names))
        value, low, high = (
            np.broadcast_to(one, arrays[0].shape) for one in (self.predict(**variables), *ends)
        )
        out = np.full((2, *value.shape), np.nan)
        for i in np.ndindex(value.shape):
            place = {name: float(array[i]) for name, array in zip(names, arrays, strict=True)}
            reach = errors.reach(place, self.ranges)
            if errors.refused(reach) is None:
                one = (float(low[i]), float(high[i]))
                out[:, *i] = widened(float(value[i]), one, errors.bias(reach))
        return out[0], out[1]

    def _jackknifed(self, **variables: Any) -> tuple[Floats, Floats] | None:
        found = self.jackknife
        if found is None or found.reason is not None:
            return None
        chosen = {name: variables[name] for name in self.form.variables}
        rows = zip(*found.samples.values(), strict=True)
        deleted = [
            {name: math.inf if v is None else v for name, v in zip(found.samples, row, strict=True)}
            for row in rows
        ]
        predictions = np.array([self.form.predict(one, **chosen) for one in deleted])
        centre = self.predict(**chosen)
        if not self.logarithmic:
            return jackknife(centre, predictions, found.level)
        ends = jackknife(np.log(centre), np.log(predictions), found.level)
        return None if ends is None else (np.exp(ends[0]), np.exp(ends[1]))

    def _by_curvature(self, **variables: Any) -> tuple[Floats, Floats] | None:
        """The delta method on the scale of the residuals, with Student's t."""
        found = self.hessian
        if found is None or found.covariance is None or not found.freedom:
            return None
        columns = np.broadcast_arrays(*(np.log(np.asarray(variables[v], float)) for v in self.form.variables))
        x = np.stack([column.ravel() for column in columns], axis=-1) - np.array(found.reference)
        theta = np.array(list(found.theta.values()))
        slopes = differences(lambda theta: self.form.log_loss(theta, x), theta)
        variance = np.einsum("np,pq,nq->n", slopes, np.array(found.covariance), slopes)
        centre = self.predict(**variables)
        reach = t_quantile(found.level, found.freedom) * np.sqrt(variance).reshape(np.shape(centre))
        if self.logarithmic:
            return centre * np.exp(-reach), centre * np.exp(reach)
        return centre * (1 - reach), centre * (1 + reach)

    def sampled(self) -> list[dict[str, float]] | None:
        """Plausible parameters: the bootstrap's, else Student's t of the Hessian; None without either."""
        if self.bootstrap is not None:
            return self.draws()
        if self.hessian is None or self.hessian.covariance is None:
            return None
        centre = np.array(list(self.hessian.theta.values()))
        random = np.random.default_rng(0)
        normal = random.multivariate_normal(np.zeros(len(centre)), np.array(self.hessian.covariance), T_DRAWS)
        freedom = self.hessian.freedom or math.inf
        heavy = (
            np.sqrt(freedom / random.chisquare(freedom, T_DRAWS))
            if np.isfinite(freedom)
            else np.ones(T_DRAWS)
        )
        theta = centre + normal * heavy[:, None]
        low, high = np.array(self.form.bounds).T
        values = self.form.parameters(np.clip(theta, low, high), np.array(self.hessian.reference))
        return [dict(zip(self.form.parameter_names, map(float, row), strict=True)) for row in values]

    def draws(self) -> list[dict[str, float]] | None:
        """Parameters fitted to each kept resample; None without a bootstrap."""
        if self.bootstrap is None:
            return None
        names = list(self.bootstrap.samples)
        rows = zip(*self.bootstrap.samples.values(), strict=True)
        return [
            {name: math.inf if v is None else v for name, v in zip(names, row, strict=True)} for row in rows
        ]

    @property
    def residual_noise(self) -> float | None:
        """Standard deviation of one run about the law: of the log of the target if `logarithmic`."""
        if self.averaging is not None:
            return self.averaging.residual_noise
        return self.hessian.residual_noise if self.hessian else None

    @property
    def logarithmic(self) -> bool:
        """Whether the fit was to logarithms of the target."""
        if self.objective.residual is None:  # a document of an earlier version
            return "log" in self.objective.name
        return self.objective.residual == "log"

    def frontier(self) -> ComputeOptimum | NumericOptimum | None:
        """The compute-optimal frontier, with local exponents at the largest compute of the data."""
        return self.form.optimum(self.values(), self.cost, self.ranges["flops"][1])

    def write(self, path: Path) -> None:
        """Write law.json, atomically.

        Raises:
            BadInputError: the directory does not exist or cannot be written.
        """
        write_atomically(path, self.model_dump_json(indent=2).encode() + b"\n")


def read_law(path: Path) -> Law:
    """The document at `path`.

    Raises:
        BadInputError: no such file, or it is not a law.json.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read: {error.strerror}; give a law.json of `scaling fit`"
        ) from error
    try:
        law = Law.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BadInputError(f"{path} is not a law.json: {where}: {first['msg']}") from error
    if law.law not in LAWS:
        raise BadInputError(f"{path}: law {law.law!r} is not known; known: {', '.join(LAWS)}")
    missing = [name for name in law.form.parameter_names if name not in law.parameters]
    if missing:
        raise BadInputError(f"{path}: parameters lacks {', '.join(missing)}, which {law.law} needs")
    return law
