"""Scaling with width, the standard parametrisation next to muP: learning rates and the coordinate check."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

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
    """Slopes of log size against log width by step: of the activation at the start, then of its change.

    A column per kind of activation, a row per parametrisation, a line per layer and way to grow; bars are
    standard errors over seeds, and the band is what counts as flat.
    """
    kinds, layers = check.parametrizations(), check.layers()
    depths = sorted({(row.place.stack, row.place.depth) for row in check.rows if row.place.depth})
    spread = np.linspace(0.0, 0.86, max(1, len(depths)))
    colours = {place: colormaps["viridis"](at) for place, at in zip(depths, spread, strict=True)}
    growths = list(dict.fromkeys(row.growth for row in check.rows))
    lines = dict(zip(growths, ("-", (0, (3, 2))), strict=False))
    with rc_context(STYLE):
        figure = Figure(figsize=(1.95 * len(layers) + 1.6, 2.3 * len(kinds) + 1.0), layout="constrained")
        every = figure.subplots(len(kinds), len(layers), squeeze=False, sharex=True, sharey=True)
        for panels, kind in zip(every, kinds, strict=True):
            for axes, layer in zip(panels, layers, strict=True):
                axes.axhspan(-check.tolerance, check.tolerance, color=GRID, alpha=0.6, lw=0, zorder=0)
                axes.axhline(0.0, color=MUTED, lw=0.7, zorder=1)
                for row in check.of(kind, layer):
                    found = [(m.step, *m.judged) for m in row.steps if m.judged]
                    steps, slopes, errors = zip(*found, strict=True) if found else ((), (), ())
                    shade = colours.get((row.place.stack, row.place.depth), INK)
                    style = {"color": shade, "ls": lines[row.growth], "lw": 1.4, "marker": "o", "ms": 3}
                    axes.errorbar(steps, slopes, errors, elinewidth=0.8, **style)
                axes.set_xticks(range(len(check.rows[0].steps)))
                axes.tick_params(labelsize=8.5)
                axes.spines[["top", "right"]].set_visible(False)
                verdict = check.verdict(kind, layer)
                title = f"{verdict}: {check.largest(kind, layer).slope:+.2f}".replace("-", "\N{MINUS SIGN}")
                colour = INK if verdict == "flat" else LAW
                axes.set_title(title, fontsize=9, fontweight="normal", color=colour, pad=4)
            panels[0].set_ylabel({"standard": "standard", "mup": "muP"}[kind] + "\nslope")
        for axes, layer in zip(every[0], layers, strict=True):
            above = {"xycoords": "axes fraction", "ha": "center", "fontsize": 10, "fontweight": "bold"}
            axes.annotate(layer, (0.5, 1.17), **above)
        handles = [
            Line2D([], [], color=colour, lw=1.4, label=f"{stack} layer {depth}".strip())
            for (stack, depth), colour in colours.items()
        ]
        names = {"heads": "more heads", "d_head": "wider heads"}
        handles += [Line2D([], [], color=INK, lw=1.4, ls=lines[g], label=names[g]) for g in growths]
        figure.supxlabel("Optimizer step (0: the activation at the start)", fontsize=10, color=INK)
        figure.legend(handles=handles, loc="outside right center", labelcolor=MUTED)
    return figure
