"""In-context learning: scores against the number of examples in the prompt, a line per model size."""

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from scaling.laws.emergence.metric_names import metric_named
from scaling.laws.emergence.score_table import ScoreTable
from scaling.laws.emergence.spread import spreads
from scaling.laws.read.inputs import Sources
from scaling.plots.emergence import panel_grid, scores_of
from scaling.plots.kinds import Options
from scaling.plots.labels import short
from scaling.plots.style import GRID, INK, MUTED, STYLE, size_colours
from scaling.runtime.errors import BadInputError


def in_context_of(sources: Sources, options: Options) -> Figure:
    """Scores against the number of examples in the prompt."""
    return in_context_figure(scores_of(sources, options))


def in_context_figure(scores: ScoreTable) -> Figure:
    """A panel per task and metric, sizes from dark to light, means over seeds with intervals.

    Only the last checkpoint of each run is shown.

    Raises:
        BadInputError: no task has scores with several numbers of examples, rows have no parameters, or there
            are too many panels.
    """
    scores = scores.last_steps()
    sizes = scores.scale("params")
    pairs = list(dict.fromkeys(zip(scores.task, scores.metric, strict=True)))
    panels = [p for p in pairs if len(np.unique(scores.shots[_of(scores, p)])) > 1]
    if not panels:
        raise BadInputError(
            f"{scores.source} has no task with several numbers of examples; evaluate with --shots 0,1,8"
        )
    columns = min(4, int(np.ceil(np.sqrt(len(panels)))))
    lines = -(-len(panels) // columns)
    colours = size_colours([float(s) for s in np.unique(sizes)])
    chance_lines: list[Line2D] = []
    with rc_context(STYLE):
        figure, every = panel_grid(len(panels), lines, columns, margin=(1.3, 0.5))
        for i, axes in enumerate(every.flat):
            if i >= len(panels):
                axes.set_visible(False)
                continue
            task, metric = panels[i]
            rows = scores.subset(_of(scores, panels[i]))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color=GRID, lw=0.6)
            axes.tick_params(labelsize=7.5)
            axes.set_title(task, fontsize=10)
            axes.set_ylabel(metric.replace("_", " "), fontsize=8, color=MUTED)
            axes.set_xscale(
                "symlog", linthresh=1.0, linscale=0.6
            )  # before the data, because limits depend on the scale
            for size, colour in colours.items():
                _line(axes, rows.subset(rows.params == size), colour)
            chance = float(np.fmax.reduce(rows.chance, initial=0.0))  # NaN where the task has none
            if chance > 0:
                dots = {"color": INK, "lw": 0.9, "ls": (0, (1, 1.5)), "zorder": 1}
                chance_lines.append(axes.axhline(chance, label="chance", **dots))
            shots = [int(s) for s in np.unique(rows.shots)]
            axes.xaxis.set_major_locator(FixedLocator(shots))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            if metric_named(metric).fraction:
                axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
        figure.supxlabel("Examples in the prompt", fontsize=10.5, color=INK)
        handles = [
            Line2D([], [], color=c, marker="o", ms=5, mec="white", lw=1.6, label=f"N = {short(s)}")
            for s, c in reversed(colours.items())
        ]
        handles += chance_lines[:1]
        figure.legend(handles=handles, loc="outside right upper")
    return figure


def _of(scores: ScoreTable, panel: tuple[str, str]) -> np.ndarray:
    pairs = zip(scores.task, scores.metric, strict=True)
    return np.array([pair == panel for pair in pairs], bool)


def _line(axes: Axes, rows: ScoreTable, colour: str) -> None:
    shots = np.unique(rows.shots)
    means = []
    for shot in shots:
        here = rows.subset(rows.shots == shot)
        (spread,) = spreads(here, "params")
        means.append(spread.mean)
        if len(spread.seeds) > 1:
            axes.plot([shot] * len(spread.seeds), spread.seeds, ls="", marker="o", ms=2.6, color=colour,
                      alpha=0.35, mec="none")  # fmt: skip
        if np.isfinite(spread.low):
            axes.plot([shot] * 2, [spread.low, spread.high], color=colour, lw=1)
    axes.plot(shots, means, color=colour, marker="o", ms=5, mec="white", mew=0.8, lw=1.5)
