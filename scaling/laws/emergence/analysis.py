"""From a table of scores to the complete result: verdicts, claims about seeds, and metric or model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence import explain
from scaling.laws.emergence.document import Claim, Conclusion, Emergence, SharpAndSmooth, Verdict
from scaling.laws.emergence.foresight import forecasts_through_smooth_metrics, paired
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.score_table import ScoreTable
from scaling.laws.emergence.series import series_of
from scaling.laws.emergence.verdict import Judged, judge

Floats = NDArray[np.float64]

SUDDEN = ("broken", "unforeseen", "bimodal", "undecided")  # words under which a jump is possible
LEAST_SEEDS = 3  # at every size, for claims about seeds
CERTAIN = 0.975  # posterior probability


@dataclass(frozen=True)
class Analysis:
    """The document, and the fits behind it, one for each verdict."""

    document: Emergence
    judged: tuple[Judged, ...]
    scores: ScoreTable  # the rows that were used


def emergence(
    scores: ScoreTable,
    against: str | None = None,
    tasks: Sequence[str] | None = None,
    shots: Sequence[int] | None = None,
    metrics: Sequence[str] | None = None,
    above: float | None = None,
) -> Analysis:
    """Verdict, thresholds and forecast for each task, metric and shots; metric or model for each pair.

    Over params, flops or loss only the last checkpoint of each run counts; over step every checkpoint does,
    with a curve per size.

    Args:
        scores: a table from `read_scores`.
        against: flops, params, loss or step; by default the first of these that every row has.
        tasks: tasks to use; None is all, as for `shots` and `metrics`.
        shots: numbers of examples to use.
        metrics: metrics to use.
        above: the score that counts as a breakthrough; half way from chance to 1 by default.

    Raises:
        BadInputError: rows lack the scale, or no row remains.
    """
    scores = scores.choose(tasks, shots, metrics).in_order()
    against = against or scores.best_scale()
    scores.scale(against)
    if against != "step":
        scores = scores.last_steps()
    judged = tuple(_with_forecasts(one, scores) for one in judge(series_of(scores, against), above))
    verdicts = tuple(one.verdict for one in judged)
    document = Emergence(
        source=scores.source,
        against=against,
        notes=scores.notes,
        claims=tuple(claim for verdict in verdicts for claim in claims_of(verdict)),
        verdicts=verdicts,
        metric_or_model=sharp_and_smooth(scores, verdicts, against),
        versions={name: version(name) for name in ("jax", "numpy")},
    )
    return Analysis(document, judged, scores)


def _with_forecasts(judged: Judged, scores: ScoreTable) -> Judged:
    """A verdict with forecasts through smooth metrics added to the direct one."""
    smooth = metric_named(judged.series.key[1]).smooth
    if smooth or judged.series.size is not None or not judged.verdict.forecasts:
        return judged
    more = forecasts_through_smooth_metrics(scores.of(judged.series.key), judged.series, scores)
    verdict = judged.verdict.model_copy(update={"forecasts": (*judged.verdict.forecasts, *more)})
    return replace(judged, verdict=verdict)


# -- claims about seeds ----------------------------------------------------------------------------------


def claims_of(verdict: Verdict) -> tuple[Claim, ...]:
    """Yes-or-no statements that other seeds on another machine can confirm; none if a size has too few seeds.

    The score of one run is not such a statement, nor is a mean over a few: other seeds give other values.
    These are about the distribution over seeds, and each holds only if its 95% interval does. `holds` is null
    if the runs leave it open.
    """
    b = verdict.breakthrough
    if b is None or b.least_seeds < LEAST_SEEDS:
        return ()
    low, high = b.shares[0].interval, b.shares[-1].interval
    found = {
        "rare_at_smallest": _decided(low[1] < 0.5, low[0] > 0.5),
        "common_at_largest": _decided(high[0] > 0.5, high[1] < 0.5),
        "grows_with_scale": _decided(b.grows > CERTAIN, b.grows < 1 - CERTAIN),
        "bimodal": b.bimodal,
        "foreseen": verdict.foresight.foreseen,
    }
    return tuple(
        Claim(task=verdict.task, metric=verdict.metric, shots=verdict.shots, claim=name, holds=holds,
              text=explain.CLAIMS[name])
        for name, holds in found.items()
    )  # fmt: skip


def _decided(yes: bool, no: bool) -> bool | None:
    return True if yes else False if no else None


# -- metric or model -------------------------------------------------------------------------------------


def exact_match_from_tokens(token_accuracy: Floats, answer_tokens: float) -> Floats:
    """p^L: the probability that all L tokens are right if they are right independently and equally often.

    Schaeffer et al. 2023 (arXiv:2304.15004), section 2. The tokens of an answer are easy or hard together, so
    that the measured value is mostly above.
    """
    power: Floats = np.clip(token_accuracy, 0.0, 1.0) ** answer_tokens
    return power


def effective_length(token_accuracy: Floats, exact_match: Floats) -> float | None:
    """The power that takes token accuracy to exact match: the median of log ratios, if both are in (0, 1)."""
    inside = (token_accuracy > 0) & (token_accuracy < 1) & (exact_match > 0) & (exact_match < 1)
    if not inside.any():
        return None
    return float(np.median(np.log(exact_match[inside]) / np.log(token_accuracy[inside])))


def sharp_and_smooth(
    scores: ScoreTable, verdicts: Sequence[Verdict], against: str
) -> tuple[SharpAndSmooth, ...]:
    """Each sharp metric compared with each smooth one of its task and shots, from the verdicts on both."""
    by_key = {(v.task, v.metric, v.shots): v for v in verdicts if v.size is None}
    found = []
    for task, sharp, shots in scores.combinations():
        if metric_named(sharp).smooth or (task, sharp, shots) not in by_key:
            continue
        rows = scores.of((task, sharp, shots))
        for other in scores.combinations():
            if other[0] == task and other[2] == shots and metric_named(other[1]).smooth and other in by_key:
                smooth = paired(rows, scores.of(other))
                if smooth is not None:
                    found.append(_compared(rows, smooth, by_key[task, sharp, shots], by_key[other], against))
    return tuple(found)


def _compared(
    rows: ScoreTable, smooth: ScoreTable, sharp: Verdict, other: Verdict, against: str
) -> SharpAndSmooth:
    lengths = rows.answer_tokens
    length = float(np.nanmean(lengths)) if np.isfinite(lengths).any() else None
    by_tokens = sharp.metric == "exact_match" and other.metric == "token_accuracy"
    predicted = exact_match_from_tokens(smooth.score, length) if by_tokens and length else None
    conclusion = _conclusion(sharp, other)
    return SharpAndSmooth(
        task=sharp.task,
        shots=sharp.shots,
        sharp=sharp.metric,
        smooth=other.metric,
        answer_tokens=length,
        effective_length=effective_length(smooth.score, rows.score) if by_tokens else None,
        scale=tuple(rows.scale(against).tolist()),
        measured=tuple(rows.score.tolist()),
        predicted=None if predicted is None else tuple(predicted.tolist()),
        mean_abs_error=None if predicted is None else float(np.abs(predicted - rows.score).mean()),
        sharp_word=sharp.word,
        smooth_word=other.word,
        conclusion=conclusion,
        why=explain.metric_or_model(conclusion, sharp.metric, other.metric, sharp.word, other.word),
    )


def _conclusion(sharp: Verdict, smooth: Verdict) -> Conclusion:
    """metric if the smooth metric of the same answers was foreseen; model if it jumps too."""
    if smooth.word == "broken" or (smooth.word == "unforeseen" and sharp.word in SUDDEN):
        return "model"
    if smooth.word in ("smooth", "inverse") and smooth.form == "smooth":
        return "metric" if sharp.word in (*SUDDEN, "smooth", "flat") else "undecided"
    return "undecided"
