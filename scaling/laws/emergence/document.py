"""The `emergence.json` document: verdicts, thresholds, forecasts, seeds, and what the metric explains."""

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
    """A place on the scale, in its unit, with its 95% interval.

    A side that is null is open: the data do not bound it. `beyond` says that the value itself is outside
    the scales that were measured; it is null where that is by more than their complete range (in logs).
    """

    kind: Literal["half rise", "changepoint", "even odds"]
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


class Estimate(Frozen):
    """A number with its 95% interval."""

    value: float
    interval: tuple[float, float]


class ShareAbove(Frozen):
    """Of the seeds of one size, those that score above a level, with Wilson's 95% interval of their share."""

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
    """What the distribution of scores over seeds says: how often runs score above `level`, by scale.

    `bimodal` is true where seeds of one size score at both ends and not between, false where they score
    between, and null where `bimodal_evidence` (nats, positive for two modes) cannot tell. `grows` is the
    posterior probability that larger models break through more often; `even_odds` the scale at which half of
    them do. `level_before` and `level_after` are mean scores of the runs below and above `level`.
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
    log_odds_per_decade: Estimate
    curve: tuple[Probability, ...]
    level_before: Estimate | None
    level_after: Estimate | None


class Foresight(Frozen):
    """What the models below the threshold predicted of those above it.

    The threshold is the first size whose mean score is half way from the smallest size's to the highest.
    `foreseen` is true where every size from there on was predicted to within a quarter of the rise, and a
    rise was called for; false where one was not; null where too few sizes are below, or where the predictions
    were right but allowed for no rise at all.
    """

    threshold: float | None
    below: int  # sizes
    forecasts: tuple[Forecast, ...]
    max_abs_error: float | None
    foreseen: bool | None
    why: str


class Verdict(Frozen):
    """One task, metric and number of examples.

    `word` is the short answer: `form` (whether a break is needed) where the score rises and was foreseen,
    `unforeseen` where one smooth curve is enough but the models below the threshold did not predict those
    above, `bimodal` where seeds have the ability or lack it; else `course`, the direction of the score.
    `direction` says whether the score changes faster or slower past the break.
    `delta_aicc` is the AICc of the best shape without a break (smooth, or constant) less that of the best
    with one, `delta_cv` the broken shapes' log predictive density of sizes left out less that of the others,
    in nats, with its standard error over sizes: both are positive where a break explains more.
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
    delta_aicc_binomial: float | None  # the same with noise from items alone: no scatter from run to run
    delta_cv: float | None
    delta_cv_error: float | None
    scatter: float | None  # of the shape that the verdict rests on, as in `candidates`
    best_smooth: str | None
    best_broken: str | None
    half_rise: Threshold | None  # averaged over smooth shapes by Akaike's weights
    half_rise_weights: dict[str, float]
    changepoint: Threshold | None
    rise_decades: float | None  # of scale, from a tenth to nine tenths of the rise, by the best smooth shape
    foresight: Foresight
    breakthrough: Breakthrough | None = None
    forecasts: tuple[Forecast, ...] = ()
    candidates: tuple[Candidate, ...] = ()


class Claim(Frozen):
    """A statement about the distribution over seeds; `holds` is null where the runs leave it open."""

    task: str
    metric: str
    shots: int
    claim: str
    holds: bool | None
    text: str


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
    notes: tuple[str, ...]  # how the source was read, where that was not plain
    claims: tuple[Claim, ...]
    verdicts: tuple[Verdict, ...]
    metric_or_model: tuple[SharpAndSmooth, ...]
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_atomically(path, (self.model_dump_json(indent=2) + "\n").encode())
