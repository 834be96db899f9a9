"""Interactive figures of losses for the report, as plain Plotly documents."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.read.curves import Curve
from scaling.plots.labels import DistinctFormatter, Unit, compute_label, label_of, scientific, short
from scaling.plots.losses import (
    ROOM,
    band_name,
    compute_limits,
    envelope_order,
    frontier_loss,
    has_frontier,
    held_out,
    loss_limits,
    sizes_in_tokens,
)
from scaling.plots.report_html import PAPER
from scaling.plots.style import (
    ENVELOPE,
    GRID,
    INK,
    LAW,
    MUTED,
    size_colours,
)

MAX_CURVE_POINTS = 160  # enough for a screen; keeps the page small
Trace = dict[str, Any]


def interactive_loss_vs_compute(
    points: Points, law: Law | None, curves: Sequence[Curve] = (), runs: Points | None = None
) -> dict[str, Any]:
    """Loss against compute with the envelope, the law and its band; `runs` of sweeps are faint."""
    traces = _curves(points, curves, "flops") + _faint(points, runs, "flops")
    order = envelope_order(points.flops, points.loss)
    traces.append(
        line_trace(
            points.flops[order],
            points.loss[order],
            f"lower envelope of the {'runs' if runs is None else 'minima'}",
            {"color": ENVELOPE, "dash": "dash"},
        )
    )
    if law is not None and has_frontier(law):
        grid = np.geomspace(points.flops.min(), 10 * points.flops.max(), 120)
        mean, band = frontier_loss(law, grid)
        if band is not None:
            outline = np.concatenate([grid, grid[::-1]]), np.concatenate([band[1], band[0][::-1]])
            traces.append(
                line_trace(*outline, band_name(law), {"width": 0})
                | {"fill": "toself", "fillcolor": "rgba(213,94,0,0.15)", "hoverinfo": "skip"}
            )
        name = "law fitted to all runs" + (", at optimal N and D" if law.frontier() is not None else "")
        traces.append(line_trace(grid, mean, name, {"color": LAW, "width": 2.5}))
    traces += _measured(points, law, "flops")
    if law is not None:
        traces += _predicted(law, "flops")
    return {
        "data": traces,
        "layout": _layout(compute_label(points), points, law, compute_limits(points, law)),
    }


def interactive_loss_vs_tokens(
    points: Points, law: Law | None, curves: Sequence[Curve] = (), runs: Points | None = None
) -> dict[str, Any]:
    """Loss against tokens, one colour per size, with the law at each size; `runs` of sweeps are faint."""
    traces = _curves(points, curves, "tokens") + _faint(points, runs, "tokens")
    if law is not None and law.form.variables == ("params", "tokens") and law.form.target == "loss":
        colours = size_colours(points.params.tolist())
        for size, colour, (low, high) in sizes_in_tokens(points.params, points.tokens, colours):
            grid = np.geomspace(low, high, 50)
            line = line_trace(
                grid, law.predict(params=size, tokens=grid), "law", {"color": colour, "width": 1.6}
            )
            traces.append(line | {"showlegend": False, "legendgroup": f"{size:g}"})
    traces += _measured(points, law, "tokens")
    if law is not None:
        traces += _predicted(law, "tokens")
    label, _ = label_of("tokens", points)
    ends = points.tokens.min() / ROOM, points.tokens.max() * ROOM
    return {"data": traces, "layout": _layout(label, points, law, ends)}


def _faint(points: Points, runs: Points | None, x: str) -> list[Trace]:
    """The runs of sweeps of settings, small, in the colours of their sizes."""
    if runs is None:
        return []
    colours = size_colours(points.params.tolist())
    trace = point_trace(runs, np.arange(len(runs)), x, runs.loss, "runs of sweeps", MUTED)
    marker = {"size": 4, "color": [colours.get(size, MUTED) for size in runs.params.tolist()]}
    return [trace | {"opacity": 0.45, "marker": marker}]


def _measured(points: Points, law: Law | None, x: str) -> list[Trace]:
    held = held_out(points, law)
    traces = []
    for size, colour in size_colours(points.params.tolist()).items():
        index = np.flatnonzero(points.params == size)
        hollow = held[index].tolist()
        trace = point_trace(points, index, x, points.loss[index], f"N = {short(size)}", colour, hollow)
        traces.append(trace | {"legendgroup": f"{size:g}"})
    return traces


def point_trace(
    points: Points,
    index: NDArray[np.int64],
    x: str,
    y: NDArray[np.float64],
    name: str,
    colour: str,
    hollow: Sequence[bool] | bool = False,
) -> Trace:
    """Markers of runs at column `x` and values `y`; hovering shows the run, its N, D, C and loss."""
    out = [hollow] * len(index) if isinstance(hollow, bool) else list(hollow)
    held_out = not isinstance(hollow, bool)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": getattr(points, x)[index].tolist(),
        "y": y.tolist(),
        # Plotly interprets a subset of HTML in hover text, so names are escaped here too.
        "text": [html.escape(points.groups[i]) for i in index],
        "customdata": [
            [
                f"{points.params[i]:,.0f}",
                f"{points.tokens[i]:,.0f}",
                scientific(points.flops[i]),
                f"{points.loss[i]:.4f}",
                "<br>held out" if empty and held_out else "",
            ]
            for i, empty in zip(index, out, strict=True)
        ],
        "hovertemplate": "<b>%{text}</b><br>N %{customdata[0]}<br>D %{customdata[1]} tokens"
        f"<br>C %{{customdata[2]}} FLOPs<br>loss %{{customdata[3]}} {points.loss_unit}"
        "%{customdata[4]}<extra></extra>",
        "marker": {
            "size": 9,
            "color": ["#ffffff" if empty else colour for empty in out],
            "line": {
                "width": [2 if empty else 1 for empty in out],
                "color": [colour if empty else "#ffffff" for empty in out],
            },
        },
    }


def _curves(points: Points, curves: Sequence[Curve], x: str) -> list[Trace]:
    colours = size_colours(points.params.tolist())
    traces = []
    for curve in curves:
        if not len(curve.loss):
            continue
        kept = np.flatnonzero(curve.after_start())
        pick = kept[np.unique(np.linspace(0, len(kept) - 1, MAX_CURVE_POINTS).astype(int))]
        line = {"color": colours.get(curve.params, MUTED), "width": 1}
        trace = line_trace(getattr(curve, x)[pick], curve.smoothed()[pick], "training loss", line)
        group = f"{curve.params:g}" if curve.params in colours else "curves"
        traces.append(
            trace | {"opacity": 0.35, "showlegend": False, "legendgroup": group, "hoverinfo": "skip"}
        )
    return traces


def _predicted(law: Law, x: str) -> list[Trace]:
    if law.holdout is None:
        return []
    shown = law.holdout.predictions
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "predicted without the held-out runs",
        "x": [getattr(p, x) for p in shown],
        "y": [p.predicted for p in shown],
        "text": [html.escape(p.group) for p in shown],
        "customdata": [[f"{p.measured:.4f}", f"{p.rel_error:+.2%}"] for p in shown],
        "hovertemplate": "<b>%{text}</b><br>predicted %{y:.4f}<br>measured %{customdata[0]}"
        "<br>error %{customdata[1]}<extra></extra>",
        "marker": {"symbol": "line-ew-open", "size": 13, "color": INK, "line": {"width": 2, "color": INK}},
    }
    intervals = [p.interval for p in shown if p.interval is not None]
    if len(intervals) == len(shown):
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [end[1] - p.predicted for end, p in zip(intervals, shown, strict=True)],
            "arrayminus": [p.predicted - end[0] for end, p in zip(intervals, shown, strict=True)],
            "color": INK,
            "thickness": 1.2,
            "width": 0,
        }
    return [trace]


def line_trace(x: NDArray[np.float64], y: NDArray[np.float64], name: str, line: dict[str, Any]) -> Trace:
    """A line with coordinates rounded to six digits."""
    round_y = [float(f"{v:.6g}") for v in y]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [float(f"{v:.6g}") for v in x],
        "y": round_y,
        "line": line,
        "hovertemplate": "%{x:.3s}: %{y:.4f}<extra>" + name + "</extra>",
    }


def _layout(title: str, points: Points, law: Law | None, ends: tuple[float, float]) -> dict[str, Any]:
    """Axes that start at the final losses; training curves above can be moved into view."""
    loss, _ = label_of("loss", points)
    form = "power" if "FLOPs" in title else "B"
    return base_layout() | {
        "xaxis": log_axis_layout(html.escape(title), ends, form),
        "yaxis": log_axis_layout(loss, loss_limits(points, law, beyond=form == "power")),
    }


def log_axis_layout(
    title: str, ends: tuple[float, float] | None = None, form: str = "none"
) -> dict[str, Any]:
    """A logarithmic axis.

    Args:
        title: HTML markup.
        ends: the limits; None leaves them to Plotly.
        form: of tick labels: "power" for powers of ten, "B" for 3M and 2B, "none" for numbers.
    """
    axis: dict[str, Any] = {
        "type": "log",
        "gridcolor": GRID,
        "linecolor": MUTED,
        "zeroline": False,
        "ticks": "outside",
        "exponentformat": form,
        "title": {"font": {"size": 13}, "standoff": 10, "text": title},
        "nticks": 8,
        "automargin": True,
    }
    if ends is None:
        return axis
    low, high = (float(np.log10(end)) for end in ends)
    axis["range"] = [low, high]
    if high - low > 1.2:  # at most one tick per decade; Plotly would label 2 and 5 with bare digits
        axis["dtick"] = max(1, int(np.ceil((high - low) / 8)))
    else:
        ticks = np.unique(np.round(nice_ticks(10**low, 10**high), 12))
        axis |= {"tickmode": "array", "tickvals": ticks.tolist(), "ticktext": _tick_texts(ticks, form)}
    return axis


def nice_ticks(low: float, high: float) -> NDArray[np.float64]:
    """Round values between two limits within about a decade."""
    ticks = np.array(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    return ticks[(ticks >= low) & (ticks <= high)]


def _tick_texts(ticks: NDArray[np.float64], form: str) -> list[str]:
    units: dict[str, Unit] = {"power": "flops", "B": "count"}
    return DistinctFormatter(units.get(form, "plain")).format_ticks(ticks.tolist())


def base_layout() -> dict[str, Any]:
    """The layout shared by all figures. The top margin holds the toolbar, away from labels."""
    return {
        "font": {
            "family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif",
            "size": 12,
            "color": INK,
        },
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 60, "r": 12, "t": 48, "b": 56},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK}, "align": "left"},
        "legend": {"x": 1.01, "xanchor": "left", "y": 1},
        "hovermode": "closest",
    }
