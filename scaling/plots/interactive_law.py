"""Interactive figures of a law for the report: isoFLOP minima, exponents, residuals, contours, profiles."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.frontier.approaches import Approach
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.frontier.isoflop import IsoFlopMinima
from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.plots.compute_optimal import COLOURS, PAPERS, budget_colours
from scaling.plots.interactive import base_layout, line_trace, log_axis_layout, point_trace
from scaling.plots.labels import compute_label, label_of, markup, quantity, scientific, short
from scaling.plots.law_figures import log_residuals, surface
from scaling.plots.report_html import PAPER
from scaling.plots.style import (
    ENVELOPE,
    GRID,
    INK,
    LAW,
    MUTED,
    size_colours,
)
from scaling.plots.uncertainty import ProfileCurve

Floats = NDArray[np.float64]
Document = dict[str, Any]
SHADE = "rgba(213,94,0,0.15)"
SURFACE = 3  # every third row and column of the surface suffices on a screen


def interactive_isoflop(points: Points, found: IsoFlopMinima, tolerance: float) -> Document:
    """Loss against N at each budget with several sizes, with its curve and minimum."""
    groups = isoflop_groups(points, tolerance=tolerance)
    colours = budget_colours([flops for flops, _ in groups])
    least = {minimum.flops: i for i, minimum in enumerate(found.minima)}
    traces = []
    for flops, members in groups:
        if len(np.unique(points.params[members])) < 2:
            continue
        colour, name = colours[flops], f"{scientific(flops)} FLOPs"
        mark = point_trace(points, members, "params", points.loss[members], name, colour, flops not in least)
        traces.append(mark | {"legendgroup": name})
        if flops not in least:
            continue
        x, y = np.array(found.minima[least[flops]].curve).T
        traces.append(
            line_trace(x, y, found.method, {"color": colour, "width": 1.5})
            | {"showlegend": False, "legendgroup": name}
        )
        i = least[flops]
        minimum, ends = found.minima[i], found.interval(i)
        between = "" if ends is None else f"<br>95% interval {short(ends[0])} to {short(ends[1])}"
        star: Document = {
            "type": "scatter",
            "mode": "markers",
            "x": [minimum.params],
            "y": [minimum.loss],
            "showlegend": False,
            "legendgroup": name,
            "marker": {"symbol": "star", "size": 14, "color": colour, "line": {"color": INK, "width": 1}},
            "hovertemplate": f"<b>minimum</b><br>N {short(minimum.params)}, D {short(minimum.tokens)}"
            f"{between}<extra>{name}</extra>",
        }
        if ends is not None:
            star["error_x"] = {
                "type": "data", "symmetric": False, "array": [ends[1] - minimum.params],
                "arrayminus": [minimum.params - ends[0]], "color": INK, "thickness": 1.2, "width": 0,
            }  # fmt: skip
        traces.append(star)
    layout = base_layout()
    shown = np.concatenate([m for f, m in groups if len(np.unique(points.params[m])) > 1])
    layout["xaxis"] = log_axis_layout("Model size N (parameters)", _ends(points.params[shown]), "B")
    layout["yaxis"] = log_axis_layout(label_of("loss", points)[0], _ends(points.loss[shown]))
    return {"data": traces, "layout": layout}


def interactive_exponents(found: Sequence[Approach]) -> Document:
    """The exponents a with their intervals, and published exponents as lines."""
    traces: list[Document] = []
    for one, colour in zip(found, COLOURS, strict=True):
        if one.a is None:
            continue
        ends = (
            "no interval"
            if one.a_interval is None
            else "95% interval {:.3f} to {:.3f}".format(*one.a_interval)
        )
        trace: Document = {
            "type": "scatter",
            "mode": "markers",
            "x": [one.a],
            "y": [one.name],
            "marker": {"size": 11, "color": colour},
            "showlegend": False,
            "hovertemplate": f"<b>{html.escape(one.name)}</b><br>a {one.a:.3f}<br>{ends}<extra></extra>",
        }
        if one.a_interval is not None:
            trace["error_x"] = {
                "type": "data", "symmetric": False, "array": [one.a_interval[1] - one.a],
                "arrayminus": [one.a - one.a_interval[0]], "color": colour, "thickness": 2.5, "width": 0,
            }  # fmt: skip
        traces.append(trace)
    layout = base_layout()
    layout["xaxis"] = _linear("Exponent a in N<sub>opt</sub> = k C<sup>a</sup>")
    layout["yaxis"] = {"type": "category", "automargin": True, "autorange": "reversed", "showgrid": False}
    dashes = ("dash", "dot")
    layout["shapes"] = [
        {
            "type": "line", "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": INK, "width": 1, "dash": dash}, "layer": "between",
        }
        for values, dash in zip(PAPERS.values(), dashes, strict=True)
        for value in values
    ]  # fmt: skip
    layout["annotations"] = [
        {
            "x": max(values), "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False,
            "text": name.split(" et al.")[0],
            "xanchor": "right" if len(values) > 1 else "center", "font": {"size": 11, "color": MUTED},
        }
        for name, values in PAPERS.items()
    ]  # fmt: skip
    return {"data": traces, "layout": layout}


def interactive_residuals(law: Law, points: Points) -> Document:
    """Log residuals against compute, coloured by size."""
    residual, chosen = log_residuals(law, points)
    traces = []
    for size, colour in size_colours(points.params.tolist()).items():
        index = np.flatnonzero(chosen & (points.params == size))
        traces.append(
            point_trace(points, index, "flops", 100 * residual[index], f"N = {short(size)}", colour)
        )
    layout = base_layout()
    layout["xaxis"] = log_axis_layout(html.escape(compute_label(points)), _ends(points.flops), "power")
    layout["yaxis"] = _linear("Log of measured over predicted loss") | {
        "zeroline": True,
        "zerolinecolor": INK,
        "ticksuffix": "%",
    }
    return {"data": traces, "layout": layout}


def interactive_contours(law: Law, points: Points) -> Document:
    """The surface of a law of N and D with the runs and the compute-optimal path."""
    tokens, params, loss = surface(law, points)
    traces: list[Document] = [
        {
            "type": "contour",
            "x": _short(tokens[::SURFACE]),
            "y": _short(params[::SURFACE]),
            "z": [_short(row) for row in loss[::SURFACE, ::SURFACE]],
            "colorscale": [[0, "#9aa3af"], [1, PAPER]],
            "ncontours": 16,
            "contours": {"showlabels": True, "labelfont": {"size": 10, "color": INK}},
            "line": {"width": 0.8, "color": MUTED},
            "showscale": False,
            "name": "law",
            "hovertemplate": "D %{x:.3s}, N %{y:.3s}<br>loss %{z:.4f}<extra>law</extra>",
        }
    ]
    if (frontier := law.frontier()) is not None:
        flops = np.geomspace(6 * params[0] * tokens[0], 6 * params[-1] * tokens[-1], 60)
        x, y = frontier.tokens(flops), frontier.params(flops)
        inside = (x >= tokens[0]) & (x <= tokens[-1]) & (y >= params[0]) & (y <= params[-1])
        path = line_trace(x[inside], y[inside], "compute-optimal path", {"color": LAW, "width": 3})
        traces.append(path | {"hovertemplate": "D %{x:.3s}, N %{y:.3s}<extra>compute-optimal</extra>"})
    every = np.arange(len(points))
    traces.append(point_trace(points, every, "tokens", points.params, "runs", ENVELOPE))
    layout = base_layout()
    layout["xaxis"] = log_axis_layout("Training tokens D (tokens)", (tokens[0], tokens[-1]), "B")
    layout["yaxis"] = log_axis_layout("Model size N (parameters)", (params[0], params[-1]), "B")
    return {"data": traces, "layout": layout}


def interactive_profile(law: Law, profile: ProfileCurve) -> Document:
    """The objective above its minimum with one quantity held at other values."""
    layout = base_layout() | {"showlegend": False, "annotations": [], "shapes": []}
    layout["margin"] = {"l": 50, "r": 12, "t": 30, "b": 44}
    left, right = profile.shown
    inside = (profile.grid >= left) & (profile.grid <= right)
    line = {"color": ENVELOPE, "width": 2}
    trace = line_trace(profile.grid[inside], profile.rise[inside], "profile", line)
    hover = {"hovertemplate": "%{x:.4g}: %{y:.3g}<extra></extra>"}
    title = markup(quantity(profile.name, law.parameters))
    layout["xaxis"] = (
        log_axis_layout(title, (left, right)) if profile.wide else _linear(title) | {"nticks": 5}
    )
    layout["yaxis"] = _linear("") | {"nticks": 5, "rangemode": "tozero"}
    low, high = profile.interval
    shape: Document = {"xref": "x", "yref": "y domain", "y0": 0, "y1": 1, "layer": "below"}
    layout["shapes"].append(
        shape | {"type": "rect", "x0": low, "x1": high, "fillcolor": SHADE, "line": {"width": 0}}
    )
    if profile.estimate is not None:
        at = {"x0": profile.estimate, "x1": profile.estimate, "line": {"color": LAW, "width": 1.5}}
        layout["shapes"].append(shape | {"type": "line"} | at)
    if not profile.identified:
        note: Document = {"x": 0, "y": 1, "xref": "paper", "yref": "paper", "yanchor": "bottom"}
        font = {"size": 11, "color": MUTED}
        layout["annotations"].append(note | {"text": "not identified", "showarrow": False, "font": font})
    return {"data": [trace | hover], "layout": layout}


def _ends(values: Floats) -> tuple[float, float]:
    """The minimum and maximum with some margin."""
    room = max((values.max() / values.min()) ** 0.06, 1.01)
    return float(values.min() / room), float(values.max() * room)


def _short(values: Floats) -> list[float]:
    return [float(f"{v:.5g}") for v in values]


def _linear(title: str) -> Document:
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 8},
        "automargin": True,
        "gridcolor": GRID,
        "linecolor": MUTED,
        "zeroline": False,
        "ticks": "outside",
        "exponentformat": "power",
    }
