"""From a table of scores to the whole answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from scaling.laws.emergence.claims import claims_of
from scaling.laws.emergence.document import Emergence
from scaling.laws.emergence.forecast import smooth_ways
from scaling.laws.emergence.metric import sharp_and_smooth
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.scores import Scores
from scaling.laws.emergence.series import series_of
from scaling.laws.emergence.verdict import Judged, judge


@dataclass(frozen=True)
class Answer:
    """The document, and the fits behind it, one for each verdict."""

    document: Emergence
    judged: tuple[Judged, ...]
    scores: Scores  # the rows that were used


def emergence(
    scores: Scores,
    against: str | None = None,
    tasks: Sequence[str] | None = None,
    shots: Sequence[int] | None = None,
    metrics: Sequence[str] | None = None,
    above: float | None = None,
) -> Answer:
    """Verdict, thresholds and forecast for each task, metric and shots; and metric or model for each pair.

    `above` is the score that counts as a breakthrough, half way from chance to 1 where it is not given.

    Over params, flops or loss only the last checkpoint of each run counts; over step, all of them, a curve a
    size. `against` is the first of flops, params, loss, step that every row has, where it is not given.

    Raises:
        BadInputError: rows lack the scale, or nothing is left to judge.
    """
    scores = scores.choose(tasks, shots, metrics).in_order()
    against = against or scores.best_scale()
    scores.scale(against)
    if against != "step":
        scores = scores.last_steps()
    series = series_of(scores, against)
    judged = judge(series, above)
    judged = tuple(_with_ways(j, scores) for j in judged)
    verdicts = tuple(j.verdict for j in judged)
    document = Emergence(
        source=scores.source,
        against=against,
        notes=scores.notes,
        claims=tuple(claim for verdict in verdicts for claim in claims_of(verdict)),
        verdicts=verdicts,
        metric_or_model=sharp_and_smooth(scores, verdicts, against),
        versions={name: version(name) for name in ("jax", "numpy")},
    )
    return Answer(document, judged, scores)


def _with_ways(judged: Judged, scores: Scores) -> Judged:
    """The forecasts through smooth metrics beside the direct one."""
    smooth = metric_named(judged.series.key[1]).smooth
    if smooth or judged.series.size is not None or not judged.verdict.forecasts:
        return judged
    rows = scores.of(judged.series.key)
    ways = smooth_ways(rows, judged.series, scores)
    verdict = judged.verdict.model_copy(update={"forecasts": (*judged.verdict.forecasts, *ways)})
    return replace(judged, verdict=verdict)
