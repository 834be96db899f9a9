"""Scaling with width, the standard parametrisation next to muP: learning rates and the coordinate check."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from scaling.config.model import Parametrization
from scaling.laws.learning_rates import Bowl, bowls_as_dict, read_bowls, shift
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import Options
from scaling.plots.style import GRID, INK, LAW, MUTED, STYLE, size_colours

if TYPE_CHECKING:
    from scaling.train.coordinate_check import CoordinateCheck


def lr_bowls_figure(sources: Sources, options: Options) -> tuple[Figure, dict[str, Any]]:
    """Final loss against learning rate by width, and the same bowls as numbers."""
    bowls = read_bowls(*sources.paths)
    return bowls_figure(bowls), bowls_as_dict(bowls)


def bowls_figure(bowls: Sequence[Bowl]) -> Figure:
    """A panel per parametrisation with the minimum of each parabola and the rates that bracket it."""
    kinds = [kind for kind in get_args(Parametrization) if any(b.parametrization == kind for b in bowls)]
    colours = size_colours([bowl.width for bowl in bowls])
    low, high = min(min(b.losses) for b in bowls), max(max(b.losses) for b in bowls)
    high = min(high, low + 1.6 * (max(b.losses[b.best] for b in bowls) - low) + 1.0)  # cut diverged runs off
    figure = Figure(figsize=(5.2 * len(kinds), 4.8), layout="constrained")
    every = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for axes, kind in zip(every, kinds, strict=True):
        for bowl in (b for b in bowls if b.parametrization == kind):
            colour, at = colours[bowl.width], bowl.optimum()
            axes.plot(bowl.rates, bowl.losses, color=colour, lw=1.4, marker="o", ms=4.5, mec="white")
            least = bowl.losses[bowl.best]
            if bowl.bracketed:
                least = bowl.vertex.loss
                ends = [2.0**end for end in bowl.interval() if end is not None]
                axes.plot(ends, [least - 0.012 * (high - low)] * 2, color=colour, lw=1.2, alpha=0.6)
            axes.axvline(2.0**at, color=colour, lw=0.9, ls=(0, (2, 2)), alpha=0.7, zorder=1)
            face = colour if bowl.bracketed else "white"
            axes.plot([2.0**at], [least], marker="v", ms=9, mfc=face, mec=colour, ls="", zorder=6)
        moved = shift(bowls, kind)
        power = f"{moved or 0:+.2f}".replace("-", "\N{MINUS SIGN}")
        note = "" if moved is None else f": optimum shifts by a factor of $2^{{{power}}}$"
        axes.set_title({"standard": "Standard", "mup": "muP"}[kind] + note)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Learning rate at the base width" if kind == "mup" else "Learning rate")
        axes.set_ylim(low - 0.06 * (high - low), high)
        axes.grid(color=GRID, lw=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("Validation loss (nats per token)")
    handles = [Line2D([], [], color=c, marker="o", ms=4.5, label=f"width {w}") for w, c in colours.items()]
    handles.append(Line2D([], [], color=MUTED, marker="v", ms=8, ls="", label="minimum of the parabola"))
    handles.append(Line2D([], [], color=MUTED, lw=1.2, alpha=0.6, label="bracket of the minimum"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), labelcolor=INK)
    return figure


def coordinates_figure(check: "CoordinateCheck") -> Figure:
    """The change of activations against width, a line per step.

    A column per kind of activation; the standard parametrisation above muP on the same scale.
    """
    layers = check.layers()
    last = max(m.step for m in check.measured)
    colours = [colormaps["viridis"](place) for place in np.linspace(0.0, 0.86, max(1, last))]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.15 * len(layers) + 0.6, 5.0), layout="constrained")
        every = figure.subplots(2, len(layers), squeeze=False, sharex=True, sharey="col")
        for row, kind in zip(every, get_args(Parametrization), strict=True):
            for axes, layer in zip(row, layers, strict=True):
                verdict, slope = check.verdict(kind, layer), check.slope(kind, layer)
                for m in check.of(kind, layer)[1:]:
                    axes.plot(m.widths, m.change, color=colours[m.step - 1], lw=1.5, marker="o", ms=3.5)
                axes.set_xscale("log", base=2)
                axes.set_yscale("log", base=2)
                axes.xaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_minor_formatter(NullFormatter())
                axes.set_xticks(check.measured[0].widths, map(str, check.measured[0].widths))
                axes.tick_params(labelsize=8.5)
                axes.grid(color=GRID, lw=0.7)
                axes.spines[["top", "right"]].set_visible(False)
                colour = INK if verdict == "flat" else LAW
                title = f"{verdict}, slope {slope:+.2f}"
                axes.set_title(title, fontsize=9, fontweight="normal", color=colour, pad=4)
            row[0].set_ylabel({"standard": "standard", "mup": "muP"}[kind] + "\nRMS of the change")
        for axes, layer in zip(every[0], layers, strict=True):
            above = {"xycoords": "axes fraction", "ha": "center", "fontsize": 10.5, "fontweight": "bold"}
            axes.annotate(layer, (0.5, 1.16), **above)
        handles = [Line2D([], [], color=colours[i], lw=1.5, label=f"step {i + 1}") for i in range(last)]
        figure.supxlabel("Width (d_model)", fontsize=10.5, color=INK)
        figure.legend(handles=handles, loc="outside right center", labelcolor=MUTED)
    return figure
