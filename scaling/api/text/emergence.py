"""Emergence as text: a line per task, and on request the table behind the verdicts."""

import textwrap
from collections.abc import Sequence

from scaling.api.text.blocks import Block, Text, table
from scaling.laws.emergence.document import (
    Breakthrough,
    Emergence,
    HeldOutForecast,
    IntervalEstimate,
    Threshold,
    Verdict,
)
from scaling.laws.emergence.explain import power
from scaling.laws.emergence.metric_names import metric_named

WIDTH = 80
UNIT = {"flops": "FLOPs", "params": "parameters", "loss": "nats per token", "step": "steps"}
_NAME = 12  # characters of a task's name at most


def summary(document: Emergence) -> list[str]:
    """A line of at most 80 columns for each task, of its main metric with the most examples."""
    lines = [_fit(f"{document.source}: scores over {UNIT[document.against]}")]
    lines += [f"note: {note}" for note in document.notes]
    chosen = _main(document.verdicts)
    names = [_name(v) for v in chosen]
    width = max(map(len, names))
    for name, verdict in zip(names, chosen, strict=True):
        lines.append(_fit(f"{name.ljust(width)}  {verdict.word:<10}  {sentence(verdict)}"))
        lines += _power(verdict)
        lines += _claims(document, verdict)
    rest = len(document.verdicts) - len(chosen)
    if rest:
        lines.append(f"--full prints these and {rest} further verdicts (metrics, numbers of examples).")
    return lines


def _claims(document: Emergence, v: Verdict) -> list[str]:
    """Yes, no or open for each claim about the seeds of a verdict, in one line of its own."""
    words = {True: "yes", False: "no", None: "open"}
    own = [c for c in document.claims if (c.task, c.metric, c.shots) == (v.task, v.metric, v.shots)]
    said = ", ".join(f"{c.claim.replace('_', ' ')}: {words[c.holds]}" for c in own)
    return textwrap.wrap(said, WIDTH, initial_indent="    ", subsequent_indent="    ") if own else []


def _power(v: Verdict) -> list[str]:
    """What breaks the sizes can show where the form is undecided, in a line of its own."""
    if v.form != "undecided" or v.power is None:
        return []
    return textwrap.wrap(
        power(v.power, v.break_bound), WIDTH, initial_indent="    ", subsequent_indent="    "
    )


def _main(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Of each task (and size, over steps) the first sharp metric, else the first, with the most examples."""
    by_task: dict[tuple[str, float | None], list[Verdict]] = {}
    for verdict in verdicts:
        by_task.setdefault((verdict.task, verdict.size), []).append(verdict)
    chosen = []
    for own in by_task.values():
        sharp = [v for v in own if not metric_named(v.metric).smooth]
        metric = (sharp or own)[0].metric
        chosen.append(max((v for v in own if v.metric == metric), key=lambda v: v.shots))
    return chosen


def _name(v: Verdict) -> str:
    task = v.task if len(v.task) <= _NAME else f"{v.task[: _NAME - 2]}.."
    if v.size is not None:
        task = f"{task}, N={v.size:.3g}"
    return f"{task}, {v.shots}-shot"


def sentence(v: Verdict) -> str:
    """The verdict in words, most important first: what does not fit the line is in the table."""
    b = v.breakthrough
    if v.word in ("flat", "saturated"):
        return f"about {_percent(v.metric, v.mean_score)} at every size"
    if v.word == "bimodal" and b is not None:
        return _chance_sentence(b)
    if v.word == "unforeseen":
        return _missed(v)
    if v.word == "broken":
        return f"{v.direction} from {shown(v.changepoint)} on"
    if v.course in ("falling", "u-shaped", "hump"):
        return {"falling": "falls with scale", "u-shaped": "falls, then rises", "hump": "rises, then falls"}[
            v.course
        ]
    half = f"half way up at {shown(v.half_rise)}" if v.half_rise is not None else "rises"
    return f"foreseen; {half}" if v.foresight.foreseen else half


def _chance_sentence(b: Breakthrough) -> str:
    low, high = b.shares[0], b.shares[-1]
    text = f"{low.above}/{low.seeds} to {high.above}/{high.seeds} seeds"
    return f"{text}; half at {shown(b.even_odds)}" if b.even_odds is not None else text


def _missed(v: Verdict) -> str:
    worst = max(v.foresight.forecasts, key=lambda f: abs(f.error))
    return (
        f"{_percent(v.metric, worst.measured)} at {number(worst.scale)}, "
        f"{_percent(v.metric, worst.predicted)} {_range(v.metric, worst)} predicted"
    )


def _range(metric: str, f: HeldOutForecast) -> str:
    low, high = f.interval
    if metric_named(metric).fraction:
        return f"[{100 * low:.0f}, {100 * high:.0f}]"
    return f"[{low:.3g}, {high:.3g}]"


def _percent(metric: str, value: float) -> str:
    if not metric_named(metric).fraction:
        return f"{value:.3g}"
    percent = 100 * value
    return f"{percent:.0f}%" if percent >= 10 or percent == 0 else f"{percent:.1f}%"


def _fit(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 2].rstrip()}.."


def number(value: float) -> str:
    """`12k`, `1.3M`, `9.2e22`: two digits."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if unit * 0.995 <= value < unit * 999.5:
            return f"{value / unit:.0f}{letter}" if value >= 9.95 * unit else f"{value / unit:.1f}{letter}"
    return f"{value:.2g}".replace("e+", "e")


def shown(place: Threshold | None) -> str:
    """`92k [69k, 130k]`; `~` where the value itself is beyond the data; an open end is empty."""
    if place is None or place.value is None:
        return "-"
    low, high = ("" if end is None else number(end) for end in place.interval)
    return f"{'~' if place.beyond else ''}{number(place.value)} [{low}, {high}]"


def full_table(document: Emergence) -> list[Block]:
    """A row per verdict with its evidence, the shares of seeds, then a line per pair of metrics."""
    header = (
        "task", "metric", "shots", "verdict", "form", "half rise [95%]", "break [95%]", "dAICc", "dCV",
        "q", "largest break", "foreseen", "largest",
    )  # fmt: skip
    legend = (
        "dAICc and dCV (nats) are positive where a break explains more; q: false discovery rate of a break; "
        "largest break: 95% bound, of the rise; largest: predicted less measured"
    )
    rows = [_row(v) for v in document.verdicts]
    lines = _seed_lines(document.verdicts)
    for pair in document.metric_or_model:
        numbers = ""
        if pair.mean_abs_error is not None:
            numbers = (
                f"; token accuracy to the power {pair.answer_tokens:.3g} misses exact match by "
                f"{pair.mean_abs_error:.3f} on average"
            )
            if pair.effective_length is not None:
                numbers += f" (the power {pair.effective_length:.2g} fits best)"
        lines.append(
            f"{pair.task}, {pair.shots} shots: {pair.sharp} {pair.sharp_word}, {pair.smooth} "
            f"{pair.smooth_word}: {pair.conclusion} ({pair.why}){numbers}"
        )
    for v in document.verdicts:
        if len(v.forecasts) > 1:
            ways = ", ".join(f"{f.error:+.3g} by way of {f.via}" for f in v.forecasts)
            lines.append(f"{v.task}, {v.shots} shots: forecast of the largest scale: {ways}")
    grid = table("", header, rows, left=len(header), keys=3)
    return [Text(""), Text(legend), grid, *map(Text, lines)]


def _seed_lines(verdicts: Sequence[Verdict]) -> list[str]:
    lines = []
    for v in verdicts:
        b = v.breakthrough
        if b is None or all(share.seeds == 1 for share in b.shares):
            continue
        lines += ["", f"{v.task}, {v.metric}, {v.shots} shots: seeds above {100 * b.level:.3g}%"]
        lines += [
            f"  {number(s.scale):>6}  {s.above} of {s.seeds}  {100 * s.share:.0f}% "
            f"[{100 * s.interval[0]:.0f}, {100 * s.interval[1]:.0f}]"
            for s in b.shares
        ]
        modes = {True: "two modes", False: "one mode", None: "one mode or two"}[b.bimodal]
        lines.append(
            f"  {modes}; half of the seeds at {shown(b.even_odds)}; more with scale: {100 * b.grows:.1f}%"
        )
        for name, level in (("those above", b.level_after), ("the others", b.level_before)):
            if level is not None:
                lines.append(f"  {name} score {_level(level)} on average")
    return [*lines, ""] if lines else []


def _level(level: IntervalEstimate) -> str:
    low, high = level.interval
    return f"{100 * level.value:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


def _row(v: Verdict) -> tuple[str, ...]:
    name = v.task if v.size is None else f"{v.task}, N={v.size:.3g}"
    ahead = f"{v.forecasts[0].error:+.3f}" if v.forecasts else "-"
    if v.forecasts and not v.forecasts[0].inside:
        ahead += " (outside)"
    cv = "-" if v.delta_cv is None else f"{v.delta_cv:+.1f} \N{PLUS-MINUS SIGN} {v.delta_cv_error:.1f}"
    delta = "-" if v.delta_aicc is None else f"{v.delta_aicc:+.1f}"
    form = v.form if v.direction is None else f"{v.form} ({v.direction})"
    foreseen = {True: "yes", False: "no", None: "-"}[v.foresight.foreseen]
    places = (shown(v.half_rise), shown(v.changepoint))
    q = "-" if v.q_value is None else f"{v.q_value:.2g}"
    bound = "-" if v.break_bound is None else f"{100 * v.break_bound:.0f}%"
    return name, v.metric, str(v.shots), v.word, form, *places, delta, cv, q, bound, foreseen, ahead
