"""IsoFLOP valleys: loss against size at each compute budget, their minima, and N_opt(C) through them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from scaling.laws.frontier.akima import akima
from scaling.laws.frontier.isoflop import IsoFlopMinima, Refusal, fit_isoflops, isoflop_groups, isoflop_minima
from scaling.laws.points import Points
from scaling.laws.read.inputs import Sources
from scaling.laws.uncertainty.resample import percentiles
from scaling.plots.allocation import exponent_text
from scaling.plots.figures import (
    counting_note,
    footnote,
    legend_beside,
    line_handle,
    marker_handle,
    panels,
)
from scaling.plots.kinds import Options
from scaling.plots.scales import log_axis
from scaling.plots.style import INK, LAW, MUTED, scientific, spots
from scaling.plots.words import label_of
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]

MAX_LEGEND = 9
MAX_REASONS = 3
MAX_NAMED = 3  # budgets of one reason
MANY = 12  # beyond this number of minima, smaller stars
STAR = 11


def isoflop_figure(sources: Sources, options: Options) -> Figure:
    """Valleys with their minima at left, the power law of N_opt through them at right.

    Raises:
        BadInputError: no budget has runs of several sizes, or an option is out of range.
    """
    points = sources.points
    found = isoflop_minima(
        points,
        options.method,  # type: ignore[arg-type]
        tolerance=options.tolerance,
        bootstrap=options.bootstrap,
        seed=options.seed,
    )
    groups = isoflop_groups(points, tolerance=options.tolerance)
    if all(len(np.unique(points.params[members])) < 2 for _, members in groups):
        raise BadInputError(
            f"isoflop: {points.source} has no compute budget with runs of two sizes; train several sizes at "
            "each budget, or give a wider --tolerance"
        )
    # Without a minimum there is nothing to show against compute.
    figure, (valleys, *frontier) = panels("IsoFLOP minima", 1, 2 if found.minima else 1, (9.6, 4.6))
    colours = budget_colours([flops for flops, _ in groups])
    least = {minimum.flops: i for i, minimum in enumerate(found.minima)}
    small = {refusal.flops for refusal in found.refused if refusal.sizes < 2}
    drawn = sum(len(members) for flops, members in groups if flops not in small)
    look = spots(drawn, 26)
    for flops, members in groups:
        if flops in small:
            continue
        kept = flops in least
        hollow = {"facecolor": "white", "edgecolor": colours[flops], "lw": 1.1 if look["lw"] else 0.5}
        style = look | ({"color": colours[flops]} if kept else hollow)
        valleys.scatter(points.params[members], points.loss[members], zorder=4, **style)
        if kept:
            x, y = valley(points.subset(members.tolist()), options.method)
            valleys.plot(x, y, color=colours[flops], lw=1.3, zorder=3)
    star = STAR if len(found.minima) <= MANY else STAR / 2
    for i, minimum in enumerate(found.minima):
        colour = colours[minimum.flops]
        if (ends := interval_of(found, i)) is not None:
            valleys.plot(ends, [minimum.loss] * 2, color=INK, lw=1.1, zorder=5, solid_capstyle="round")
        valleys.scatter(
            minimum.params, minimum.loss, s=star**2, marker="*", color=colour, edgecolor=INK, lw=0.8, zorder=6
        )
    log_axis(valleys.xaxis, "Model size N (parameters)", "count")
    log_axis(valleys.yaxis, *label_of("loss", points))
    remarks = _frontier(frontier[0], points, found, colours, options) if frontier else ()
    shown = [flops for flops, _ in groups if flops not in small]
    legend_beside(figure, _handles(shown, colours, found, options))
    footnote(figure, counting_note(points), *remarks, *reasons(found.refused))
    return figure


def budget_colours(budgets: Sequence[float]) -> dict[float, str]:
    """A colour a budget, dark to light with compute."""
    places = np.linspace(0.05, 0.88, len(budgets)) if len(budgets) > 1 else [0.4]
    ordered = zip(sorted(budgets), places, strict=True)
    return {budget: to_hex(colormaps["plasma"](place)) for budget, place in ordered}


def valley(group: Points, method: str) -> tuple[Floats, Floats]:
    """(100,) sizes and losses of the curve whose minimum is taken: the parabola in log N, or Akima's."""
    log_n = np.log(group.params)
    sizes = np.unique(log_n.round(9))
    grid = np.linspace(sizes[0], sizes[-1], 100)
    if method == "akima":
        at = np.searchsorted(sizes, log_n.round(9))
        means = np.bincount(at, np.log(group.loss)) / np.bincount(at)
        return np.exp(grid), np.exp(akima(sizes, means, grid))
    centre = log_n.mean()
    curve = np.polynomial.Polynomial.fit(log_n - centre, group.loss, 2, w=np.sqrt(group.weight))
    return np.exp(grid), curve(grid - centre)


def interval_of(found: IsoFlopMinima, i: int) -> tuple[float, float] | None:
    """95% percentiles of N_opt at the i-th minimum; None without resamples."""
    if not len(found.log_params_SG):
        return None
    ends = percentiles(found.log_params_SG[:, i])
    return None if ends is None else (float(np.exp(ends[0])), float(np.exp(ends[1])))


def _frontier(
    axes: Axes, points: Points, found: IsoFlopMinima, colours: dict[float, str], options: Options
) -> tuple[str, ...]:
    """N_opt against compute; returns what the note should say of it."""
    star = STAR if len(found.minima) <= MANY else STAR / 2
    for i, minimum in enumerate(found.minima):
        if (ends := interval_of(found, i)) is not None:
            axes.plot([minimum.flops] * 2, ends, color=INK, lw=1.1, zorder=4, solid_capstyle="round")
        axes.scatter(
            minimum.flops, minimum.params, s=star**2, marker="*", color=colours[minimum.flops], edgecolor=INK,
            lw=0.8, zorder=5,
        )  # fmt: skip
    remarks: tuple[str, ...] = ()
    try:
        fit = fit_isoflops(
            points,
            options.method,  # type: ignore[arg-type]
            tolerance=options.tolerance,
            bootstrap=options.bootstrap,
            seed=options.seed,
        )
    except BadInputError as error:
        remarks = (f"No power law of optimal size: {str(error).removeprefix(f'{points.source}: ')}.",)
    else:
        budgets = [minimum.flops for minimum in found.minima]
        grid = np.geomspace(min(budgets) / 1.5, max(budgets) * 1.5, 60)
        axes.plot(grid, fit.params.predict(grid), color=LAW, lw=1.8, zorder=3)
        if (band := fit.params.interval(grid)) is not None:
            axes.fill_between(grid, *band, color=LAW, alpha=0.16, lw=0, zorder=1)
        ends = fit.params.exponent_interval
        exponent = exponent_text(fit.params.exponent, ends)
        axes.set_title(f"$N_{{opt}} \\propto C^a$,  a = {exponent}", fontsize=10, weight="normal")
    log_axis(axes.xaxis, "Training compute C (FLOPs)", "flops", ticks=5)
    log_axis(axes.yaxis, "Optimal size $N_{opt}$ (parameters)", "count")
    return remarks


def _handles(
    budgets: Sequence[float], colours: dict[float, str], found: IsoFlopMinima, options: Options
) -> list[Line2D]:
    kept = {minimum.flops for minimum in found.minima}
    shown = list(budgets)
    if len(shown) > MAX_LEGEND:
        shown = [shown[i] for i in np.linspace(0, len(shown) - 1, MAX_LEGEND).round().astype(int)]
    handles = [
        marker_handle(colours[flops], f"{scientific(flops)} FLOPs", hollow=flops not in kept)
        for flops in shown
    ]
    if found.minima:
        handles.append(line_handle(MUTED, f"{options.method} through the runs", lw=1.3))
        star: Any = {"marker": "*", "ms": STAR, "mfc": "white", "mec": INK, "mew": 0.8}
        handles.append(Line2D([], [], ls="", label="minimum", **star))
        if options.bootstrap:
            handles.append(line_handle(INK, "95% interval of the minimum", lw=1.1))
    return handles


def reasons(refused: Sequence[Refusal]) -> tuple[str, ...]:
    """Why some budgets have no minimum, budgets of one reason together."""
    single = sum(refusal.sizes < 2 for refusal in refused)
    by_reason: dict[str, list[float]] = {}
    for refusal in refused:
        if refusal.sizes >= 2:
            by_reason.setdefault(refusal.reason.split(" FLOPs: ", 1)[-1], []).append(refusal.flops)
    out = []
    for reason, budgets in list(by_reason.items())[:MAX_REASONS]:
        named = ", ".join(scientific(flops) for flops in budgets[:MAX_NAMED])
        more = f" and {len(budgets) - MAX_NAMED} more" if len(budgets) > MAX_NAMED else ""
        out.append(f"Hollow, without a minimum ({named}{more} FLOPs): {reason}.")
    if left := sum(map(len, list(by_reason.values())[MAX_REASONS:])):
        out.append(f"Also without a minimum, for other reasons: {left} budget{'s' * (left > 1)}.")
    if single:
        out.append(f"Not drawn: {single} budget{'s' * (single > 1)} with runs of one size only.")
    return tuple(out)
