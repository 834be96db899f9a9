"""The verdict: does the score need a break, or is it a smooth curve that looks like one?

Two criteria have to agree. AICc weighs the fit against the number of parameters; the cross-validated
likelihood leaves out one size at a time and evaluates how probable its score was. A break needs both, and its
p-value has to survive the number of tasks that were examined (`break_test`). A smooth curve, the simpler one,
needs AICc, no contradiction, and scores that exclude a material break (`break_bound`): with few sizes the
penalties of AICc alone prefer the simpler curve. Otherwise the verdict is `undecided`, with the numbers, the
breaks that these sizes could show (`power`) and those that they exclude.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence import explain
from scaling.laws.emergence.break_bound import break_bounds
from scaling.laws.emergence.break_size import MATERIAL as MATERIAL_BREAK
from scaling.laws.emergence.break_test import RATE, UNBROKEN, best_of, break_p_values, q_values
from scaling.laws.emergence.breakthrough import breakthrough
from scaling.laws.emergence.curve_shapes import BEND, HALF, JUMP, SLOPE, TURN, Family, rise_width
from scaling.laws.emergence.document import (
    Breakthrough,
    Course,
    Direction,
    FittedShape,
    Foresight,
    Form,
    Threshold,
    Verdict,
    Word,
)
from scaling.laws.emergence.fits import CandidateFits, fit_masks
from scaling.laws.emergence.foresight import below_threshold, enough, forecast, forecast_mask, foresight
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.power import power
from scaling.laws.emergence.series import Series
from scaling.laws.emergence.threshold import averaged_half_rises, changepoint

Floats = NDArray[np.float64]

DECISIVE = 2.0  # of AICc: less is no evidence (Burnham and Anderson 2002, section 2.6)
TIE = 1.0  # nats of cross-validated likelihood in total: less is a tie, as is less than its standard error
MATERIAL = 3.0  # standard deviations of one score by which a curve must turn
TOP = 0.95  # of the way to a full score: a flat score from here on is saturated
LEAST_LEVELS = 5  # sizes
UNBOUNDED = 10.0  # of the rise: a larger bound of a break is none


@dataclass(frozen=True)
class Judged:
    """A verdict with the fits behind it, for figures and forecasts."""

    series: Series
    verdict: Verdict
    fit: CandidateFits
    smooth: int | None
    broken: int | None
    chosen: int | None  # the shape behind the verdict
    small: CandidateFits | None  # without the largest scale


@dataclass(frozen=True)
class Evidence:
    """What decides whether a break is needed; see `Verdict` for the numbers.

    `bound` is None for a score that does not change with scale, of which no break is to be excluded.
    """

    delta_aicc: float | None
    delta_cv: float | None
    delta_cv_error: float | None
    p_value: float | None
    q_value: float | None
    bound: float | None

    @property
    def form(self) -> Form:
        """Whether a break is needed."""
        if self._for_break and not self.unless_many:
            return "broken"
        return "smooth" if self._for_smooth and not self.unless_bound else "undecided"

    @property
    def unless_many(self) -> bool:
        """Whether only the number of tests speaks against a break."""
        return self._for_break and (self.q_value is None or self.q_value > RATE)

    @property
    def unless_bound(self) -> bool:
        """Whether a material break is neither found nor excluded."""
        return not self._for_break and self.bound is not None and self.bound >= MATERIAL_BREAK

    @property
    def _predicts(self) -> bool:
        cv, error = self.delta_cv, self.delta_cv_error
        return cv is not None and error is not None and cv >= max(TIE, error)

    @property
    def _for_break(self) -> bool:
        return self.delta_aicc is not None and self.delta_aicc >= DECISIVE and self._predicts

    @property
    def _for_smooth(self) -> bool:
        if self.delta_aicc is None or self.delta_cv is None:
            return False
        # Where the bound excludes a break, AICc has only to prefer the curve without one.
        preferred = self.delta_aicc < 0 if self.bound is not None else self.delta_aicc <= -DECISIVE
        return preferred and not self._predicts


def judge(every: Sequence[Series], above: float | None = None) -> tuple[Judged, ...]:
    """A verdict for each series, all fitted together; `above` is that of `breakthrough`."""
    wanted: list[tuple[Series, NDArray[np.bool_]]] = []
    for series in every:
        wanted.append((series, np.ones(len(series), bool)))
        wanted += [(series, ~left_out) for left_out in _folds(series)]
        wanted.append((series, ~forecast_mask(series)))
        below = below_threshold(series)
        if enough(series, below):
            wanted.append((series, below))
    fits = iter(fit_masks(wanted))
    grouped = []
    for series in every:
        full = next(fits)
        folds = [next(fits) for _ in _folds(series)]
        small, below = next(fits), below_threshold(series)
        seen = foresight(series, below, next(fits) if enough(series, below) else None)
        grouped.append((full, folds, small, seen))
    complete = [full for full, *_ in grouped]
    halves = averaged_half_rises(complete)
    evidence = _evidence(complete, [folds for _, folds, *_ in grouped])
    return tuple(
        _judged(*parts, *half, found, _seeds(parts[0].series, above))
        for parts, half, found in zip(grouped, halves, evidence, strict=True)
    )


def _seeds(series: Series, above: float | None) -> Breakthrough | None:
    """The distribution over seeds of a sharp metric; checkpoints of one run are not seeds."""
    if series.against == "step" or metric_named(series.key[1]).smooth:
        return None
    return breakthrough(series, above)


def _folds(series: Series) -> list[NDArray[np.bool_]]:
    return [np.abs(series.x - level) < 1e-6 for level in series.levels]


def _turns(fit: CandidateFits, index: int) -> str:
    """u-shaped or hump if a shape's best curve rises and falls within the data, otherwise empty.

    The turning point has at least two sizes on either side, and the curve moves by more than the noise of one
    score on both: a curve that has reached its ceiling is not a hump.
    """
    shape, theta = fit.shapes[index], fit.theta[fit.best(index)]
    if shape.family == "bent":
        at, bend = -theta[SLOPE] / (2 * theta[BEND] if theta[BEND] else 1e-12), theta[BEND]
    elif SLOPE in shape.free and TURN in shape.free:
        before, after = theta[SLOPE], theta[SLOPE] + theta[TURN]
        at, bend = fit.place[fit.best(index)], after - before
        if before * after >= 0:
            return ""
    else:
        return ""
    levels = fit.series.levels
    if len(levels) < 5 or not levels[1] <= at <= levels[-2]:
        return ""
    ends = fit.curve(fit.best(index), np.array([-1.0, at, 1.0]))
    if np.abs(ends[[0, 2]] - ends[1]).min() < MATERIAL * fit.noise(index, float(ends[1])):
        return ""
    return "u-shaped" if bend > 0 else "hump"


def _cross_validate(
    folds: Sequence[CandidateFits], first: Sequence[Family], second: Sequence[Family]
) -> tuple[float | None, float | None]:
    """Log predictive density of left-out sizes, second families minus first, and its standard error."""
    gains = []
    for fit in folds:
        left = np.flatnonzero(~fit.mask)
        a, b = fit.log_predictive(first, left), fit.log_predictive(second, left)
        if a is None or b is None:
            return None, None
        gains.append(b - a)
    return float(np.sum(gains)), float(np.sqrt(len(gains)) * np.std(gains, ddof=1))


def _judged(
    full: CandidateFits,
    folds: list[CandidateFits],
    small: CandidateFits,
    seen: Foresight,
    half: Threshold | None,
    weights: dict[str, float],
    evidence: Evidence,
    seeds: Breakthrough | None,
) -> Judged:
    series = full.series
    smooth, flat, broken = (best_of(full, family) for family in ("smooth", "flat", "broken"))
    turning = [i for i in range(len(full.shapes)) if full.eligible(i) and _turns(full, i)]
    two_way = min(turning, key=full.aicc) if turning else None
    one_way = [i for i in range(len(full.shapes)) if full.eligible(i) and i not in turning]
    one_way = [i for i in one_way if full.shapes[i].family != "bent"]
    best_one_way = min(one_way, key=full.aicc) if one_way else None

    form, bound = evidence.form, evidence.bound
    delta, cv, error = evidence.delta_aicc, evidence.delta_cv, evidence.delta_cv_error
    open_bound = bound if evidence.unless_bound else None
    open_q = evidence.q_value if evidence.unless_many else None
    why = explain.form(full.n, len(series.levels), delta, cv, open_bound, open_q)
    course, chosen = _course(full, folds, flat, best_one_way, two_way, form, smooth, broken)
    word = _word(course, form)
    if smooth is None:
        word = "undecided"
    elif course in ("flat", "saturated"):
        why = _why_flat(full, flat, best_one_way)
    elif course in ("u-shaped", "hump") and two_way is not None and best_one_way is not None:
        better = full.aicc(best_one_way) - full.aicc(two_way)
        why = explain.turning(full.shapes[two_way].name, better)
    elif flat is not None and best_one_way is not None and word != "undecided":
        gain = full.aicc(flat) - full.aicc(best_one_way)
        if gain < DECISIVE:
            word, why = "undecided", explain.flat_or(course, gain)
    if not_foreseen := _not_foreseen(word, course, seen):
        word, why = not_foreseen, explain.not_foreseen(seen, word, why)
    if seeds is not None and seeds.bimodal:
        word, why = "bimodal", explain.bimodal(why)
    place = None if broken is None else changepoint(full, broken)
    verdict = Verdict(
        task=series.key[0],
        metric=series.key[1],
        shots=series.key[2],
        size=series.size,
        n_points=len(series),
        n_levels=len(series.levels),
        mean_score=float(series.score.mean()),
        noise="binomial" if full.binomial else "gaussian",
        word=word,
        form=form,
        course=course,
        direction=None if broken is None or form != "broken" else _direction(full, broken, course),
        why=why,
        delta_aicc=delta,
        delta_aicc_binomial=_binomial_delta(full) if full.binomial else None,
        delta_cv=cv,
        delta_cv_error=error,
        p_value=evidence.p_value,
        q_value=evidence.q_value,
        break_bound=None if bound is None or bound > UNBOUNDED else bound,
        material=MATERIAL_BREAK,
        power=power(full, smooth) if smooth is not None and course in ("rising", "falling") else None,
        scatter=None if chosen is None else full.scatter(chosen),
        best_smooth=None if smooth is None else full.shapes[smooth].name,
        best_broken=None if broken is None else full.shapes[broken].name,
        half_rise=None if course in ("flat", "saturated") else half,
        half_rise_weights={} if course in ("flat", "saturated") else weights,
        changepoint=None if course in ("flat", "saturated") else place,
        rise_decades=None if course in ("flat", "saturated") else _rise(full, smooth),
        foresight=seen,
        breakthrough=seeds,
        forecasts=forecast(small),
        candidates=tuple(
            FittedShape(
                name=shape.name,
                family=shape.family,
                n_parameters=shape.n_parameters,
                deviance=float(full.deviance[full.best(i)]),
                scatter=full.scatter(i),
                aicc=full.aicc(i) if full.eligible(i) else None,
            )
            for i, shape in enumerate(full.shapes)
        ),
    )
    return Judged(series, verdict, full, smooth, broken, chosen, small)


def _evidence(complete: Sequence[CandidateFits], folds: Sequence[list[CandidateFits]]) -> list[Evidence]:
    """Delta AICc, delta CV and the bound of a break for each series, and q-values over all of them."""
    smooth = [best_of(full, "smooth") for full in complete]
    rising = [
        index if index is not None and best_of(full, *UNBROKEN) == index else None
        for full, index in zip(complete, smooth, strict=True)
    ]
    compared = [_compared(*parts) for parts in zip(complete, folds, smooth, strict=True)]
    tested = [full for full, (delta, *_) in zip(complete, compared, strict=True) if delta is not None]
    values = iter(break_p_values(tested))
    p = [None if delta is None else next(values) for delta, *_ in compared]
    return [
        Evidence(*numbers, *values)
        for numbers, *values in zip(compared, p, q_values(p), break_bounds(complete, rising), strict=True)
    ]


def _compared(
    full: CandidateFits, folds: list[CandidateFits], smooth: int | None
) -> tuple[float | None, float | None, float | None]:
    """Delta AICc, delta CV and its error of a break, against the best unbroken shape."""
    unbroken, broken = best_of(full, *UNBROKEN), best_of(full, "broken")
    if smooth is None or unbroken is None or broken is None or len(full.series.levels) < LEAST_LEVELS:
        return None, None, None
    return full.aicc(unbroken) - full.aicc(broken), *_cross_validate(folds, UNBROKEN, ("broken",))


def _course(
    full: CandidateFits,
    folds: list[CandidateFits],
    flat: int | None,
    one_way: int | None,
    two_way: int | None,
    form: Form,
    smooth: int | None,
    broken: int | None,
) -> tuple[Course, int | None]:
    """The direction of the score, and the shape that shows it."""
    if one_way is None or flat is None:
        return "flat", flat
    if two_way is not None and full.aicc(one_way) - full.aicc(two_way) >= DECISIVE:
        gain, error = _cross_validate(folds, UNBROKEN, ("bent", "broken"))
        if gain is not None and error is not None and gain >= max(TIE, error):
            return ("u-shaped" if _turns(full, two_way) == "u-shaped" else "hump"), two_way
    if full.aicc(flat) <= full.aicc(one_way):
        level = full.curve(full.best(flat), np.zeros(1))[0]
        return ("saturated" if full.series.bounded and level >= TOP else "flat"), flat
    shape = broken if form == "broken" and broken is not None else smooth
    shape = one_way if shape is None else shape
    ends = full.curve(full.best(shape), np.array([-1.0, 1.0]))
    return ("rising" if ends[1] >= ends[0] else "falling"), shape


def _not_foreseen(word: Word, course: Course, seen: Foresight) -> Word | None:
    """The word for a rise that is smooth in form but was not foreseen, or may not have been; else None."""
    if course != "rising" or word not in ("smooth", "undecided"):
        return None
    if seen.foreseen is False:
        return "unforeseen"
    if seen.foreseen is None and word == "smooth" and seen.threshold is not None:
        return "undecided"
    return None


def _direction(fit: CandidateFits, broken: int, course: Course) -> Direction:
    """Whether the score changes faster or slower past the break."""
    theta, shape = fit.theta[fit.best(broken)], fit.shapes[broken]
    if JUMP in shape.free or SLOPE not in shape.free:
        return "faster"  # flat up to the break
    before, after = abs(theta[SLOPE]), abs(theta[SLOPE] + theta[TURN])
    return "faster" if after > before else "slower"


def _word(course: Course, form: Form) -> Word:
    if course == "rising":
        return form
    return "inverse" if course == "falling" else course


def _why_flat(fit: CandidateFits, flat: int | None, one_way: int | None) -> str:
    series = fit.series
    level = float(np.average(series.score, weights=np.where(series.trials > 0, series.trials, 1.0)))
    gain = 0.0 if flat is None or one_way is None else fit.aicc(flat) - fit.aicc(one_way)
    return explain.flat(level, series.chance if series.bounded else None, None if one_way == flat else -gain)


def _binomial_delta(fit: CandidateFits) -> float | None:
    """AICc of unbroken minus broken shapes, with noise from the test items alone."""
    best = {}
    for broken in (False, True):
        values = [
            float(fit.deviance[fit.shape == i].min()) + 2 * k + 2 * k * (k + 1) / (fit.n - k - 1)
            for i, shape in enumerate(fit.shapes)
            for k in [shape.n_parameters]
            if shape.family in (("broken",) if broken else UNBROKEN) and fit.n - k - 1 > 0
        ]
        if not values:
            return None
        best[broken] = min(values)
    return best[False] - best[True]


def _rise(fit: CandidateFits, smooth: int | None) -> float | None:
    if smooth is None or fit.shapes[smooth].link not in HALF:
        return None
    slope = float(fit.theta[fit.best(smooth), SLOPE])
    if abs(slope) < 1e-3:
        return None
    return fit.series.decades(rise_width(fit.shapes[smooth].link, slope))
