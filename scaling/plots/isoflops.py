"""IsoFLOP valleys: loss against size at each compute budget, their minima, and N_opt(C) through them."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.laws.akima import akima
from scaling.laws.isoflop import IsoFlopMinima, Refusal, fit_isoflops, isoflop_groups, isoflop_minima
from scaling.laws.points import Points
from scaling.laws.resample import percentiles
from scaling.plots.figures import (
    counting_note,
    footnote,
    line_handle,
    log_axis,
    marker_handle,
    panels,
)
from scaling.plots.sources import Options, Sources
from scaling.plots.style import INK, LAW, MUTED, scientific

Floats = NDArray[np.float64]

MAX_LEGEND = 9
MAX_REASONS = 3
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
    figure, (valleys, frontier) = panels("IsoFLOP minima", 1, 2, (9.6, 5.2))
    colours = budget_colours([flops for flops, _ in groups])
    least = {minimum.flops: i for i, minimum in enumerate(found.minima)}
    small = {refusal.flops for refusal in found.refused if refusal.sizes < 2}
    for flops, members in groups:
        if flops in small:
            continue
        kept = flops in least
        face, edge = (colours[flops], "white") if kept else ("white", colours[flops])
        valleys.scatter(
            points.params[members],
            points.loss[members],
            s=26,
            facecolor=face,
            edgecolor=edge,
            lw=0.6 if kept else 1.1,
            zorder=4,
        )
        if kept:
            x, y = valley(points.subset(members.tolist()), options.method)
            valleys.plot(x, y, color=colours[flops], lw=1.3, zorder=3)
    for i, minimum in enumerate(found.minima):
        colour = colours[minimum.flops]
        if (ends := interval_of(found, i)) is not None:
            valleys.plot(ends, [minimum.loss] * 2, color=INK, lw=1.1, zorder=5, solid_capstyle="round")
        valleys.scatter(
            minimum.params, minimum.loss, s=STAR**2, marker="*", color=colour, edgecolor=INK, lw=0.8, zorder=6
        )
    log_axis(valleys.xaxis, "Model size N (parameters)", "count")
    log_axis(valleys.yaxis, "Validation loss (nats per token)", "plain")
    remarks = _frontier(frontier, points, found, colours, options)
    shown = [flops for flops, _ in groups if flops not in small]
    figure.legend(
        handles=_handles(shown, colours, found, options), loc="outside right upper", labelspacing=0.5
    )
    footnote(figure, counting_note(points), *remarks, *_reasons(found.refused))
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
    for i, minimum in enumerate(found.minima):
        if (ends := interval_of(found, i)) is not None:
            axes.plot([minimum.flops] * 2, ends, color=INK, lw=1.1, zorder=4, solid_capstyle="round")
        axes.scatter(
            minimum.flops, minimum.params, s=STAR**2, marker="*", color=colours[minimum.flops], edgecolor=INK,
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
        remarks = (f"No power law: {str(error).removeprefix(f'{points.source}: ')}.",)
    else:
        budgets = [minimum.flops for minimum in found.minima]
        grid = np.geomspace(min(budgets) / 1.5, max(budgets) * 1.5, 60)
        axes.plot(grid, fit.params.predict(grid), color=LAW, lw=1.8, zorder=3)
        if (band := fit.params.interval(grid)) is not None:
            axes.fill_between(grid, *band, color=LAW, alpha=0.16, lw=0, zorder=1)
        ends = fit.params.exponent_interval
        between = "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
        axes.set_title(
            f"$N_{{opt}} \\propto C^a$,  a = {fit.params.exponent:.3f}{between}", fontsize=10, weight="normal"
        )
    if not found.minima:
        axes.set_xlim(points.flops.min() / 2, points.flops.max() * 2)
        axes.set_ylim(points.params.min(), points.params.max())
        axes.text(0.5, 0.5, "no budget has a minimum", transform=axes.transAxes, ha="center", color=MUTED)
    log_axis(axes.xaxis, "Training compute C (FLOPs)", "flops", ticks=6)
    log_axis(axes.yaxis, "Compute-optimal size $N_{opt}$ (parameters)", "count")
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
    star = Line2D([], [], ls="", marker="*", ms=STAR, mfc="white", mec=INK, mew=0.8, label="minimum")
    handles.append(star)
    if options.bootstrap and found.minima:
        handles.append(line_handle(INK, "its 95% interval", lw=1.1))
    handles.append(line_handle(MUTED, options.method, lw=1.3))
    return handles


def _reasons(refused: Sequence[Refusal]) -> tuple[str, ...]:
    """Why some budgets have no minimum; those of one size alone are counted together."""
    single = sum(refusal.sizes < 2 for refusal in refused)
    others = [refusal.reason for refusal in refused if refusal.sizes >= 2]
    out = [f"Hollow, without a minimum: {reason}." for reason in others[:MAX_REASONS]]
    if len(others) > MAX_REASONS:
        out.append(f"So are {len(others) - MAX_REASONS} more budgets.")
    if single:
        out.append(f"Not drawn: {single} budget(s) with runs of one size only.")
    return tuple(out)
