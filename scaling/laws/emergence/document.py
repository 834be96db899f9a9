"""The `emergence.json` document: verdicts, thresholds, forecasts, seeds, and what the metric explains.

Every judgement is a typed value. The only prose is `why` and `text`, which nothing reads back.
"""

from pathlib import Path
from typing import Literal

from scaling.config.base import Frozen
from scaling.runtime.files import write_atomically

Form = Literal["smooth", "broken", "undecided"]
Course = Literal["rising", "falling", "u-shaped", "hump", "flat", "saturated"]
Conclusion = Literal["metric", "model", "undecided"]
Direction = Literal["faster", "slower"]
Word = Literal[
    "smooth", "unforeseen", "broken", "bimodal", "undecided", "inverse", "u-shaped", "hump", "flat",
    "saturated",
]  # fmt: skip


class Threshold(Frozen):
    """A place on the scale, in the scale's unit, with its 95% interval.

    A null end of the interval is open: the data do not bound it. `beyond` is true if the value is outside the
    measured scales; the value is null if it is outside by more than their range (in logs).
    """

    kind: Literal["half rise", "changepoint", "even odds"]
    value: float | None
    interval: tuple[float | None, float | None]
    beyond: bool


class FittedShape(Frozen):
    """One candidate shape as fitted.

    `deviance` is that of the best curve without scatter beyond that of test items. `scatter` is the standard
    deviation of the scatter: in log odds for shares of items, otherwise in units of half the score's range.
    """

    name: str
    family: str
    n_parameters: int
    deviance: float
    scatter: float
    aicc: float | None  # null: too few points for the small-sample correction


class HeldOutForecast(Frozen):
    """The score at the largest scale, predicted from the others through the metric `via`."""

    via: str
    scale: float
    predicted: float
    interval: tuple[float, float]
    measured: float
    error: float  # predicted - measured
    inside: bool


class IntervalEstimate(Frozen):
    """A number with its 95% interval."""

    value: float
    interval: tuple[float, float]


class ShareAbove(Frozen):
    """The share of seeds of one size that score above a level, with Wilson's 95% interval."""

    scale: float
    seeds: int
    above: int
    share: float
    interval: tuple[float, float]


class Probability(Frozen):
    """The probability that a run of this scale breaks through, with its 95% interval."""

    scale: float
    value: float
    interval: tuple[float, float]


class Breakthrough(Frozen):
    """The distribution of scores over seeds: how often runs score above `level`, by scale.

    `bimodal` is true if seeds of one size score at both ends and not between, false if they score between,
    and null if `bimodal_evidence` (nats, positive for two modes) is too weak. `grows` is the posterior
    probability that larger models break through more often; `even_odds` is the scale at which half of them
    do. `level_before` and `level_after` are mean scores of the runs below and above `level`.
    """

    level: float
    seeds: int
    least_seeds: int  # of any size
    shares: tuple[ShareAbove, ...]
    bimodal: bool | None
    bimodal_evidence: float | None
    mixed_sizes: int  # sizes with seeds on both sides of the level
    grows: float
    even_odds: Threshold | None
    log_odds_per_decade: IntervalEstimate
    curve: tuple[Probability, ...]
    level_before: IntervalEstimate | None
    level_after: IntervalEstimate | None


class Foresight(Frozen):
    """How well the models below the threshold predicted those above it.

    The threshold is the first size whose mean score is half way from the smallest size's to the highest.
    `foreseen` is true if every size from there on was predicted to within a quarter of the rise and the
    predictions required a rise; false if a size was not; null if too few sizes are below, or if the
    predictions were right but also allowed for no rise.
    """

    threshold: float | None
    below: int  # sizes
    forecasts: tuple[HeldOutForecast, ...]
    max_abs_error: float | None
    foreseen: bool | None
    why: str


class Power(Frozen):
    """The breaks that a number of sizes can show, as shares of the rise.

    A break of `smallest` is found with `probability` where it shows best, by a test at 5% with the noise of
    the best smooth curve; a smaller one is not, wherever it is. A break of `anywhere` is found at every
    place. Null: no break of any size is found.
    """

    sizes: int
    probability: float
    smallest: float | None
    anywhere: float | None


class Verdict(Frozen):
    """One task, metric and number of examples.

    `word` is the short answer. For a rising score that was foreseen it is `form`: whether a break is needed.
    It is `unforeseen` if one smooth curve is enough but the models below the threshold did not predict those
    above, and `bimodal` if seeds either have the ability or lack it. Otherwise it is `course`, the direction
    of the score. `direction` says whether the score changes faster or slower past the break.

    `delta_aicc` is the AICc of the best shape without a break (smooth, or constant) minus that of the best
    shape with one. `delta_cv` is the log predictive density of left-out sizes under the broken shapes minus
    that under the others, in nats, with its standard error over sizes. Both are positive if a break explains
    more. `p_value` is that of `delta_aicc` by parametric bootstrap, and 1 where it is not positive; `q_value`
    adjusts it for all verdicts of the document (Benjamini and Hochberg 1995): `form` is broken only if it is
    at most 0.1.

    `break_bound` is the largest break that the scores allow (the 95% upper bound by profile likelihood), as a
    share of the rise: in log odds at the resolution of the test for scores between 0 and 1, in the score
    otherwise. `form` is smooth only if it is below `material`. It is null if the score does not change
    with scale, or if the points do not bound it; `power` says what these sizes could show.
    """

    task: str
    metric: str
    shots: int
    size: float | None
    n_points: int
    n_levels: int
    mean_score: float
    noise: Literal["binomial", "gaussian"]
    word: Word
    form: Form
    course: Course
    direction: Direction | None
    why: str
    delta_aicc: float | None
    delta_aicc_binomial: float | None  # with noise from test items alone: no scatter between runs
    delta_cv: float | None
    delta_cv_error: float | None
    p_value: float | None
    q_value: float | None
    break_bound: float | None
    material: float
    power: Power | None
    scatter: float | None  # of the shape behind the verdict, as in `candidates`
    best_smooth: str | None
    best_broken: str | None
    half_rise: Threshold | None  # averaged over smooth shapes by Akaike weights
    half_rise_weights: dict[str, float]
    changepoint: Threshold | None
    rise_decades: float | None  # of scale, from 10% to 90% of the rise, by the best smooth shape
    foresight: Foresight
    breakthrough: Breakthrough | None = None
    forecasts: tuple[HeldOutForecast, ...] = ()
    candidates: tuple[FittedShape, ...] = ()


class Claim(Frozen):
    """A statement about the distribution over seeds; `holds` is null if the runs leave it open."""

    task: str
    metric: str
    shots: int
    claim: str
    holds: bool | None
    text: str


class SharpAndSmooth(Frozen):
    """A sharp metric compared with a smooth metric of the same answers.

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
    """The complete result."""

    source: str
    against: str
    notes: tuple[str, ...]  # conversions and assumptions made while reading the source
    claims: tuple[Claim, ...]
    verdicts: tuple[Verdict, ...]
    metric_or_model: tuple[SharpAndSmooth, ...]
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_atomically(path, (self.model_dump_json(indent=2) + "\n").encode())
