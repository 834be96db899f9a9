"""Is it the model or the metric? The sharp metric of a task beside the smooth one of the same answers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.document import Conclusion, SharpAndSmooth, Verdict
from scaling.laws.emergence.forecast import paired
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.scores import Scores

Floats = NDArray[np.float64]

SUDDEN = ("broken", "unforeseen", "bimodal", "undecided")  # words that leave the question open


def exact_match_from_tokens(token_accuracy: Floats, answer_tokens: float) -> Floats:
    """p^L: all L tokens right, were they right independently and equally often.

    Schaeffer et al. 2023 (arXiv:2304.15004), section 2. Tokens of an answer are easy or hard together, so
    that what is measured mostly lies above.
    """
    power: Floats = np.clip(token_accuracy, 0.0, 1.0) ** answer_tokens
    return power


def effective_length(token_accuracy: Floats, exact_match: Floats) -> float | None:
    """The power that takes token accuracy to exact match: the median of log ratios, where both are inside."""
    inside = (token_accuracy > 0) & (token_accuracy < 1) & (exact_match > 0) & (exact_match < 1)
    if not inside.any():
        return None
    return float(np.median(np.log(exact_match[inside]) / np.log(token_accuracy[inside])))


def sharp_and_smooth(scores: Scores, verdicts: Sequence[Verdict], against: str) -> tuple[SharpAndSmooth, ...]:
    """Each sharp metric beside each smooth one of its task and shots, by the verdicts of both."""
    by_key = {(v.task, v.metric, v.shots): v for v in verdicts if v.size is None}
    found = []
    for task, sharp, shots in scores.combinations():
        if metric_named(sharp).smooth or (task, sharp, shots) not in by_key:
            continue
        rows = scores.of((task, sharp, shots))
        for other in scores.combinations():
            if other[0] == task and other[2] == shots and metric_named(other[1]).smooth and other in by_key:
                smooth_rows = paired(rows, scores.of(other))
                if smooth_rows is not None:
                    found.append(
                        _beside(rows, smooth_rows, by_key[(task, sharp, shots)], by_key[other], against)
                    )
    return tuple(found)


def _beside(rows: Scores, smooth: Scores, sharp: Verdict, other: Verdict, against: str) -> SharpAndSmooth:
    lengths = rows.answer_tokens
    length = float(np.nanmean(lengths)) if np.isfinite(lengths).any() else None
    by_tokens = sharp.metric == "exact_match" and other.metric == "token_accuracy"
    predicted = exact_match_from_tokens(smooth.score, length) if by_tokens and length else None
    conclusion, why = _conclusion(sharp, other)
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
        why=why,
    )


def _conclusion(sharp: Verdict, smooth: Verdict) -> tuple[Conclusion, str]:
    """metric: the smooth metric of the same answers was foreseen. model: that one jumps too."""
    if smooth.word == "broken":
        return "model", f"{smooth.metric} breaks too"
    if smooth.word == "unforeseen" and sharp.word in SUDDEN:
        return "model", f"{smooth.metric} of the same answers was not foreseen either"
    if smooth.word in ("smooth", "inverse") and smooth.form == "smooth":
        if sharp.word in SUDDEN:
            return "metric", f"{smooth.metric} of the same answers rises smoothly"
        if sharp.word == "smooth":
            return "metric", f"{sharp.metric} and {smooth.metric} are both smooth and were foreseen"
        if sharp.word == "flat":
            return "metric", f"{smooth.metric} rises smoothly while {sharp.metric} cannot show it yet"
    return "undecided", f"{sharp.metric} is {sharp.word}, {smooth.metric} is {smooth.word}"
