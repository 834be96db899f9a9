"""The coordinate check drawn: the change of activations against the width, a line a step."""

from typing import get_args

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from scaling.config.model import Parametrization
from scaling.plots.figures import STYLE
from scaling.plots.style import GRID, INK, LAW, MUTED
from scaling.train.coordinate_check import CoordinateCheck


def coordinates_figure(check: CoordinateCheck) -> Figure:
    """A column a kind of activation, the standard parametrisation above muP, both on the same scale."""
    layers = check.layers()
    last = max(m.step for m in check.measured)
    colours = [colormaps["viridis"](place) for place in np.linspace(0.0, 0.86, max(1, last))]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.15 * len(layers) + 0.6, 5.0), layout="constrained")
        panels = figure.subplots(2, len(layers), squeeze=False, sharex=True, sharey="col")
        for row, kind in zip(panels, get_args(Parametrization), strict=True):
            for axes, layer in zip(row, layers, strict=True):
                verdict, found = check.verdict(kind, layer), check.slope(kind, layer)
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
                axes.set_title(
                    f"{verdict}, slope {found:+.2f}",
                    fontsize=9,
                    fontweight="normal",
                    color=INK if verdict == "flat" else LAW,
                    pad=4,
                )
            row[0].set_ylabel({"standard": "standard", "mup": "muP"}[kind] + "\nRMS of the change")
        for axes, layer in zip(panels[0], layers, strict=True):
            axes.annotate(
                layer, (0.5, 1.16), xycoords="axes fraction", ha="center", fontsize=10.5, fontweight="bold"
            )
        handles = [Line2D([], [], color=colours[i], lw=1.5, label=f"step {i + 1}") for i in range(last)]
        figure.supxlabel("Width (d_model)", fontsize=10.5, color=INK)
        figure.legend(handles=handles, loc="outside right center", labelcolor=MUTED)
    return figure
