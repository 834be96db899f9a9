"""Errors of the rolled hold-out against reach, with what the law's intervals promise there."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scaling.config.reach_errors import BEYOND, ErrorsByReach
from scaling.laws.law import Law
from scaling.laws.read.inputs import Sources
from scaling.plots.interactive import base_layout, line_trace, log_axis_layout
from scaling.plots.kinds import Options
from scaling.plots.labels import greek, log_axis, variable_name
from scaling.plots.report_html import html_table, maybe, number_cell, text_cell
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
    spots,
)
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]
MEASURES = {"flops": "compute", "params": "parameters", "tokens": "tokens"}


def measured(law: Law) -> ErrorsByReach | None:
    """The errors by reach of a law that has some."""
    errors = law.rolling_by_reach
    return errors if errors is not None and errors.bins else None


def centre(errors: ErrorsByReach, i: int) -> float:
    """The middle of a bin of reach, in the logarithm; of the last, up to the largest reach measured."""
    one = errors.bins[i]
    return float(np.sqrt(one.low * min(one.high or np.inf, max(errors.largest, one.low))))


def half_widths(law: Law, reach: Floats) -> tuple[Floats, Floats] | None:
    """Half-widths of the law's own 95% interval at a reach and of the widened one, as shares of it.

    On the compute-optimal frontier, or at the law's only variable; None where the law has neither.
    """
    errors = law.rolling_by_reach
    assert errors is not None
    size = reach * law.ranges[errors.measure][1]
    frontier = law.frontier()
    if law.form.variables == (errors.measure,):
        place = {errors.measure: size}
    elif errors.measure == "flops" and frontier is not None:
        place = {"params": frontier.params(size), "tokens": frontier.tokens(size)}
    else:
        return None
    value, both = law.predict(**place), (law.interval(**place), law.widened(**place))
    if both[0] is None or both[1] is None:
        return None
    own, wide = ((ends[1] - ends[0]) / (2 * value) for ends in both if ends is not None)
    return own, wide


def reach_grid(errors: ErrorsByReach) -> Floats:
    """Where bands are drawn: to ten times the largest reach measured, the furthest with an interval."""
    return np.geomspace(1.02, 0.99 * BEYOND * errors.largest, 60)


def errors_by_reach_figure(sources: Sources, options: Options) -> Figure:
    """Sizes of the errors against reach, their mean in each bin, and the half-widths of intervals.

    Raises:
        BadInputError: no law, or one without a rolled hold-out.
    """
    law = sources.need_law("errors-by-reach")
    errors = measured(law)
    if errors is None:
        raise BadInputError(
            f"errors-by-reach: the {law.law} law has no rolled hold-out that predicts beyond its data; fit "
            "it with --rolling 4, to more budgets"
        )
    figure, axes = canvas(f"Errors of predictions by the {law.law} law")
    size = 100 * np.abs(errors.rel_errors)
    axes.scatter(errors.reaches, size, color=ENVELOPE, zorder=4, **spots(len(size), 26))
    middles = [centre(errors, i) for i in range(len(errors.bins))]
    means = [100 * one.mean_abs_rel_error for one in errors.bins]
    axes.plot(middles, means, color=INK, lw=1.2, marker="D", ms=5.5, zorder=6)
    handles = [
        marker_handle(ENVELOPE, "rolled prediction"),
        line_handle(INK, "mean of a bin,\neach point once", lw=1.2, marker="D", ms=5.5),
    ]
    expected = [one.expected_abs_rel_error for one in errors.bins]
    if None not in expected:
        axes.plot(middles, [100 * (e or 0) for e in expected], color=MUTED, lw=1.4, ls=(0, (4, 2)), zorder=5)
        handles.append(
            line_handle(MUTED, "mean explained by\nintervals of the\nrolled fits", lw=1.4, ls="--")
        )
    grid = reach_grid(errors)
    top = float(size.max())
    if (widths := half_widths(law, grid)) is not None:
        own, wide = (100 * one for one in widths)
        axes.fill_between(grid, 0, wide, color=LAW, alpha=0.12, lw=0, zorder=1)
        axes.plot(grid, wide, color=LAW, lw=1.8, zorder=3)
        axes.plot(grid, own, color=LAW, lw=1.2, ls=":", zorder=3)
        handles.append(line_handle(LAW, "half-width of the\n95% interval, widened", lw=1.8))
        handles.append(line_handle(LAW, "its own", lw=1.2, ls=":"))
        top = max(top, float(np.nanmax(wide)))
    axes.axvline(errors.largest, color=MUTED, lw=0.8, zorder=2)
    handles.append(line_handle(MUTED, "largest reach\nmeasured", lw=0.8))
    axes.set_xlim(1, grid[-1])
    axes.set_ylim(0, 1.06 * top)
    word = MEASURES.get(errors.measure, errors.measure)
    log_axis(axes.xaxis, f"Reach: {word} over the largest {word} fitted", "plain")
    axes.set_ylabel(f"Size of the relative error of {variable_name(law.form.target)} (%)")
    legend_at_right(figure, handles)
    footnote(figure, f"{greek(law.equation)}. {note(errors)}")
    return figure


def note(errors: ErrorsByReach) -> str:
    """What the growth is, and what was counted."""
    growth = "" if errors.growth is None else f"Bias per factor of 10 of reach: {errors.growth:+.2%}"
    error = "" if errors.growth_error is None else f", standard error {errors.growth_error:.2%}"
    return (
        f"{growth}{error}. {errors.n_predictions} predictions of {errors.n_points} points of {errors.n_runs} "
        f"runs, from {errors.n_fits} fits to smaller runs. Intervals of predictions are widened by it "
        f"up to {BEYOND:g} times the largest reach measured; there are none beyond."
    ).replace("-", "\N{MINUS SIGN}")


def interactive_errors_by_reach(law: Law, errors: ErrorsByReach) -> dict[str, Any]:
    """The same for the report."""
    size = [float(f"{100 * abs(one):.4g}") for one in errors.rel_errors]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "rolled prediction",
            "x": list(errors.reaches),
            "y": size,
            "marker": {"color": ENVELOPE, "size": 7},
            "hovertemplate": "%{x:.3g} times: %{y:.3g}%<extra></extra>",
        }
    ]
    grid = reach_grid(errors)
    if (widths := half_widths(law, grid)) is not None:
        names = ("half-width of the law's own 95% interval", "widened")
        lines = ({"color": LAW, "width": 1.5, "dash": "dot"}, {"color": LAW, "width": 2})
        traces += [
            line_trace(grid, 100 * one, name, line)
            for one, name, line in zip(widths, names, lines, strict=True)
        ]
    layout = base_layout()
    word = MEASURES.get(errors.measure, errors.measure)
    layout["xaxis"] = log_axis_layout(f"Reach: {word} over the largest {word} fitted", (1.0, float(grid[-1])))
    layout["yaxis"] = {
        "title": {"text": "Size of the relative error", "font": {"size": 13}, "standoff": 8},
        "ticksuffix": "%",
        "rangemode": "tozero",
        "automargin": True,
    }
    return {"data": traces, "layout": layout}


def reach_table(errors: ErrorsByReach) -> str:
    """The errors in each bin of reach."""
    head = ["reach", "points", "runs", "predictions", "mean error", "expected", "mean, signed"]
    head += ["standard error", "inside the 95% interval"]
    rows = [
        [
            text_cell(f"above {b.low:g}" + ("" if b.high is None else f" to {b.high:g}") + " times"),
            number_cell(str(b.n_points)),
            number_cell(str(b.n_runs)),
            number_cell(str(b.n_predictions)),
            number_cell(f"{b.mean_abs_rel_error:.2%}"),
            number_cell(maybe(b.expected_abs_rel_error, ".2%")),
            number_cell(f"{b.mean_rel_error:+.2%}"),
            number_cell(maybe(b.standard_error, ".2%")),
            number_cell(maybe(b.inside, ".0%")),
        ]
        for b in errors.bins
    ]
    return html_table(head, rows)


def by_reach_section(law: Law) -> str:
    """The table of the report; empty if law.json has no errors by reach."""
    errors = measured(law)
    if errors is None:
        return ""
    words = (
        "Each point counts once in a bin, whatever the number of cut-offs that it is predicted from. "
        "Expected: the mean error that the law's own uncertainty and the noise of a run explain."
    )
    return f"<section><h2>Errors by reach</h2><p>{words}</p>{reach_table(errors)}</section>"
