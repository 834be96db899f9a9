"""The `emergence.json` document: verdicts, thresholds, forecasts, and what the metric explains."""

from pathlib import Path
from typing import Literal

from scaling.config.base import Frozen
from scaling.config.files import write_atomically

Form = Literal["smooth", "broken", "undecided"]
Course = Literal["rising", "falling", "u-shaped", "hump", "flat", "saturated"]
Conclusion = Literal["metric", "model", "undecided"]
Word = Literal["smooth", "broken", "undecided", "inverse", "u-shaped", "hump", "flat", "saturated"]


class Threshold(Frozen):
    """A place on the scale, in its unit, with its 95% profile-likelihood interval.

    A side that is null is open: the data do not bound it. `beyond` says that the value itself lies outside
    the scales that were measured; it is null where that is by more than their whole range (in logs).
    """

    kind: Literal["half rise", "changepoint"]
    value: float | None
    interval: tuple[float | None, float | None]
    beyond: bool


class Candidate(Frozen):
    """One shape as fitted.

    `deviance` is that of the best curve were there no scatter beyond test items; `scatter` the standard
    deviation of what there is, in log odds for shares of items (else in units of half the score's range).
    """

    name: str
    family: str
    n_parameters: int
    deviance: float
    scatter: float
    aicc: float | None  # null: too few points for the small-sample correction


class Forecast(Frozen):
    """The largest scale, predicted from the others. `via` is the metric that the prediction went through."""

    via: str
    scale: float
    predicted: float
    interval: tuple[float, float]
    measured: float
    error: float  # predicted - measured
    inside: bool


class Verdict(Frozen):
    """One task, metric and number of examples.

    `word` is the short answer; `form` whether a break is needed, `course` which way the score goes.
    `delta_aicc` is the AICc of the best shape without a break (smooth, or constant) less that of the best
    with one; `delta_cv` the log predictive density that broken shapes give sizes left out less that of the
    others, in nats, with its standard error over sizes. Both are positive where a break explains more.
    """

    task: str
    metric: str
    shots: int
    size: float | None
    n_points: int
    n_levels: int
    noise: Literal["binomial", "gaussian"]
    word: Word
    form: Form
    course: Course
    why: str
    delta_aicc: float | None
    delta_aicc_binomial: float | None  # the same with noise from items alone: no scatter from run to run
    delta_cv: float | None
    delta_cv_error: float | None
    scatter: float | None  # of the shape that the verdict stands on, as in `candidates`
    best_smooth: str | None
    best_broken: str | None
    half_rise: Threshold | None
    changepoint: Threshold | None
    rise_decades: float | None  # of scale, from a tenth to nine tenths of the rise, by the best smooth shape
    forecasts: tuple[Forecast, ...] = ()
    candidates: tuple[Candidate, ...] = ()


class SharpAndSmooth(Frozen):
    """What a sharp metric looks like from the smooth one of the same answers.

    `predicted` is token accuracy to the power of the answer's mean length, row by row (Schaeffer et al. 2023,
    arXiv:2304.15004, section 2); `effective_length` is the power that would fit best.
    """

    task: str
    shots: int
    sharp: str
    smooth: str
    answer_tokens: float | None
    effective_length: float | None
    scale: tuple[float, ...]
    measured: tuple[float, ...]
    predicted: tuple[float, ...] | None
    mean_abs_error: float | None
    sharp_word: Word
    smooth_word: Word
    conclusion: Conclusion
    why: str


class Emergence(Frozen):
    """The whole answer."""

    source: str
    against: str
    verdicts: tuple[Verdict, ...]
    metric_or_model: tuple[SharpAndSmooth, ...]
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_atomically(path, (self.model_dump_json(indent=2) + "\n").encode())
