"""One law and the runs it was fitted to: its curve, its prediction errors, its residuals, its contours."""

import textwrap
from collections.abc import Iterable
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import Options
from scaling.plots.labels import (
    VARIABLES,
    compute_label,
    counting_note,
    fitted_note,
    greek,
    label_of,
    log_axis,
    percent_axis,
    scientific,
    variable_name,
)
from scaling.plots.losses import (
    LEGEND_WIDTH,
    MANY_HELD,
    band_name,
    faint_runs,
    held_out,
    level_of,
    sizes_in_tokens,
)
from scaling.plots.style import (
    ENVELOPE,
    INK,
    LAW,
    MUTED,
    canvas,
    footnote,
    legend_at_right,
    line_handle,
    marker_handle,
    panels,
    size_colours,
    size_handles,
    spots,
)
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]

ROOM = 1.6  # the curve is drawn this factor beyond the runs


def law_figure(sources: Sources, options: Options) -> Figure:
    """The target of a law against its variable; a curve per size for a law of N and another variable.

    Raises:
        BadInputError: no law, the points lack one of its columns, or it has three variables.
    """
    law, found = sources.need_law("law"), sources.fitted
    points = found.points
    names = law.form.variables
    if len(names) > 2 or (len(names) == 2 and names[0] != "params"):
        raise BadInputError(
            f"law: {law.law} has the variables {', '.join(names)}, which a curve cannot show; "
            "use predicted-vs-measured or residuals"
        )
    figure, axes = canvas(f"The {law.law} law")
    columns = {name: points.column(name) for name in names}
    y = points.column(law.form.target)
    chosen = law.form.select(np.stack([np.log(v) for v in columns.values()], axis=1), np.log(points.loss))
    if len(names) == 1:
        handles = _single_curve(axes, law, columns[names[0]], y, chosen)
    else:
        handles = _curve_per_size(axes, law, points.params, columns[names[1]], y, chosen)
    colours = size_colours(points.params.tolist()) if len(names) == 2 else {}
    handles += faint_runs(axes, found, names[-1], law.form.target, colours)
    if not chosen.all():
        handles.append(marker_handle(MUTED, "not fitted: above the envelope", hollow=True))
    words, unit = label_of(names[-1], points)
    linear = names == ("loss",)
    if linear:  # a loss spans less than a decade, and task errors are exponential in it
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
    legend_at_right(figure, handles)
    held = ""
    if law.holdout is not None:
        held = f" Mean error on held-out runs: {100 * law.holdout.mean_abs_rel_error:.2g}%."
    footnote(figure, greek(law.equation) + "." + held, fitted_note(found, faint=True), counting_note(points))
    return figure


def curve_grid(values: Floats, name: str) -> Floats:
    """(160,) values of a variable over the data and somewhat beyond; for a loss hardly beyond."""
    beyond = 1.02 if name == "loss" else ROOM
    return np.geomspace(values.min() / beyond, values.max() * beyond, 160)


def _single_curve(axes: Axes, law: Law, x: Floats, y: Floats, chosen: NDArray[np.bool_]) -> list[Line2D]:
    name = law.form.variables[0]
    grid = curve_grid(x[chosen], name)
    look = spots(len(x), 38)
    hollow = look | {"facecolor": "white", "edgecolor": MUTED, "lw": 0.9 if look["lw"] else 0.5}
    axes.scatter(x[~chosen], y[~chosen], zorder=3, **hollow)
    axes.scatter(x[chosen], y[chosen], color=ENVELOPE, zorder=5, **look)
    axes.plot(grid, law.predict(**{name: grid}), color=LAW, lw=2, zorder=4)
    handles = [marker_handle(ENVELOPE, "runs"), line_handle(LAW, "fitted law", lw=2)]
    if (band := law.widened(**{name: grid})) is not None:
        axes.fill_between(grid, *band, color=LAW, alpha=0.16, lw=0, zorder=1)
        handles.append(line_handle(LAW, band_name(law), lw=7, alpha=0.16))
    return handles


def _curve_per_size(
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


def predicted_vs_measured(sources: Sources, options: Options) -> Figure:
    """Relative prediction errors against compute; of held-out runs by the law fitted without them."""
    law, found = sources.need_law("predicted-vs-measured"), sources.fitted
    points = found.points
    figure, axes = canvas(f"Prediction errors of the {law.law} law")
    colours = size_colours(points.params.tolist())
    variables = {name: points.column(name) for name in law.form.variables}
    error = 100 * (law.predict(**variables) / points.column(law.form.target) - 1)
    held = law.holdout.predictions if law.holdout else ()
    fitted = ~held_out(points, law)
    axes.axhline(0, color=INK, lw=0.8)
    look = spots(len(points), 34)
    for size, colour in colours.items():
        mask = fitted & (points.params == size)
        axes.scatter(points.flops[mask], error[mask], color=colour, zorder=5, **look)
    handles = size_handles(colours)
    bars = len(held) <= MANY_HELD
    for p in held:
        colour = colours.get(p.params, LAW)
        off = 100 * p.rel_error
        if p.interval and bars:
            ends = [100 * (end / p.measured - 1) for end in p.interval]
            axes.plot([p.flops] * 2, ends, color=colour, lw=1.4, zorder=4, solid_capstyle="round")
        hollow: Any = {"facecolor": "white", "edgecolor": colour, "lw": 1.6 if bars else 0.8}
        axes.scatter(p.flops, off, s=1.35 * look["s"], zorder=6, **hollow)
    if law.holdout:
        label = textwrap.fill("held out, predicted by the law fitted without them", LEGEND_WIDTH)
        handles.append(marker_handle(MUTED, label, hollow=True))
        if law.holdout.predictions[0].interval and bars:
            handles.append(Line2D([], [], color=MUTED, lw=1.4, label=f"{level_of(law)} interval of the law"))
    percent_axis(axes.yaxis)
    target = variable_name(law.form.target)
    axes.set_ylabel(textwrap.fill(f"Predicted over measured {target} \N{MINUS SIGN} 1 (%)", 48))
    axes.set_xscale("log")
    log_axis(axes.xaxis, compute_label(points), "flops")
    legend_at_right(figure, handles)
    footnote(figure, fitted_note(found), counting_note(points))
    return figure


def log_residuals(law: Law, points: Points) -> tuple[Floats, NDArray[np.bool_]]:
    """(n,) log of measured over predicted, and whether the law was fitted to each point.

    Raises:
        BadInputError: the points lack a variable of the law.
    """
    columns = {name: points.column(name) for name in law.form.variables}
    logs = np.stack([np.log(values) for values in columns.values()], axis=1)
    chosen = law.form.select(logs, np.log(points.loss))
    return np.log(points.column(law.form.target) / law.predict(**columns)), chosen


def normal_quantiles(n: int) -> Floats:
    """(n,) quantiles of the standard normal distribution at (i + 1/2) / n."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)])


def residuals_figure(sources: Sources, options: Options) -> Figure:
    """Log residuals against N, D and C, coloured by size, and against normal quantiles."""
    law, found = sources.need_law("residuals"), sources.fitted
    points = found.points
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
        label, unit = VARIABLES[name]
        log_axis(one.xaxis, label, unit, ticks=6)
        percent_axis(one.yaxis)
    _quantiles(axes[3], residual[chosen], points.params[chosen], colours)
    target = variable_name(law.form.target)
    figure.supylabel(f"Log of measured over predicted {target} (%)", fontsize=10.5, color=INK)
    legend_at_right(figure, size_handles(colours))
    spread = float(np.sqrt(np.mean(residual[chosen] ** 2)))
    left = "" if chosen.all() else f" The law is fitted to {int(chosen.sum())} of {len(points)} points."
    note = f"Root mean square: {100 * spread:.2g}%. 1% is 0.01 in the natural logarithm.{left}"
    footnote(figure, fitted_note(found), counting_note(points), note)
    return figure


def _quantiles(axes: Axes, residual: Floats, params: Floats, colours: dict[float, str]) -> None:
    """Ordered residuals against normal quantiles; the line has their mean and standard deviation."""
    order = np.argsort(residual)
    x, y = normal_quantiles(len(order)), 100 * residual[order]
    axes.scatter(x, y, c=[colours[params[i]] for i in order], zorder=4, **spots(len(x), 26))
    ends = np.array([x[0], x[-1]])
    axes.plot(ends, y.mean() + y.std() * ends, color=MUTED, lw=1, ls=(0, (4, 2)), zorder=2)
    axes.set_xlabel("Quantile of the standard normal")
    percent_axis(axes.yaxis)


SURFACE_POINTS = 120
SURFACE_LEVELS = 9
MARGIN = 2.5  # the surface is drawn this factor beyond the runs
INSET = 0.06  # share of the axes between their edge and a label
CLEAR = 0.05  # share of the axes between a run and a label


def contours_figure(sources: Sources, options: Options) -> Figure:
    """Lines of equal loss over N and D, with the runs, lines of equal compute and the compute-optimal path.

    Raises:
        BadInputError: no law, or not one of loss over params and tokens.
    """
    law, found = sources.need_law("contours"), sources.fitted
    points = found.points
    check_surface(law)
    figure, axes = canvas(f"Loss by the {law.law} law")
    tokens, params, loss = surface(law, points)
    levels = surface_levels(loss)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.contourf(tokens, params, loss, levels=levels, cmap="Greys_r", alpha=0.35, zorder=0, extend="both")
    lines = axes.contour(tokens, params, loss, levels=levels, colors=MUTED, linewidths=0.8, zorder=1)
    per_token = 6 * params if law.cost is None else np.exp(law.cost.log_per_token(np.log(params)))
    compute = per_token[:, None] * tokens[None, :]
    powers = 10.0 ** _decades(np.log10(compute[0, 0]), np.log10(compute[-1, -1]))
    budgets = axes.contour(
        tokens, params, compute, levels=powers, colors=INK, linewidths=0.9, linestyles="dotted", zorder=2
    )
    axes.scatter(points.tokens, points.params, color=ENVELOPE, zorder=5, **spots(len(points), 34))
    handles = [
        marker_handle(ENVELOPE, "runs"),
        line_handle(MUTED, f"equal loss ({points.loss_unit})", lw=0.8),
    ]
    handles.append(
        line_handle(
            INK, f"equal compute {'6ND' if law.cost is None else 'C'} (FLOPs)", lw=0.9, ls=(0, (1, 2))
        )
    )
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
    # Lines of equal loss are labelled near the lower and right edges, which each crosses once, and lines of
    # equal compute near the left and upper edges, so that the labels of the two do not collide.
    ahead, up = np.linspace(INSET, 1 - INSET, SURFACE_POINTS), np.full(SURFACE_POINTS, INSET)
    lower_right = np.concatenate([np.stack([ahead, up], 1), np.stack([1 - up, ahead], 1)])
    upper_left = np.concatenate([np.stack([up, ahead], 1), np.stack([ahead, 1 - up], 1)])
    for drawn, path, words in ((lines, lower_right, _level_text), (budgets, upper_left, scientific)):
        x, y = _in_data(tokens, path[:, 0]), _in_data(params, path[:, 1])
        cost = 6 * y if law.cost is None else np.exp(law.cost.log_per_token(np.log(y)))
        values = law.predict(params=y, tokens=x) if drawn is lines else cost * x
        places = _label_places(drawn.levels, values, path, taken)
        at = zip(_in_data(tokens, places[:, 0]), _in_data(params, places[:, 1]), strict=True)
        axes.clabel(drawn, manual=list(at), fontsize=8, fmt=words, colors=INK)
    axes.grid(visible=False)
    legend_at_right(figure, handles)
    footnote(figure, fitted_note(found), counting_note(points), greek(law.equation) + ".")
    return figure


def check_surface(law: Law) -> None:
    """Raises BadInputError for a law that is not one of loss over params and tokens."""
    if law.form.variables != ("params", "tokens") or law.form.target != "loss":
        raise BadInputError(
            f"contours show loss over params and tokens; {law.law} is {law.form.target} over "
            f"{', '.join(law.form.variables)}: give a law such as chinchilla"
        )


def surface(law: Law, points: Points) -> tuple[Floats, Floats, Floats]:
    """(X,) tokens, (Y,) params and the loss (Y, X), somewhat beyond the runs."""
    tokens = np.geomspace(points.tokens.min() / MARGIN, points.tokens.max() * MARGIN, SURFACE_POINTS)
    params = np.geomspace(points.params.min() / MARGIN, points.params.max() * MARGIN, SURFACE_POINTS)
    return tokens, params, law.predict(params=params[:, None], tokens=tokens[None, :])


def surface_levels(loss: Floats) -> Floats:
    """About `SURFACE_LEVELS` round levels that divide the surface into equal areas."""
    wanted = np.quantile(loss, np.linspace(0.02, 0.98, SURFACE_LEVELS))
    for digits in range(2, 6):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(wanted)))
        levels = np.unique(np.round(wanted * scale) / scale)
        if len(levels) >= SURFACE_LEVELS - 1:
            return levels
    return np.unique(wanted)


def _level_text(level: float) -> str:
    return f"{level:.4g}"


def _decades(low: float, high: float) -> Floats:
    """At most seven integer exponents of ten between two exponents."""
    step = max(1, int(np.ceil((high - low) / 7)))
    return np.arange(int(np.ceil(low)), int(np.floor(high)) + 1, step, dtype=float)


def _in_data(grid: Floats, share: Floats) -> Floats:
    """Values at fractions from 0 to 1 of a log axis that spans the grid."""
    return grid[0] * (grid[-1] / grid[0]) ** share


def _in_axes(tokens: Floats, params: Floats, x: Floats, y: Floats) -> Floats:
    """(n, 2) positions as fractions of both axes."""
    across = np.log(x / tokens[0]) / np.log(tokens[-1] / tokens[0])
    return np.stack([across, np.log(y / params[0]) / np.log(params[-1] / params[0])], axis=1)


def _label_places(levels: Iterable[float], values: Floats, path: Floats, taken: Floats) -> Floats:
    """(k, 2) positions on a path (P, 2) where `values` (P,) cross levels, away from `taken`."""
    places = np.zeros((0, 2))
    for level in levels:
        place = path[np.abs(np.log(values / level)).argmin()]
        others = np.concatenate([taken, 0.5 * (places + place)])  # twice as far from other labels
        inside = values.min() < level < values.max()
        if inside and np.hypot(*(others - place).T).min(initial=1.0) > CLEAR:
            places = np.concatenate([places, place[None]])
    return places
