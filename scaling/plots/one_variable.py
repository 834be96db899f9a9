"""A law as a curve: its target against one variable, with the runs it was fitted to and its band."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.laws.law import LawFit
from scaling.plots.figures import (
    canvas,
    counting_note,
    footnote,
    legend_beside,
    line_handle,
    log_axis,
    marker_handle,
    size_handles,
)
from scaling.plots.sources import Options, Sources
from scaling.plots.style import ENVELOPE, LAW, MUTED, size_colours

Floats = NDArray[np.float64]

WORDS = {  # what stands on an axis, and how its ticks are written
    "params": ("Model size N (parameters)", "count"),
    "tokens": ("Training tokens D (tokens)", "count"),
    "flops": ("Training compute C (FLOPs)", "flops"),
    "loss": ("Validation loss (nats per token)", "plain"),
    "error": ("Average error of tasks (share of answers)", "plain"),
    "learning_rate": ("Learning rate", "plain"),
    "batch_tokens": ("Batch size (tokens)", "count"),
    "min_steps": ("Least steps $S_{min}$ (steps)", "count"),
    "unique_tokens": ("Unique tokens (tokens)", "count"),
}
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
            f"law: {law.law} reads {', '.join(names)}, which no one curve shows; "
            "use predicted-vs-measured or residuals"
        )
    figure, axes = canvas(f"The law {law.law}")
    columns = {name: points.column(name) for name in names}
    y = points.column(law.form.target)
    chosen = law.form.select(np.stack([np.log(v) for v in columns.values()], axis=1), np.log(points.loss))
    if len(names) == 1:
        handles = _one(axes, law, columns[names[0]], y, chosen)
    else:
        handles = _by_size(axes, law, points.params, columns[names[1]], y, chosen)
    if not chosen.all():
        handles.append(marker_handle(MUTED, "not fitted: another run is lower", hollow=True))
    words, unit = WORDS[names[-1]]
    linear = names == ("loss",)
    if linear:  # a loss spans less than a decade, and errors fall exponentially in it
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
        axes.set_xlabel(words)
    else:
        axes.set_xscale("log")
        log_axis(axes.xaxis, words, unit)  # type: ignore[arg-type]
    words, unit = WORDS[law.form.target]
    if law.form.target == "error":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        axes.set_ylabel(words)
    else:
        axes.set_yscale("log")
        log_axis(axes.yaxis, words, unit)  # type: ignore[arg-type]
    legend_beside(figure, handles)
    held = "" if law.holdout is None else f" Held out, {law.holdout.mean_abs_rel_error:.2%} off on average."
    footnote(figure, law.equation + "." + held, counting_note(points))
    return figure


def curve_grid(values: Floats, name: str) -> Floats:
    """(160,) values of a variable over the data and somewhat beyond; a loss is not driven below the least."""
    beyond = 1.02 if name == "loss" else ROOM
    return np.geomspace(values.min() / beyond, values.max() * beyond, 160)


def _one(axes: Axes, law: LawFit, x: Floats, y: Floats, chosen: NDArray[np.bool_]) -> list[Line2D]:
    name = law.form.variables[0]
    grid = curve_grid(x[chosen], name)
    axes.scatter(x[~chosen], y[~chosen], s=26, facecolor="white", edgecolor=MUTED, lw=0.9, zorder=3)
    axes.scatter(x[chosen], y[chosen], s=38, color=ENVELOPE, edgecolor="white", lw=0.6, zorder=5)
    axes.plot(grid, law.predict(**{name: grid}), color=LAW, lw=2, zorder=4)
    handles = [marker_handle(ENVELOPE, "runs"), line_handle(LAW, law.law, lw=2)]
    if (band := law.interval(**{name: grid})) is not None and law.bootstrap is not None:
        axes.fill_between(grid, *band, color=LAW, alpha=0.16, lw=0, zorder=1)
        handles.append(line_handle(LAW, f"{law.bootstrap.level:.0%} band", lw=7, alpha=0.16))
    return handles


def _by_size(
    axes: Axes, law: LawFit, params: Floats, x: Floats, y: Floats, chosen: NDArray[np.bool_]
) -> list[Line2D]:
    name = law.form.variables[1]
    colours = size_colours(params.tolist())
    for size, colour in colours.items():
        of_size = params == size
        grid = curve_grid(x[of_size], name)
        given = {"params": np.full_like(grid, size), name: grid}
        for mask, face, edge in ((of_size & chosen, colour, "white"), (of_size & ~chosen, "white", colour)):
            axes.scatter(x[mask], y[mask], s=34, facecolor=face, edgecolor=edge, lw=0.7, zorder=5)
        axes.plot(grid, law.predict(**given), color=colour, lw=1.5, zorder=4)
    return [*size_handles(colours), line_handle(MUTED, f"{law.law}, at each N")]
