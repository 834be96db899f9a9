"""Scores over scale, a panel per task and metric: measurements, the curve of the verdict, the threshold."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from scaling.laws.emergence import emergence as answer_of
from scaling.laws.emergence import read_scores
from scaling.laws.emergence.analysis import Analysis
from scaling.laws.emergence.document import SharpAndSmooth
from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.score_table import ScoreTable
from scaling.laws.emergence.spread import Spread, spreads
from scaling.laws.emergence.verdict import Judged
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import Options
from scaling.plots.labels import scientific, short
from scaling.plots.style import (
    GRID,
    INK,
    MUTED,
    STYLE,
    size_colours,
)
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]

# Okabe and Ito (2008), distinct under every colour blindness; markers distinguish them in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"
PANEL = (3.1, 2.55)  # inches
MAX_PANELS = 48
# Points above a panel: strips with thresholds, above the name of the metric and below the title.
STRIPS_FROM, STRIP = 14.0, 6.0
AXIS = {
    "flops": ("Training compute C (FLOPs)", scientific),
    "params": ("Parameters N", short),
    "loss": ("Pre-training loss (nats per token)", lambda v: f"{v:.3g}"),
    "step": ("Training step", short),
}
PROBABILITY: Any = (0, (5, 1.5, 1, 1.5))  # line style


def _smooth(name: str) -> bool:
    return metric_named(name).smooth


def emergence_figure(answer: Analysis, log_score: bool = False) -> Figure:
    """A panel per task and metric, a colour per number of examples (per size over steps).

    Raises:
        BadInputError: too many panels.
    """
    panels = list(dict.fromkeys((j.series.key[0], j.series.key[1]) for j in answer.judged))
    columns = min(4, max(1, int(np.ceil(np.sqrt(len(panels))))))
    return _grid(
        answer, [panels[i : i + columns] for i in range(0, len(panels), columns)], columns, log_score, {}
    )


def sharp_and_smooth_figure(answer: Analysis, log_score: bool = False) -> Figure:
    """A row per task: its sharp metrics, then the smooth metrics of the same answers.

    Panels of exact match also show token accuracy to the power of the answer length (Schaeffer et al. 2023).

    Raises:
        BadInputError: no task has both kinds of metrics.
    """
    metrics: dict[str, list[str]] = {}
    for judged in answer.judged:
        task, metric, _ = judged.series.key
        if metric not in metrics.setdefault(task, []):
            metrics[task].append(metric)
    both = {t: m for t, m in metrics.items() if len({_smooth(one) for one in m}) == 2}
    if not both:
        raise BadInputError(
            f"{answer.scores.source} has no task with a sharp and a smooth metric; they are, for example, "
            "exact_match and token_accuracy or answer_log_prob"
        )
    rows = [[(task, m) for m in sorted(both[task], key=_smooth)] for task in both]
    predicted = {(p.task, p.shots): p for p in answer.document.metric_or_model if p.predicted is not None}
    return _grid(answer, rows, max(map(len, rows)), log_score, predicted)


def panel_grid(
    count: int, rows: int, columns: int, margin: tuple[float, float]
) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes (rows, columns) for `count` panels; few panels are larger. `margin` in inches.

    Raises:
        BadInputError: too many panels.
    """
    if count > MAX_PANELS:
        raise BadInputError(f"{count} panels do not fit one figure; choose at most {MAX_PANELS} with --tasks")
    grow = 1.9 if count == 1 else 1.25 if columns < 3 else 1.0
    size = grow * PANEL[0] * columns + margin[0], grow * PANEL[1] * rows + margin[1]
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _grid(
    answer: Analysis,
    rows: Sequence[Sequence[tuple[str, str]]],
    columns: int,
    log_score: bool,
    predicted: dict[tuple[str, int], SharpAndSmooth],
) -> Figure:
    with rc_context(STYLE):
        figure, every = panel_grid(sum(map(len, rows)), len(rows), columns, margin=(0.5, 0.9))
        for r, row in enumerate(rows):
            for c in range(columns):
                if c < len(row):
                    below = r + 1 < len(rows) and c < len(rows[r + 1])
                    _panel(every[r, c], answer, row[c], log_score, predicted, label=not below)
                else:
                    every[r, c].set_visible(False)
        against = answer.document.against
        figure.supxlabel(AXIS[against][0], fontsize=10.5, color=INK)
        handles = _legend(answer.judged, log_score, bool(predicted))
        lines = -(-len(handles) // max(2, int(figure.get_figwidth() / 1.9)))
        figure.legend(handles=handles, loc="outside upper center", ncols=-(-len(handles) // lines))
    return figure


def _legend(judged: Sequence[Judged], log_score: bool, predicted: bool) -> list[Line2D]:
    """Legend entries for the marks that are drawn."""
    words = {one.verdict.word for one in judged}
    bimodal = "bimodal" in words
    families = {
        one.fit.shapes[one.chosen].family
        for one in judged
        if one.chosen is not None and not (one.verdict.breakthrough and one.verdict.breakthrough.bimodal)
    }
    lines = []
    if families - {"broken"}:
        lines.append(Line2D([], [], color=MUTED, lw=1.6, label="smooth fit"))
    if "broken" in families:
        lines.append(Line2D([], [], color=MUTED, lw=1.6, ls=(0, (4, 1.5)), label="fit with a break"))
    if words - {"broken"}:
        text = "half rise, or half of the seeds, 95%" if bimodal else "half rise, 95%"
        lines.append(Line2D([], [], color=MUTED, marker="|", ms=8, lw=2.4, label=text))
    if "broken" in words:
        lines.append(Line2D([], [], color=MUTED, marker="X", mec="white", ms=7, lw=2.4, label="break, 95%"))
    if any(one.series.bounded and one.series.chance > 0 for one in judged):
        lines.append(Line2D([], [], color=INK, lw=0.9, ls=(0, (1, 1.5)), label="chance"))
    if bimodal:
        lines.append(
            Line2D(
                [],
                [],
                color=MUTED,
                lw=1.6,
                ls=PROBABILITY,
                label="probability that a run has it, 95%",
            )
        )
    if log_score:
        lines.append(
            Line2D([], [], color=MUTED, ls="", marker=r"$\downarrow$", ms=9, label="none right: upper bound")
        )
    if predicted:
        style: Any = {"color": INK, "lw": 1, "ls": "--", "marker": "D", "mfc": "white", "ms": 4}
        lines.append(Line2D([], [], label="token accuracy ^ length", **style))
    return lines


def _panel(
    axes: Axes,
    answer: Analysis,
    what: tuple[str, str],
    log_score: bool,
    predicted: dict[tuple[str, int], SharpAndSmooth],
    label: bool,
) -> None:
    task, metric = what
    own = [j for j in answer.judged if j.series.key[:2] == what]
    logged = log_score and own[0].series.bounded
    dress_panel(axes, answer.document.against, label)
    handles, strips = [], 0
    for i, judged in enumerate(own):
        colour, marker = _look(i, own)
        rows = _rows(answer.scores, judged)
        _points(axes, spreads(rows, answer.document.against), colour, marker, logged)
        _curve(axes, judged, colour)
        strips += _threshold(axes, judged, colour, strips)
        handles.append(
            Line2D(
                [], [], color=colour, marker=marker, ms=5, mec="white", lw=1.6, label=_verdict_text(judged)
            )
        )
        pair = predicted.get((task, judged.series.key[2]))
        if pair is not None and metric == "exact_match" and pair.predicted is not None:
            scale, guess = np.array(pair.scale), np.array(pair.predicted)
            at = np.unique(scale)
            mean = [guess[scale == one].mean() for one in at]
            axes.plot(at, mean, color=colour, ls="--", lw=1, marker="D", ms=3.5, mfc="white", zorder=4)
    chance = max(j.series.chance for j in own)
    if own[0].series.bounded and chance > 0:
        axes.axhline(chance, color=INK, lw=0.9, ls=(0, (1, 1.5)), zorder=1)
    items = [j.series.items for j in own if np.isfinite(j.series.items).all()]
    if logged and items:
        floor = 1 / max(float(v.max()) for v in items)
        axes.axhline(floor, color=MUTED, lw=0.7, zorder=1)
        axes.annotate("1/n", (1, floor), xycoords=("axes fraction", "data"), fontsize=7, color=MUTED,
                      xytext=(2, 0), textcoords="offset points", va="center")  # fmt: skip
    _score_axis(axes, own, logged)
    axes.set_title(task, fontsize=10, pad=STRIPS_FROM + STRIP * strips)
    axes.text(0, 1.0, metric.replace("_", " "), transform=axes.transAxes, fontsize=8, color=MUTED,
              va="bottom", ha="left")  # fmt: skip
    axes.legend(handles=handles, fontsize=7, loc="best", handlelength=1.4, labelspacing=0.3, borderpad=0.2)


def _look(i: int, own: Sequence[Judged]) -> tuple[str, str]:
    if own[0].series.size is not None:
        colours = size_colours([j.series.size for j in own if j.series.size is not None])
        return colours[own[i].series.size or 0.0], MARKERS[i % len(MARKERS)]
    return COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]


def _verdict_text(judged: Judged) -> str:
    shots, size = judged.series.key[2], judged.series.size
    name = f"{shots} shot{'' if shots == 1 else 's'}" if size is None else f"N = {short(size)}, {shots} shots"
    bound = judged.verdict.break_bound
    excluded = (
        "" if judged.verdict.form == "broken" or bound is None or bound >= 1 else f", break < {bound:.0%}"
    )
    return f"{name}: {judged.verdict.word}{excluded}"


def _rows(scores: ScoreTable, judged: Judged) -> ScoreTable:
    rows = scores.of(judged.series.key)
    return rows if judged.series.size is None else rows.subset(rows.params == judged.series.size)


def dress_panel(axes: Axes, against: str, label: bool) -> None:
    """The style and the scale axis of a small panel."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7.5, labelbottom=label)
    text: Callable[[float], str] = AXIS[against][1]
    if against == "step":
        axes.set_xscale("symlog", linthresh=1.0)
    else:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
    if against == "loss":
        axes.invert_xaxis()
        axes.xaxis.set_minor_locator(MaxNLocator(nbins=4))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: text(v)))
        axes.tick_params(axis="x", which="minor", labelsize=7.5, labelbottom=label)
    else:
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: text(v) if _between(axes, v) else ""))
        axes.tick_params(axis="x", which="minor", labelsize=7.5, labelbottom=label, pad=5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: text(v)))


def _between(axes: Axes, value: float) -> bool:
    """Whether 2 or 5 times a power of ten is labelled: on an axis with few powers of ten."""
    low, high = sorted(axes.get_xlim())
    return high / low < 100 and f"{value:.0e}"[0] in "25"


def _points(axes: Axes, all_spreads: Sequence[Spread], colour: str, marker: str, logged: bool) -> None:
    for spread in all_spreads:
        if len(spread.seeds) > 1:
            seeds = spread.seeds[spread.seeds > 0] if logged else spread.seeds
            at = [spread.scale] * len(seeds)
            axes.plot(at, seeds, ls="", marker=marker, ms=2.6, color=colour, alpha=0.35, mec="none", zorder=3)
        if spread.zero and logged:
            arrow = {"arrowstyle": "-|>", "color": colour, "lw": 1, "shrinkA": 0, "shrinkB": 0}
            ends = (spread.scale, spread.high / 3), (spread.scale, spread.high)
            axes.annotate("", *ends, zorder=4, arrowprops=arrow)
            axes.plot(spread.scale, spread.high, marker="_", ms=6, color=colour, mew=1.2, zorder=4)
            continue
        if np.isfinite(spread.low):
            low = max(spread.low, spread.mean / 20) if logged else spread.low
            axes.plot([spread.scale] * 2, [low, spread.high], color=colour, lw=1, zorder=4)
        face = "white" if spread.zero else colour
        edge = colour if spread.zero else "white"
        axes.plot(spread.scale, spread.mean, marker=marker, ms=5.2, mfc=face, mec=edge, mew=0.8, zorder=5)


def _curve(axes: Axes, judged: Judged, colour: str) -> None:
    if judged.chosen is None:
        return
    seeds = judged.verdict.breakthrough
    if seeds is not None and seeds.bimodal:  # a curve through the mean would miss both modes
        at = [point.scale for point in seeds.curve]
        axes.plot(at, [point.value for point in seeds.curve], color=colour, lw=1.5, ls=PROBABILITY, zorder=2)
        low, high = zip(*(point.interval for point in seeds.curve), strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.12, lw=0, zorder=1)
        return
    x = np.linspace(-1.03, 1.03, 240)
    y = judged.series.score_of(judged.fit.curve(judged.fit.best(judged.chosen), x))
    broken = judged.fit.shapes[judged.chosen].family == "broken"
    axes.plot(judged.series.scale_of(x), y, color=colour, lw=1.5, alpha=0.85, zorder=2,
              ls=(0, (4, 1.5)) if broken else "-")  # fmt: skip


def _threshold(axes: Axes, judged: Judged, colour: str, strip: int) -> bool:
    """Draw the threshold and its interval in a strip above the panel; returns whether the verdict has one.

    An open end extends to the edge of the panel.
    """
    v = judged.verdict
    place = v.changepoint if v.word == "broken" else v.half_rise
    if v.word == "bimodal" and v.breakthrough is not None:
        place = v.breakthrough.even_odds
    if (
        place is None
        or place.value is None
        or v.word not in ("smooth", "unforeseen", "broken", "bimodal", "undecided", "inverse")
    ):
        return False
    ends = judged.series.scale_of(np.array([-1.12, 1.12]))
    left, right = float(ends.min()), float(ends.max())
    low, high = (left if place.interval[0] is None else place.interval[0],
                 right if place.interval[1] is None else place.interval[1])  # fmt: skip
    if not left <= place.value <= right:
        return False
    at = 1.0
    figure = axes.get_figure(root=True)
    assert figure is not None
    above = ScaledTranslation(0, (STRIPS_FROM + STRIP * strip) / 72, figure.dpi_scale_trans)
    style: Any = {"color": colour, "transform": axes.get_xaxis_transform() + above, "clip_on": False}
    axes.plot([max(low, left), min(high, right)], [at, at], lw=2.4, alpha=0.7, solid_capstyle="butt", **style)
    if v.word == "broken":
        axes.plot(place.value, at, marker="X", mec="white", ms=6, **style)
    else:
        axes.plot(place.value, at, marker="|", ms=7, mew=1.6, **style)
    return True


def _score_axis(axes: Axes, own: Sequence[Judged], logged: bool) -> None:
    series = own[0].series
    scores = np.concatenate([j.series.score for j in own])
    if logged:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        positive = scores[scores > 0]
        items = [j.series.items.max() for j in own if np.isfinite(j.series.items).all()]
        bottom = min([positive.min()] if len(positive) else [1e-3], default=1e-3)
        axes.set_ylim(min([bottom, *(1 / n for n in items)]) / 2, min(1.3, 3 * scores.max() + 1e-3))
        return
    if series.bounded:
        top = 1.04 if scores.max() > 0.5 else float(scores.max()) * 1.15 + 1e-4
        axes.set_ylim(-0.03 * top, top)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))


def emergence_of(sources: Sources, options: Options) -> Figure:
    """Scores over scale with verdicts and thresholds."""
    return emergence_figure(answer_of(scores_of(sources, options), options.against), options.log_score)


def sharp_and_smooth_of(sources: Sources, options: Options) -> Figure:
    """Sharp next to smooth metrics of the same answers."""
    return sharp_and_smooth_figure(answer_of(scores_of(sources, options), options.against), options.log_score)


def scores_of(sources: Sources, options: Options) -> ScoreTable:
    """The chosen scores of the single source."""
    if len(sources.paths) != 1:
        raise BadInputError(f"{len(sources.paths)} sources of scores: give one sweep directory or one CSV")
    scores = read_scores(sources.paths[0], sources.params, where=sources.where, force=sources.force)
    return scores.choose(options.tasks, options.shots, options.metrics)
