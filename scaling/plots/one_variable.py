"""A law as a curve: its target against one variable, with the runs it was fitted to and its band."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from scaling.laws.law import Law
from scaling.laws.read.inputs import Sources
from scaling.plots.figures import (
    canvas,
    counting_note,
    footnote,
    legend_beside,
    line_handle,
    marker_handle,
    size_handles,
)
from scaling.plots.kinds import Options
from scaling.plots.losses import sizes_in_tokens
from scaling.plots.scales import log_axis
from scaling.plots.style import ENVELOPE, LAW, MUTED, size_colours, spots
from scaling.plots.words import greek, label_of
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]

ROOM = 1.6  # the curve goes so many times beyond the runs of a count


def law_figure(sources: Sources, options: Options) -> Figure:
    """The law's target against its variable; of a law of N and another variable, a curve a size.

    Raises:
        BadInputError: no law, the points lack a column of it, or it reads three variables.
    """
    points, law = sources.points, sources.need_law("law")
    names = law.form.variables
    if len(names) > 2 or (len(names) == 2 and names[0] != "params"):
        raise BadInputError(
            f"law: {law.law} reads {', '.join(names)}, which a single curve cannot show; "
            "use predicted-vs-measured or residuals"
        )
    figure, axes = canvas(f"The {law.law} law")
    columns = {name: points.column(name) for name in names}
    y = points.column(law.form.target)
    chosen = law.form.select(np.stack([np.log(v) for v in columns.values()], axis=1), np.log(points.loss))
    if len(names) == 1:
        handles = _one(axes, law, columns[names[0]], y, chosen)
    else:
        handles = _by_size(axes, law, points.params, columns[names[1]], y, chosen)
    if not chosen.all():
        handles.append(marker_handle(MUTED, "not fitted: not on the envelope", hollow=True))
    words, unit = label_of(names[-1], points)
    linear = names == ("loss",)
    if linear:  # a loss spans less than a decade, and errors fall exponentially in it
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
        axes.set_xlabel(words)
    else:
        axes.set_xscale("log")
        log_axis(axes.xaxis, words, unit)
    words, unit = label_of(law.form.target, points)
    if law.form.target == "error":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        axes.set_ylabel(words)
    else:
        axes.set_yscale("log")
        log_axis(axes.yaxis, words, unit)
    legend_beside(figure, handles)
    held = ""
    if law.holdout is not None:
        held = f" Mean error on held-out runs: {100 * law.holdout.mean_abs_rel_error:.2g}%."
    footnote(figure, greek(law.equation) + "." + held, counting_note(points))
    return figure


def curve_grid(values: Floats, name: str) -> Floats:
    """(160,) values of a variable over the data and somewhat beyond; a loss is not driven below the least."""
    beyond = 1.02 if name == "loss" else ROOM
    return np.geomspace(values.min() / beyond, values.max() * beyond, 160)


def _one(axes: Axes, law: Law, x: Floats, y: Floats, chosen: NDArray[np.bool_]) -> list[Line2D]:
    name = law.form.variables[0]
    grid = curve_grid(x[chosen], name)
    look = spots(len(x), 38)
    hollow = look | {"facecolor": "white", "edgecolor": MUTED, "lw": 0.9 if look["lw"] else 0.5}
    axes.scatter(x[~chosen], y[~chosen], zorder=3, **hollow)
    axes.scatter(x[chosen], y[chosen], color=ENVELOPE, zorder=5, **look)
    axes.plot(grid, law.predict(**{name: grid}), color=LAW, lw=2, zorder=4)
    handles = [marker_handle(ENVELOPE, "runs"), line_handle(LAW, "fitted law", lw=2)]
    if (band := law.interval(**{name: grid})) is not None and law.bootstrap is not None:
        axes.fill_between(grid, *band, color=LAW, alpha=0.16, lw=0, zorder=1)
        handles.append(line_handle(LAW, f"{law.bootstrap.level:.0%} bootstrap interval", lw=7, alpha=0.16))
    return handles


def _by_size(
    axes: Axes, law: Law, params: Floats, x: Floats, y: Floats, chosen: NDArray[np.bool_]
) -> list[Line2D]:
    name = law.form.variables[1]
    colours = size_colours(params.tolist())
    look = spots(len(x), 34)
    for size, colour in colours.items():
        of_size = params == size
        hollow = look | {"facecolor": "white", "edgecolor": colour, "lw": 0.7}
        axes.scatter(x[of_size & chosen], y[of_size & chosen], color=colour, zorder=5, **look)
        axes.scatter(x[of_size & ~chosen], y[of_size & ~chosen], zorder=5, **hollow)
    for size, colour, (low, high) in sizes_in_tokens(params, x, colours):
        grid = np.geomspace(low, high, 160)
        given = {"params": np.full_like(grid, size), name: grid}
        axes.plot(grid, law.predict(**given), color=colour, lw=1.5, zorder=4)
    return [*size_handles(colours), line_handle(MUTED, "fitted law, at each N")]
