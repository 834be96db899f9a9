"""The English of `why` and `text` in the document, made from typed values. Nothing reads it back."""

from scaling.laws.emergence.document import Conclusion, Course, Foresight, HeldOutForecast, Power, Word
from scaling.runtime.suggest import plural

CLAIMS = {
    "rare_at_smallest": "fewer than half of the seeds of the smallest size have it",
    "common_at_largest": "more than half of the seeds of the largest size have it",
    "grows_with_scale": "larger models have it more often",
    "bimodal": "seeds have it or lack it: few score in between",
    "foreseen": "the sizes below the threshold predicted those above it",
}


def form(
    points: int,
    sizes: int,
    delta_aicc: float | None,
    delta_cv: float | None,
    bound: float | None = None,
    q_value: float | None = None,
) -> str:
    """Whether a break is needed. `bound` and `q_value` are given if they matter to the answer."""
    if delta_aicc is None:
        found = f"{plural(points, 'point')} at {plural(sizes, 'size')}"
        return f"{found}; a break takes six points at five sizes or more"
    if delta_cv is None:
        return f"AICc says {delta_aicc:+.1f}; without one size there are too few points to cross-validate"
    text = f"AICc {delta_aicc:+.1f}, cross-validation {delta_cv:+.1f} nats for a break"
    if q_value is not None:
        text += f", q = {q_value:.2g}"
    if bound is not None:
        text += f"; a break of {_up_to(bound)} is not excluded"
    return text


def power(found: Power, bound: float | None) -> str:
    """What a number of sizes can show, and what they exclude; a `bound` of None excludes nothing."""
    sizes = f"{found.sizes} size{'' if found.sizes == 1 else 's'}"
    if found.smallest is None:
        text = f"{sizes} cannot tell a break of any size"
    else:
        text = f"{sizes} cannot tell a break of less than {100 * found.smallest:.0f}% of the rise"
        if found.anywhere is None:
            text += " (at some places, of any size)"
    if bound is None or bound >= 1:
        return f"{text} and exclude none"
    return f"{text}; they exclude one of more than {100 * bound:.0f}%"


def _up_to(share: float) -> str:
    return "all of the rise" if share >= 1 else f"up to {100 * share:.0f}% of the rise"


def flat(level: float, chance: float | None, delta_aicc: float | None) -> str:
    """A score that does not change with scale; `chance` is None for an unbounded one."""
    where = f"{level:.3g}" if chance is None else f"{level:.3g} at every size, where chance is {chance:.3g}"
    return where if delta_aicc is None else f"{where}; no other shape is better (AICc {delta_aicc:+.1f})"


def turning(shape: str, delta_aicc: float) -> str:
    """A score that rises and falls."""
    return f"{shape} beats every shape of one direction by {delta_aicc:.1f} AICc"


def flat_or(course: Course, delta_aicc: float) -> str:
    """A score that may be flat."""
    return f"flat or {course}: {delta_aicc:.1f} AICc between them"


def not_foreseen(seen: Foresight, word: Word, why: str) -> str:
    """A rise that the models below its threshold did not predict, or may not have."""
    if seen.foreseen is None:
        return f"smooth in form, but whether it was foreseen is open: {seen.why}"
    return f"{seen.why} ({'smooth in form' if word == 'smooth' else 'form undecided'}: {why})"


def bimodal(why: str) -> str:
    """A score that is high or low, depending on the seed."""
    return f"seeds of one size score high or low, not between ({why})"


def foresight(below: int, threshold: float | None, shown: HeldOutForecast | None) -> str:
    """What the `below` sizes under a threshold predicted."""
    sizes = f"{below} size{'' if below == 1 else 's'}"
    if threshold is None:
        return "the score does not rise"
    if shown is None:
        return f"only {sizes} below the threshold"
    low, high = shown.interval
    return (
        f"from the {sizes} below it, {shown.predicted:.3g} [{low:.3g}, {high:.3g}] was predicted at "
        f"{shown.scale:.3g}; measured {shown.measured:.3g}"
    )


def metric_or_model(
    conclusion: Conclusion, sharp: str, smooth: str, sharp_word: Word, smooth_word: Word
) -> str:
    """Whether a jump is the metric's or the model's, from the verdicts on a sharp and a smooth metric."""
    match conclusion, smooth_word, sharp_word:
        case "model", "broken", _:
            return f"{smooth} breaks too"
        case "model", _, _:
            return f"{smooth} of the same answers was not foreseen either"
        case "metric", _, "smooth":
            return f"{sharp} and {smooth} are both smooth and were foreseen"
        case "metric", _, "flat":
            return f"{smooth} rises smoothly while {sharp} cannot show it yet"
        case "metric", _, _:
            return f"{smooth} of the same answers rises smoothly"
    return f"{sharp} is {sharp_word}, {smooth} is {smooth_word}"
