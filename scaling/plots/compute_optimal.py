"""Compute-optimal allocation: isoFLOP minima, optimal N and D against compute by each approach, exponents."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from scaling.laws.forms.laws import LAWS
from scaling.laws.frontier.approaches import Approach, compare_approaches
from scaling.laws.frontier.isoflop import (
    IsoFlopMinima,
    Refusal,
    fit_isoflops,
    isoflop_groups,
    isoflop_minima,
)
from scaling.laws.points import Points, canonical
from scaling.laws.read.inputs import Sources
from scaling.laws.tuned import tuned
from scaling.plots.kinds import Options
from scaling.plots.labels import counting_note, fitted_note, label_of, log_axis, scientific
from scaling.plots.style import (
    INK,
    LAW,
    MUTED,
    dress,
    footnote,
    legend_at_right,
    line_handle,
    marker_handle,
    panels,
    spots,
)
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

# Okabe and Ito (2008): blue, vermillion, green, purple.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499")
MARKERS = "os^D"
LINES = ("-", "-", (0, (5, 2)), (2, (2, 2)))
NOTES = 3  # remarks of an approach that the figure repeats
PAPERS = {  # what papers print for a in N_opt = k C^a
    "Kaplan et al. 2020: 0.73": (0.73,),  # arXiv:2001.08361, section 1.2
    "Hoffmann et al. 2022: 0.46, 0.49, 0.50": (0.50, 0.49, 0.46),  # arXiv:2203.15556, table 2
}


def approaches_of(sources: Sources, options: Options) -> tuple[Approach, ...]:
    """The compute optimum by every approach.

    Raises:
        BadInputError: none is possible; the message gives the reason of the first.
    """
    found = compare_approaches(
        sources.points,
        sources.curves,
        sources.law,
        options.method,  # type: ignore[arg-type]
        options.bootstrap,
        options.seed,
    )
    if all(one.a is None for one in found):
        raise BadInputError(f"no approach finds an optimum; {found[0].name}: {found[0].refused}")
    return found


def allocation_figure(sources: Sources, options: Options) -> Figure:
    """N_opt and D_opt against compute with bands, and the exponents a."""
    points, found = sources.points, approaches_of(sources, options)
    figure = Figure(figsize=(9.0, 7.4), layout="constrained")
    figure.suptitle("Compute-optimal parameters and tokens", x=0.015, ha="left")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.5, 1], squeeze=False)[:, 0]  # own margins
    left, right = upper.subplots(1, 2)
    axes = lower.subplots()
    for one in (left, right, axes):
        dress(one)
    _powers(left, found, "params", "$N_{opt}$ (parameters)")
    _powers(right, found, "tokens", "$D_{opt}$ (tokens)")
    _exponents(axes, found)
    note = interval_note("Bands and bars", found)
    footnote(figure, counting_note(points), note, *remarks(found, points))
    return figure


def exponents_figure(sources: Sources, options: Options) -> Figure:
    """The exponents a with their intervals, next to published ones."""
    points, found = sources.points, approaches_of(sources, options)
    figure, (axes,) = panels(
        "Exponent a of the compute-optimal size, $N_{opt} \\propto C^a$", 1, 1, (8.4, 3.6)
    )
    _exponents(axes, found)
    footnote(figure, counting_note(points), interval_note("Bars", found), *remarks(found, points))
    return figure


def interval_note(what: str, found: Sequence[Approach]) -> str:
    """How the intervals that are drawn were made; empty without any."""
    by_jackknife = [one.name for one in found if one.interval_method == "jackknife"]
    if any(one.interval_method == "bootstrap" for one in found):
        others = f", of {' and '.join(by_jackknife)} by jackknife" if by_jackknife else ""
        return f"{what}: 95% intervals by bootstrap{others}."
    return f"{what}: 95% intervals by jackknife." if by_jackknife else ""


def _powers(axes: Axes, found: Sequence[Approach], field: str, label: str) -> None:
    """The optima of each approach, and its power law with the band."""
    for one, colour, marker, style in zip(found, COLOURS, MARKERS, LINES, strict=True):
        if one.a is None:
            continue
        flops = np.array([at.flops for at in one.line])
        # Optima without an interval are faint.
        faint = one.a_interval is None
        # Approaches that agree overlap; the dashes of the later ones keep the first visible.
        axes.plot(
            flops,
            [getattr(at, field) for at in one.line],
            color=colour,
            lw=1.0 if faint else 1.7,
            ls=style,
            zorder=4,
        )
        ends = [getattr(at, f"{field}_interval") for at in one.line]
        if all(end is not None for end in ends):
            low, high = np.array(ends).T
            axes.fill_between(flops, low, high, color=colour, alpha=0.14, lw=0, zorder=1)
        if [at.flops for at in one.optima] != flops.tolist():  # measured, not points of the line itself
            x, y = [at.flops for at in one.optima], [getattr(at, field) for at in one.optima]
            axes.scatter(
                x,
                y,
                s=16,
                marker=marker,
                color=colour,
                edgecolor="white",
                lw=0.4,
                zorder=3,
                alpha=0.3 if faint or one.name.startswith("envelope") else 0.8,
            )
    log_axis(axes.xaxis, "Training compute C (FLOPs)", "flops", ticks=5)
    log_axis(axes.yaxis, label, "count", ticks=6)


def _exponents(axes: Axes, found: Sequence[Approach]) -> None:
    """One row per approach, with the value and its interval as numbers at the right."""
    rows = [(one, colour, marker) for one, colour, marker in zip(found, COLOURS, MARKERS, strict=True)]
    for y, (one, colour, marker) in enumerate(rows):
        text = "not possible (see below)"
        if one.a is not None:
            if one.a_interval is not None:
                axes.plot(one.a_interval, [y, y], color=colour, lw=2, zorder=4, solid_capstyle="round")
            axes.scatter(one.a, y, s=52, marker=marker, color=colour, edgecolor="white", lw=0.6, zorder=5)
            text = exponent_text(one.a, one.a_interval)
        axes.text(
            1.01, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9,
            color=MUTED if one.a is None else INK,
        )  # fmt: skip
    for (name, values), style in zip(PAPERS.items(), ((0, (4, 2)), (0, (1, 1.2))), strict=True):
        for value in values:
            axes.axvline(value, color=MUTED, lw=0.8, ls=style, zorder=1)
        axes.annotate(
            name, (max(values), 1.0), xycoords=axes.get_xaxis_transform(), xytext=(0, 4),
            textcoords="offset points", ha="right" if len(values) > 1 else "center", va="bottom", fontsize=8,
            color=MUTED,
        )  # fmt: skip
    shown: list[float] = [0.40, 0.80, *(one.a for one in found if one.a is not None)]
    shown += [end for one in found if one.a_interval for end in one.a_interval]
    # Intervals may be very wide; the axis is limited to plausible exponents.
    axes.set_xlim(max(min(shown) - 0.04, -0.3), min(max(shown) + 0.04, 1.4))
    axes.set_yticks(range(len(rows)), [one.name for one, _, _ in rows])
    for tick, (_, colour, _) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(colour)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Exponent a of $N_{opt}$ in compute (0.5: equal growth of parameters and tokens)")


def exponent_text(value: float, interval: tuple[float, float] | None) -> str:
    """An exponent and its interval in the digits that the interval determines."""
    if interval is None:
        return f"{value:.2f}, no interval"
    width = interval[1] - interval[0]
    digits = 2 if width >= 0.02 else 3
    return f"{value:.{digits}f} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def remarks(found: Sequence[Approach], points: Points) -> tuple[str, ...]:
    """Why an approach is missing, and the remarks of the others."""
    out = []
    for one in found:
        if one.refused is not None:
            out.append(f"{one.name}: {one.refused.removeprefix(f'{points.source}: ')}.")
        elif one.notes:
            more = f"; and {len(one.notes) - NOTES} more" if len(one.notes) > NOTES else ""
            out.append(f"{one.name}: {'; '.join(one.notes[:NOTES])}{more}.")
    return tuple(out)


Floats = NDArray[np.float64]

MAX_LEGEND = 9
MAX_REASONS = 3
MAX_NAMED = 3  # budgets listed per reason
MANY = 12  # more minima than this have smaller stars
STAR = 11
CURVES = {"windowed": "windowed parabola", "parabola": "parabola", "akima": "akima"}


def isoflop_figure(sources: Sources, options: Options) -> Figure:
    """Loss against size at each budget with the minima, and the power law of N_opt through them.

    Raises:
        BadInputError: no budget has runs of several sizes, or an option is out of range.
    """
    reduced = tuned(canonical(sources.points), LAWS["chinchilla"])
    points = reduced.points
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
    # Without a minimum there is no second panel.
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
            x, y = np.array(found.minima[least[flops]].curve).T
            valleys.plot(x, y, color=colours[flops], lw=1.3, zorder=3)
    star = STAR if len(found.minima) <= MANY else STAR / 2
    for i, minimum in enumerate(found.minima):
        colour = colours[minimum.flops]
        if (ends := found.interval(i)) is not None:
            valleys.plot(ends, [minimum.loss] * 2, color=INK, lw=1.1, zorder=5, solid_capstyle="round")
        valleys.scatter(
            minimum.params, minimum.loss, s=star**2, marker="*", color=colour, edgecolor=INK, lw=0.8, zorder=6
        )
    log_axis(valleys.xaxis, "Model size N (parameters)", "count")
    log_axis(valleys.yaxis, *label_of("loss", points))
    remarks = _frontier(frontier[0], points, found, colours, options) if frontier else ()
    shown = [flops for flops, _ in groups if flops not in small]
    legend_at_right(figure, _handles(shown, colours, found, options))
    footnote(figure, fitted_note(reduced), counting_note(points), *remarks, *reasons(found.refused))
    return figure


def budget_colours(budgets: Sequence[float]) -> dict[float, str]:
    """A colour per budget, dark to light with compute."""
    places = np.linspace(0.05, 0.88, len(budgets)) if len(budgets) > 1 else [0.4]
    ordered = zip(sorted(budgets), places, strict=True)
    return {budget: to_hex(colormaps["plasma"](place)) for budget, place in ordered}


def _frontier(
    axes: Axes, points: Points, found: IsoFlopMinima, colours: dict[float, str], options: Options
) -> tuple[str, ...]:
    """Draw N_opt against compute; returns remarks for the note."""
    star = STAR if len(found.minima) <= MANY else STAR / 2
    for i, minimum in enumerate(found.minima):
        if (ends := found.interval(i)) is not None:
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
        handles.append(line_handle(MUTED, f"{CURVES[options.method]} through the runs", lw=1.3))
        star: Any = {"marker": "*", "ms": STAR, "mfc": "white", "mec": INK, "mew": 0.8}
        handles.append(Line2D([], [], ls="", label="minimum", **star))
        if options.bootstrap:
            handles.append(line_handle(INK, "95% interval of the minimum", lw=1.1))
    return handles


def reasons(refused: Sequence[Refusal]) -> tuple[str, ...]:
    """Why some budgets have no minimum, grouped by reason."""
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
        out.append(f"Also without a minimum, for other reasons: {plural(left, 'budget')}.")
    if single:
        out.append(f"Not drawn: {plural(single, 'budget')} with runs of one size only.")
    return tuple(out)
