"""Where the time of a compiled step goes: a bar per kind, and the source lines that take most."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.config.record import Profile
from scaling.plots.style import GRID, INK, MUTED, STYLE, footnote

# Colours of Okabe and Ito (2008).
COLOURS = {
    "matmul": "#0072b2",
    "attention": "#009e73",
    "elementwise": "#e69f00",
    "copy": "#d55e00",
    "collective": "#cc79a7",
    "other": "#6b7280",
}
_LINES = 14


def profile_figure(profile: Profile, title: str, labels: Sequence[str]) -> Figure:
    """Kinds on the left, source lines on the right, both in milliseconds.

    `labels` name the lines of `profile.top`.
    """
    ordered = sorted(profile.by_kind.items(), key=lambda item: -item[1])
    hidden = max(0.0, profile.collective_seconds - profile.by_kind["collective"])
    shown = list(zip(profile.top, labels, strict=True))[:_LINES]
    with rc_context(STYLE):
        figure = Figure(figsize=(11.5, 4.9), layout="constrained")
        kinds, lines = figure.subplots(1, 2, width_ratios=(1, 1.7))
        figure.suptitle(f"{title}: {1000 * profile.step_seconds:.4g} ms per step", x=0.015, ha="left")
        kinds.set_title("By kind", fontsize=11)
        names = [name for name, _ in ordered]
        beyond = [hidden if name == "collective" else 0.0 for name in names]
        _bars(kinds, names, [seconds for _, seconds in ordered], names, beyond, profile.step_seconds)
        if hidden > 0.001 * profile.step_seconds:
            kinds.legend(loc="lower right", labelcolor=MUTED)
        lines.set_title("Source lines that take most, and their callers", fontsize=11)
        seconds = [line.seconds for line, _ in shown]
        which = [line.kind for line, _ in shown]
        _bars(lines, [label for _, label in shown], seconds, which, [0.0] * len(shown), profile.step_seconds)
        roofline = 1000 * profile.roofline.step_seconds
        notes = "; ".join(profile.notes)
        footnote(
            figure, f"At the data sheet's rates these operations take {roofline:.4g} ms. Rests on: {notes}."
        )
    return figure


def _bars(
    axes: Axes,
    names: Sequence[str],
    seconds: Sequence[float],
    kinds: Sequence[str],
    beyond: Sequence[float],
    step: float,
) -> None:
    """Bars of seconds with their shares of the step; `beyond` is what runs at the same time as others."""
    places = range(len(names))
    axes.barh(places, [1000 * s for s in seconds], color=[COLOURS[kind] for kind in kinds], height=0.68)
    hatched = [place for place in places if beyond[place] > 0.001 * step]
    if hatched:
        axes.barh(
            hatched,
            [1000 * beyond[place] for place in hatched],
            left=[1000 * seconds[place] for place in hatched],
            color="none",
            edgecolor=[COLOURS[kinds[place]] for place in hatched],
            hatch="////",
            height=0.68,
            lw=0.8,
            label="hidden behind computation",
        )
    ends = [1000 * (s + (beyond[place] if place in hatched else 0.0)) for place, s in enumerate(seconds)]
    axes.set_yticks(places, names, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("Milliseconds")
    axes.grid(axis="x", color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, 1.17 * max(ends, default=0.0) or 1.0)
    where: Any = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8.5}
    for place, s in enumerate(seconds):
        axes.annotate(f"{s / step if step else 0:.1%}", (ends[place], place), color=INK, **where)
