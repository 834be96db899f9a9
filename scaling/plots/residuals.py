"""What a law leaves over: log residuals against size, tokens and compute, and their quantiles."""

from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.plots.figures import (
    counting_note,
    footnote,
    legend_beside,
    log_axis,
    panels,
    size_handles,
)
from scaling.plots.sources import Options, Sources
from scaling.plots.style import INK, MUTED, size_colours

Floats = NDArray[np.float64]


def log_residuals(law: LawFit, points: Points) -> tuple[Floats, NDArray[np.bool_]]:
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
    figure, axes = panels(f"Residuals of the law {law.law}", 2, 2, (9.2, 6.6))
    columns = (
        (points.params, "Model size N (parameters)", "count"),
        (points.tokens, "Training tokens D (tokens)", "count"),
        (points.flops, "Training compute C (FLOPs)", "flops"),
    )
    for one, (x, label, unit) in zip(axes[:3], columns, strict=True):
        one.axhline(0, color=INK, lw=0.8, zorder=2)
        for size, colour in colours.items():
            mask = chosen & (points.params == size)
            one.scatter(
                x[mask], 100 * residual[mask], s=26, color=colour, edgecolor="white", lw=0.5, zorder=4
            )
        log_axis(one.xaxis, label, unit, ticks=6)  # type: ignore[arg-type]
        _percent(one)
    _quantiles(axes[3], residual[chosen], points.params[chosen], colours)
    for one in axes[::2]:
        target = "loss" if law.form.target == "loss" else law.form.target.replace("_", " ")
        one.set_ylabel(f"Log of measured over predicted {target}")
    legend_beside(figure, size_handles(colours))
    spread = float(np.sqrt(np.mean(residual[chosen] ** 2)))
    left = "" if chosen.all() else f" The law speaks about {int(chosen.sum())} of {len(points)} points."
    footnote(figure, counting_note(points), f"Root mean square {spread:.2%}; a percent is 0.01 of log.{left}")
    return figure


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g}%" if v else "0"))


def _quantiles(axes: Axes, residual: Floats, params: Floats, colours: dict[float, str]) -> None:
    """Ordered residuals over normal quantiles; the line is a normal of their mean and deviation."""
    order = np.argsort(residual)
    x, y = normal_quantiles(len(order)), 100 * residual[order]
    axes.scatter(x, y, s=26, c=[colours[params[i]] for i in order], edgecolor="white", lw=0.5, zorder=4)
    ends = np.array([x[0], x[-1]])
    axes.plot(ends, y.mean() + y.std() * ends, color=MUTED, lw=1, ls=(0, (4, 2)), zorder=2)
    axes.set_xlabel("Quantile of the standard normal")
    _percent(axes)
