"""Contours of L(N, D): the runs on the fitted surface, lines of equal compute, the compute-optimal path."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.read.inputs import Sources
from scaling.plots.figures import (
    canvas,
    counting_note,
    footnote,
    legend_beside,
    line_handle,
    marker_handle,
)
from scaling.plots.kinds import Options
from scaling.plots.scales import log_axis
from scaling.plots.style import ENVELOPE, INK, LAW, MUTED, scientific, spots
from scaling.plots.words import greek
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]

GRID = 120
LEVELS = 9
ROOM = 2.5  # the surface is drawn so many times beyond the runs
INSET = 0.06  # of the axes, between its edge and a label
CLEAR = 0.05  # of the axes, around a run: no label there


def contours_figure(sources: Sources, options: Options) -> Figure:
    """The surface in log N and log D.

    Raises:
        BadInputError: no law, or one that is no loss over params and tokens.
    """
    points, law = sources.points, sources.need_law("contours")
    check_surface(law)
    figure, axes = canvas(f"Loss by the {law.law} law")
    tokens, params, loss = surface(law, points)
    levels = surface_levels(loss)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.contourf(tokens, params, loss, levels=levels, cmap="Greys_r", alpha=0.35, zorder=0, extend="both")
    lines = axes.contour(tokens, params, loss, levels=levels, colors=MUTED, linewidths=0.8, zorder=1)
    compute = 6 * params[:, None] * tokens[None, :]
    powers = 10.0 ** _decades(np.log10(compute[0, 0]), np.log10(compute[-1, -1]))
    budgets = axes.contour(
        tokens, params, compute, levels=powers, colors=INK, linewidths=0.9, linestyles="dotted", zorder=2
    )
    axes.scatter(points.tokens, points.params, color=ENVELOPE, zorder=5, **spots(len(points), 34))
    handles = [
        marker_handle(ENVELOPE, "runs"),
        line_handle(MUTED, f"equal loss ({points.loss_unit})", lw=0.8),
    ]
    handles.append(line_handle(INK, "equal compute 6ND (FLOPs)", lw=0.9, ls=(0, (1, 2))))
    frontier = law.frontier()
    taken = _in_axes(tokens, params, points.tokens, points.params)
    if frontier is not None:
        corners = compute[0, 0], compute[-1, -1]
        flops = np.geomspace(corners[0] / 100, corners[1] * 100, 400)
        x, y = frontier.tokens(flops), frontier.params(flops)
        axes.plot(x, y, color=LAW, lw=2.2, zorder=4)
        taken = np.concatenate([taken, _in_axes(tokens, params, x, y)])
        handles.append(line_handle(LAW, "compute-optimal path", lw=2.2))
    axes.set_xlim(tokens[0], tokens[-1])
    axes.set_ylim(params[0], params[-1])
    log_axis(axes.xaxis, "Training tokens D (tokens)", "count")
    log_axis(axes.yaxis, "Model size N (parameters)", "count")
    # Every line of equal loss crosses the lower and right edges once, and every line of equal compute the
    # left and upper ones: there the labels of the two cannot meet.
    ahead, up = np.linspace(INSET, 1 - INSET, GRID), np.full(GRID, INSET)
    lower_right = np.concatenate([np.stack([ahead, up], 1), np.stack([1 - up, ahead], 1)])
    upper_left = np.concatenate([np.stack([up, ahead], 1), np.stack([ahead, 1 - up], 1)])
    for drawn, path, words in ((lines, lower_right, _level_text), (budgets, upper_left, scientific)):
        x, y = _in_data(tokens, path[:, 0]), _in_data(params, path[:, 1])
        values = law.predict(params=y, tokens=x) if drawn is lines else 6 * x * y
        places = _label_places(drawn.levels, values, path, taken)
        at = zip(_in_data(tokens, places[:, 0]), _in_data(params, places[:, 1]), strict=True)
        axes.clabel(drawn, manual=list(at), fontsize=8, fmt=words, colors=INK)
    axes.grid(visible=False)
    legend_beside(figure, handles)
    footnote(figure, counting_note(points), greek(law.equation) + ".")
    return figure


def check_surface(law: Law) -> None:
    """Nothing, of a law of loss over params and tokens.

    Raises:
        BadInputError: of any other.
    """
    if law.form.variables != ("params", "tokens") or law.form.target != "loss":
        raise BadInputError(
            f"contours show loss over params and tokens; {law.law} is {law.form.target} over "
            f"{', '.join(law.form.variables)}: give a law such as chinchilla"
        )


def surface(law: Law, points: Points) -> tuple[Floats, Floats, Floats]:
    """(X,) tokens, (Y,) params and (Y, X) the loss, somewhat beyond the runs."""
    tokens = np.geomspace(points.tokens.min() / ROOM, points.tokens.max() * ROOM, GRID)
    params = np.geomspace(points.params.min() / ROOM, points.params.max() * ROOM, GRID)
    return tokens, params, law.predict(params=params[:, None], tokens=tokens[None, :])


def surface_levels(loss: Floats) -> Floats:
    """About `LEVELS` round levels, each with as much of the surface between it and the next as any other."""
    wanted = np.quantile(loss, np.linspace(0.02, 0.98, LEVELS))
    for digits in range(2, 6):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(wanted)))
        levels = np.unique(np.round(wanted * scale) / scale)
        if len(levels) >= LEVELS - 1:
            return levels
    return np.unique(wanted)


def _level_text(level: float) -> str:
    return f"{level:.4g}"


def _decades(low: float, high: float) -> Floats:
    """Whole powers of ten between two, at most seven."""
    step = max(1, int(np.ceil((high - low) / 7)))
    return np.arange(int(np.ceil(low)), int(np.floor(high)) + 1, step, dtype=float)


def _in_data(grid: Floats, share: Floats) -> Floats:
    """Values at shares from 0 to 1 of an axis that spans the grid."""
    return grid[0] * (grid[-1] / grid[0]) ** share


def _in_axes(tokens: Floats, params: Floats, x: Floats, y: Floats) -> Floats:
    """(n, 2) places from 0 to 1 along both axes."""
    across = np.log(x / tokens[0]) / np.log(tokens[-1] / tokens[0])
    return np.stack([across, np.log(y / params[0]) / np.log(params[-1] / params[0])], axis=1)


def _label_places(levels: Iterable[float], values: Floats, path: Floats, taken: Floats) -> Floats:
    """(k, 2) places on a path (P, 2) in the axes where `values` (P,) cross levels, clear of `taken`."""
    places = np.zeros((0, 2))
    for level in levels:
        place = path[np.abs(np.log(values / level)).argmin()]
        others = np.concatenate([taken, 0.5 * (places + place)])  # from another label twice as far
        inside = values.min() < level < values.max()
        if inside and np.hypot(*(others - place).T).min(initial=1.0) > CLEAR:
            places = np.concatenate([places, place[None]])
    return places
