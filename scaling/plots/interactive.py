"""The report's two interactive figures, as plain Plotly documents."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.envelope import lower_envelope
from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.plots.curves import Curve
from scaling.plots.losses import frontier_loss, has_frontier, held_out
from scaling.plots.style import ENVELOPE, GRID, INK, LAW, MUTED, scientific, short, size_colours

MAX_CURVE_POINTS = 160  # a line on a screen shows no more, and the page stays small
Trace = dict[str, Any]


def interactive_loss_vs_compute(
    points: Points, law: LawFit | None, curves: Sequence[Curve] = ()
) -> dict[str, Any]:
    """Loss against compute with the envelope, the law and its band; hover shows a run."""
    traces = _curves(points, curves, "flops")
    order = np.flatnonzero(lower_envelope(np.log(points.flops), np.log(points.loss)))
    order = order[np.argsort(points.flops[order])]
    traces.append(
        line_trace(
            points.flops[order], points.loss[order], "lower envelope", {"color": ENVELOPE, "dash": "dash"}
        )
    )
    if law is not None and has_frontier(law):
        grid = np.geomspace(points.flops.min(), 10 * points.flops.max(), 120)
        mean, band = frontier_loss(law, grid)
        if band is not None:
            around = np.concatenate([grid, grid[::-1]]), np.concatenate([band[1], band[0][::-1]])
            traces.append(
                line_trace(*around, "bootstrap band", {"width": 0})
                | {"fill": "toself", "fillcolor": "rgba(213,94,0,0.15)", "hoverinfo": "skip"}
            )
        name = "compute-optimal loss" if law.frontier() is not None else "fitted law"
        traces.append(line_trace(grid, mean, name, {"color": LAW, "width": 2.5}))
    traces += _measured(points, law, "flops")
    if law is not None:
        traces += _predicted(law, "flops")
    return {
        "data": traces,
        "layout": _layout(
            f"Training compute C (FLOPs: {points.counting['flops']})", points, points.flops, 10.0
        ),
    }


def interactive_loss_vs_tokens(
    points: Points, law: LawFit | None, curves: Sequence[Curve] = ()
) -> dict[str, Any]:
    """Loss against tokens, one colour a size, with the law at each size; hover shows a run."""
    traces = _curves(points, curves, "tokens")
    if law is not None and law.form.variables == ("params", "tokens") and law.form.target == "loss":
        for size, colour in size_colours(points.params.tolist()).items():
            seen = points.tokens[points.params == size]
            grid = np.geomspace(seen.min() / 1.6, seen.max() * 1.6, 50)
            line = line_trace(
                grid, law.predict(params=size, tokens=grid), "law", {"color": colour, "width": 1.6}
            )
            traces.append(line | {"showlegend": False, "legendgroup": f"{size:g}"})
    traces += _measured(points, law, "tokens")
    if law is not None:
        traces += _predicted(law, "tokens")
    return {"data": traces, "layout": _layout("Training tokens D (tokens)", points, points.tokens, 2.0)}


def _measured(points: Points, law: LawFit | None, x: str) -> list[Trace]:
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
    """Runs as markers, `y` at the points' column `x`; hover tells the run, its N, D, C and loss."""
    out = [hollow] * len(index) if isinstance(hollow, bool) else list(hollow)
    held_out = not isinstance(hollow, bool)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": getattr(points, x)[index].tolist(),
        "y": y.tolist(),
        # Plotly reads a subset of HTML in hover text: names must be escaped for it too.
        "text": [html.escape(points.groups[i]) for i in index],
        "customdata": [
            [
                f"{points.params[i]:,.0f}",
                f"{points.tokens[i]:,.0f}",
                scientific(points.flops[i]),
                f"{points.loss[i]:.4f}",
                "<br>held out of the tested fit" if empty and held_out else "",
            ]
            for i, empty in zip(index, out, strict=True)
        ],
        "hovertemplate": "<b>%{text}</b><br>N %{customdata[0]}<br>D %{customdata[1]} tokens"
        "<br>C %{customdata[2]} FLOPs<br>loss %{customdata[3]} nats per token%{customdata[4]}<extra></extra>",
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
        pick = np.unique(np.linspace(0, len(curve.loss) - 1, MAX_CURVE_POINTS).astype(int))
        line = {"color": colours.get(curve.params, MUTED), "width": 1}
        trace = line_trace(getattr(curve, x)[pick], curve.smoothed()[pick], "training loss", line)
        group = f"{curve.params:g}" if curve.params in colours else "curves"
        traces.append(
            trace | {"opacity": 0.35, "showlegend": False, "legendgroup": group, "hoverinfo": "skip"}
        )
    return traces


def _predicted(law: LawFit, x: str) -> list[Trace]:
    if law.holdout is None:
        return []
    shown = law.holdout.predictions
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "held out: predicted",
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
    """A line, in six digits."""
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


def _layout(x_title: str, points: Points, x: NDArray[np.float64], beyond: float) -> dict[str, Any]:
    """Axes that open on the points, and `beyond` times further right; the legend beside the data."""
    # Curves begin at the loss of an untrained model; the view opens on the points and can be moved.
    low, high = np.log10(points.loss.min()), np.log10(points.loss.max())
    room = max(0.02, 0.12 * (high - low))
    return base_layout() | {
        "xaxis": log_axis_layout(html.escape(x_title))
        | {"range": [float(np.log10(x.min() / 4)), float(np.log10(beyond * x.max()))], "dtick": 1},
        "yaxis": log_axis_layout("Validation loss (nats per token)")
        | {
            "range": [float(low - 2 * room), float(high + 1.5 * room)],
            "exponentformat": "none",
            "nticks": 8,
            "tickformat": ".3~f",
        },
    }


def log_axis_layout(title: str) -> dict[str, Any]:
    """A logarithmic axis; `title` is markup."""
    return {
        "type": "log",
        "gridcolor": GRID,
        "linecolor": MUTED,
        "zeroline": False,
        "ticks": "outside",
        "exponentformat": "power",
        "title": {"font": {"size": 13}, "standoff": 10, "text": title},
    }


def base_layout() -> dict[str, Any]:
    """What all figures of the page have in common."""
    return {
        "font": {
            "family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif",
            "size": 12,
            "color": INK,
        },
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 60, "r": 12, "t": 34, "b": 56},
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": MUTED, "font": {"color": INK}, "align": "left"},
        "legend": {"x": 1.01, "xanchor": "left", "y": 1},
        "hovermode": "closest",
    }
