"""What a law leaves over: log residuals against size, tokens and compute, and their quantiles."""

from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.read.inputs import Sources
from scaling.plots.figures import (
    counting_note,
    footnote,
    legend_beside,
    panels,
    size_handles,
)
from scaling.plots.kinds import Options
from scaling.plots.scales import log_axis, percent_axis
from scaling.plots.style import INK, MUTED, size_colours, spots
from scaling.plots.words import WORDS

Floats = NDArray[np.float64]


def log_residuals(law: Law, points: Points) -> tuple[Floats, NDArray[np.bool_]]:
    """(n,) log of measured over predicted, and which points the law speaks about.

    Raises:
        BadInputError: the points lack what the law reads.
    """
    columns = {name: points.column(name) for name in law.form.variables}
    logs = np.stack([np.log(values) for values in columns.values()], axis=1)
    chosen = law.form.select(logs, np.log(points.loss))
    return np.log(points.column(law.form.target) / law.predict(**columns)), chosen


def normal_quantiles(n: int) -> Floats:
    """(n,) quantiles of the standard normal at (i + 1/2) / n."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)])


def residuals_figure(sources: Sources, options: Options) -> Figure:
    """Four panels: against N, D and C, coloured by size, and ordered against the normal's quantiles."""
    points, law = sources.points, sources.need_law("residuals")
    residual, chosen = log_residuals(law, points)
    colours = size_colours(points.params.tolist())
    figure, axes = panels(f"Residuals of the {law.law} law", 2, 2, (9.6, 6.6))
    columns = ("params", "tokens", "flops")
    look = spots(int(chosen.sum()), 26)
    for one, name in zip(axes[:3], columns, strict=True):
        one.axhline(0, color=INK, lw=0.8, zorder=2)
        for size, colour in colours.items():
            mask = chosen & (points.params == size)
            one.scatter(points.column(name)[mask], 100 * residual[mask], color=colour, zorder=4, **look)
        label, unit = WORDS[name]
        log_axis(one.xaxis, label, unit, ticks=6)
        percent_axis(one.yaxis)
    _quantiles(axes[3], residual[chosen], points.params[chosen], colours)
    target = WORDS[law.form.target][0].split(" (")[0].lower()
    figure.supylabel(f"Log of measured over predicted {target} (%)", fontsize=10.5, color=INK)
    legend_beside(figure, size_handles(colours))
    spread = float(np.sqrt(np.mean(residual[chosen] ** 2)))
    left = "" if chosen.all() else f" The law is fitted to {int(chosen.sum())} of {len(points)} points."
    note = f"Root mean square: {100 * spread:.2g}%. 1% is 0.01 in the natural logarithm.{left}"
    footnote(figure, counting_note(points), note)
    return figure


def _quantiles(axes: Axes, residual: Floats, params: Floats, colours: dict[float, str]) -> None:
    """Ordered residuals over normal quantiles; the line is a normal of their mean and deviation."""
    order = np.argsort(residual)
    x, y = normal_quantiles(len(order)), 100 * residual[order]
    axes.scatter(x, y, c=[colours[params[i]] for i in order], zorder=4, **spots(len(x), 26))
    ends = np.array([x[0], x[-1]])
    axes.plot(ends, y.mean() + y.std() * ends, color=MUTED, lw=1, ls=(0, (4, 2)), zorder=2)
    axes.set_xlabel("Quantile of the standard normal")
    percent_axis(axes.yaxis)
