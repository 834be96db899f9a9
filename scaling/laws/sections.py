"""The parts of a `law.json` document: intervals, tests and diagnostics of a fit."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from scaling.config.base import Frozen
from scaling.config.reach import Reach

LEVEL = 0.95  # of every interval
Interval = tuple[float, float]


class ObjectiveValue(Frozen):
    """What was minimised: the sum over points of weight times Huber_delta of the residual in the name.

    `scale` is the standard deviation of the residuals by Huber's proposal 2, estimated with the parameters;
    delta is 1.345 times it. Null where delta was given.
    """

    name: str
    delta: float
    value: float
    scale: float | None = None
    residual: Literal["log", "plain"] | None = None  # of the target's logarithm, or of the target itself


class Prediction(Frozen):
    """One held-out point. `interval` is the law's own (bootstrap); the noise of a run is not in it."""

    label: str
    group: str
    params: float
    tokens: float
    flops: float
    measured: float
    predicted: float
    rel_error: float  # predicted / measured - 1
    interval: Interval | None


class Holdout(Frozen):
    """The test: the largest runs, predicted by the same law fitted without them."""

    n: int
    mean_abs_rel_error: float
    max_abs_rel_error: float
    n_fitted: int
    rule: str
    parameters: dict[str, float | None]
    predictions: tuple[Prediction, ...]


class Allocation(Frozen):
    """How the law would spend a training compute, and the loss it expects."""

    flops: float
    params: float
    tokens: float
    tokens_per_param: float
    tokens_per_param_interval: Interval | None
    loss: float
    loss_interval: Interval | None
    params_interval: Interval | None = None
    reach: Reach | None = None  # beyond the data of the law
    loss_widened: Interval | None = None  # by the errors of the rolled hold-out at this reach
    widening: str | None = None  # how, or why there is none


class Optimum(Frozen):
    """N_opt grows as C^a and D_opt as C^b (Hoffmann et al. 2022, equation 4); C as the points count it."""

    a: float
    b: float
    intervals: dict[str, Interval]
    tokens_per_param: dict[str, float]  # by training compute in FLOPs: {"1e+18": 20.1}
    budgets: tuple[Allocation, ...]


class Bootstrap(Frozen):
    """Resamples of complete runs (`unit` run) or of points. `samples` keeps some of the fitted parameters.

    `rejected` is the share of resamples that did not determine the law, and were drawn again. `runs` is a
    digest of the runs drawn from: of laws with equal runs and seed, resamples of equal `tries` are the same.
    """

    n: int
    level: float
    unit: str
    seed: int
    samples: dict[str, tuple[float | None, ...]]  # null: infinite
    rejected: float = 0.0
    runs: str | None = None
    tries: tuple[int, ...] | None = None  # number of each kept resample among all drawn; null: 0, 1, 2, ...


class Jackknife(Frozen):
    """Intervals from leaving out each run in turn, with Student's t of one less than the number of runs.

    `standard_errors` are on the scale of the interval: of the logarithm for a quantity positive by
    construction. `samples` are the parameters without each run.
    """

    runs: int
    level: float
    reason: str | None  # why there are no intervals
    intervals: dict[str, tuple[float | None, float | None] | None]
    standard_errors: dict[str, float | None]
    samples: dict[str, tuple[float | None, ...]]  # null: infinite


class Profile(Frozen):
    """The least objective with one quantity held, over a grid of its values (`uncertainty.profile`).

    An end of `interval` is null if the objective does not rise to the threshold on that side: the data do not
    identify the quantity there, and `flat_range` is how far the search went.
    """

    grid: tuple[float, ...]
    objective: tuple[float, ...]
    interval: tuple[float | None, float | None]
    identified: bool
    flat_range: tuple[float | None, float | None] | None = None  # null: to infinity


class LimitComparison(Frozen):
    """A limit of a parameter that the data do not exclude (`scaling.laws.uncertainty.limits`).

    `adopted`: the law's parameters, intervals and predictions are those of the limiting form. `statistic` is
    the drop test of the limit, `threshold` its 95% quantile; null if every point is fitted exactly.
    """

    parameter: str
    limit: float | None  # null: infinity
    equation: str  # of the limiting form
    adopted: bool
    rise: float  # objective of the limiting form less that of the form it is compared with
    statistic: float | None
    threshold: float | None
    other: dict[str, float | None]  # parameters of the form that is not reported


class Hessian(Frozen):
    """Standard errors from the curvature at the optimum (`uncertainty.curvature`); null if it has none.

    `standard_errors` are on the scale of the interval: of the logarithm for a quantity positive by
    construction. `theta`, `reference` and `covariance` are the fitted parameters on the scale of the search.
    """

    estimator: str
    level: float
    condition: float | None
    flattest: str  # the direction of theta that the data determine least
    reason: str | None  # why there are no intervals
    intervals: dict[str, tuple[float | None, float | None] | None]
    standard_errors: dict[str, float | None]
    freedom: int | None  # points less parameters
    drop_scale: float | None  # E[psi^2] / E[psi'], the scale of the profile's threshold
    residual_noise: float | None  # robust standard deviation of the residuals
    theta: dict[str, float]
    reference: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...] | None


class CutOff(Frozen):
    """One cut-off of the rolled hold-out: fitted to the runs below a compute, tested on the runs beyond."""

    flops: float
    extrapolation: float  # largest compute predicted over the cut-off
    n_fitted: int
    n: int
    mean_abs_rel_error: float
    max_abs_rel_error: float
    inside: float | None  # share of points inside the prediction interval, which includes the noise of a run
    parameters: dict[str, float | None]


class SeedNoise(Frozen):
    """Runs that differ only in their seed: the least error that any law can have.

    `by` is how they were found: by seed or, without such a column, by equal numbers in every column given.
    """

    std_log_loss: float  # pooled over the sets
    n_sets: int
    n_points: int
    by: str = "seed"


class LackOfFit(Frozen):
    """The F test of the law's form against the noise between seeds (`uncertainty.lack_of_fit`).

    `f` is the ratio of the mean squares of lack of fit, with `dof` degrees of freedom, and of pure error,
    with `pure_dof`; `seeds_std` is the root of the latter. All are null where there is no test, for the
    `reason`.
    """

    f: float | None
    dof: int | None
    pure_dof: int | None
    p: float | None
    seeds_std: float | None
    reason: str | None = None


class ComparedLaw(Frozen):
    """One law of a comparison. Errors are of the log of the loss, rolled (`scaling.laws.comparison`).

    `behind` is the mean squared error less that of the best law, with `behind_se` over the runs predicted;
    `alike` whether that is within one standard error. `aicc` is in-sample.
    """

    law: str
    n_parameters: int
    rms: float | None
    se: float | None
    behind: float | None
    behind_se: float | None
    alike: bool | None
    aicc: float | None
    weight: float | None


class StackedPrediction(Frozen):
    """The average of the laws at a place, by their weights, with the interval of their mixture."""

    at: dict[str, float]
    value: float
    interval: Interval | None
    values: dict[str, float]  # of each law
    intervals: dict[str, Interval | None]


class Comparison(Frozen):
    """Laws compared by their rolled errors, the best first; `chosen` is the one that is fitted.

    `refused` are the laws that the points cannot determine, with the reason; `reason` is why the others
    could not be compared.
    """

    chosen: str
    laws: tuple[ComparedLaw, ...]
    refused: dict[str, str]
    n_cut_offs: int
    n_runs: int  # predicted
    n_predictions: int
    reason: str | None = None
    predictions: tuple[StackedPrediction, ...] = ()


class SweptBowl(Frozen):
    """Runs of one budget that differ in settings, as one point (`scaling.laws.tuned`).

    `by` is "vertex" for the minimum of a parabola, "lowest" for the lowest loss of too few settings.
    `settings` are those at the minimum; `standard_errors` of their logarithms (of a setting with zero, of
    itself) are null where the noise is not known. `loss_variance` is in units of one run's.
    """

    params: float
    tokens: float
    n: int  # runs
    by: Literal["vertex", "lowest"]
    settings: dict[str, float]
    standard_errors: dict[str, float | None]
    loss: float
    loss_variance: float


class SweptRuns(Frozen):
    """Sweeps of settings, each of which enters the fit as one point."""

    n_bowls: int
    n_points: int  # runs in them
    n_by_lowest: int
    settings: tuple[str, ...]
    noise: float | None  # standard deviation of the log loss about the parabolas
    bowls: tuple[SweptBowl, ...]


class SensitivityRow(Frozen):
    """The law fitted again with one choice changed. `refused` is the reason why that was not possible."""

    change: str
    n: int
    delta: float
    counting: dict[str, str]
    parameters: dict[str, float | None] = Field(default_factory=dict)
    a: float | None = None
    at: dict[str, float] = Field(default_factory=dict)  # where the prediction is made
    prediction: float | None = None
    refused: str | None = None


class WeightedForm(Frozen):
    """One candidate of an average over forms."""

    shape: str
    parameters: dict[str, float]
    weight: float


class Averaging(Frozen):
    """Forms that the evidence does not distinguish, weighted by it, the heaviest first."""

    criterion: str
    residual_noise: float  # standard deviation of one run's target around the law
    inflation: float  # the factor by which a bootstrap of few points is too narrow
    forms: tuple[WeightedForm, ...]

    def widened(self, draws: Any, centre: Any) -> Any:
        """(R, ...) predictions of resamples, widened for the few points, as shares."""
        return np.clip(centre + self.inflation * (np.asarray(draws) - centre), 0.0, 1.0)
