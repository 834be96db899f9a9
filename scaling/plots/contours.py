"""Contours of L(N, D): the runs on the fitted surface, lines of equal compute, the compute-optimal path."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.plots.figures import (
    canvas,
    counting_note,
    footnote,
    legend_beside,
    line_handle,
    log_axis,
    marker_handle,
)
from scaling.plots.sources import Options, Sources
from scaling.plots.style import ENVELOPE, INK, LAW, MUTED, scientific

Floats = NDArray[np.float64]

GRID = 120
LEVELS = 14
ROOM = 2.5  # the surface is drawn so many times beyond the runs


def contours_figure(sources: Sources, options: Options) -> Figure:
    """The surface in log N and log D.

    Raises:
        BadInputError: no law, or one that is no loss over params and tokens.
    """
    points, law = sources.points, sources.need_law("contours")
    check_surface(law)
    figure, axes = canvas(f"Loss over parameters and tokens, by the law {law.law}")
    tokens, params, loss = surface(law, points)
    levels = surface_levels(loss)
    axes.contourf(tokens, params, loss, levels=levels, cmap="Greys_r", alpha=0.35, zorder=0)
    lines = axes.contour(tokens, params, loss, levels=levels, colors=MUTED, linewidths=0.8, zorder=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(tokens[0], tokens[-1])
    axes.set_ylim(params[0], params[-1])
    axes.clabel(lines, levels=levels[::2], fontsize=8, fmt="%.3g", colors=INK)
    axes.scatter(points.tokens, points.params, s=34, color=ENVELOPE, edgecolor="white", lw=0.7, zorder=5)
    handles = [marker_handle(ENVELOPE, "runs"), line_handle(MUTED, "equal loss, nats per token", lw=0.8)]
    _equal_compute(axes, points)
    handles.append(line_handle(INK, "equal compute 6ND", lw=0.9, ls=(0, (1, 2))))
    frontier = law.frontier()
    if frontier is not None:
        corners = 6 * params[[0, -1]] * tokens[[0, -1]]
        flops = np.geomspace(corners[0] / 100, corners[1] * 100, 400)
        axes.plot(frontier.tokens(flops), frontier.params(flops), color=LAW, lw=2.2, zorder=4)
        handles.append(line_handle(LAW, "compute-optimal path", lw=2.2))
    log_axis(axes.xaxis, "Training tokens D (tokens)", "count")
    log_axis(axes.yaxis, "Model size N (parameters)", "count")
    axes.grid(visible=False)
    legend_beside(figure, handles)
    footnote(figure, counting_note(points), law.equation)
    return figure


def check_surface(law: LawFit) -> None:
    """Nothing, of a law of loss over params and tokens.

    Raises:
        BadInputError: of any other.
    """
    if law.form.variables != ("params", "tokens") or law.form.target != "loss":
        raise BadInputError(
            f"contours show loss over params and tokens; {law.law} is {law.form.target} over "
            f"{', '.join(law.form.variables)}: give a law such as chinchilla"
        )


def surface(law: LawFit, points: Points) -> tuple[Floats, Floats, Floats]:
    """(X,) tokens, (Y,) params and (Y, X) the loss, somewhat beyond the runs."""
    tokens = np.geomspace(points.tokens.min() / ROOM, points.tokens.max() * ROOM, GRID)
    params = np.geomspace(points.params.min() / ROOM, points.params.max() * ROOM, GRID)
    return tokens, params, law.predict(params=params[:, None], tokens=tokens[None, :])


def surface_levels(loss: Floats) -> Floats:
    """Levels evenly spaced in log loss, as fine at the low end as at the high."""
    return np.geomspace(loss.min(), loss.max(), LEVELS)


def _equal_compute(axes: Axes, points: Points) -> None:
    """Diagonals of 6ND at whole powers of ten, labelled at the upper or right edge."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    low, high = np.log10(6 * left * bottom), np.log10(6 * right * top)
    step = max(1, int(np.ceil((high - low) / 6)))
    for power in range(int(np.ceil(low)), int(high) + 1, step):
        d = np.array([left, right])
        axes.plot(
            d, 10.0**power / (6 * d), color=INK, lw=0.9, ls=(0, (1, 2)), zorder=2, scalex=False, scaley=False
        )
        at = 10.0**power / (6 * top)
        # Beside the upper end of the line, or beside its left end where it leaves the axes there.
        place, offset = (
            ((at, top), (5, -12)) if left < at < 0.8 * right else ((left, 10.0**power / (6 * left)), (5, 3))
        )
        if bottom < place[1] <= top:
            axes.annotate(
                scientific(10.0**power), place, xytext=offset, textcoords="offset points", fontsize=8,
                color=INK, bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
            )  # fmt: skip
