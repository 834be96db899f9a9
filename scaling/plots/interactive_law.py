"""The report's figures of the law, for Plotly: isoFLOP valleys, exponents, residuals, contours, profiles."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.approaches import Approach
from scaling.laws.isoflop import IsoFlopMinima, isoflop_groups
from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.plots.allocation import COLOURS, PAPERS
from scaling.plots.contours import surface
from scaling.plots.interactive import base_layout, line_trace, log_axis_layout, point_trace
from scaling.plots.isoflops import budget_colours, interval_of, valley
from scaling.plots.profiles import WIDE, Profile
from scaling.plots.residuals import log_residuals
from scaling.plots.style import ENVELOPE, GRID, INK, LAW, MUTED, scientific, short, size_colours

Floats = NDArray[np.float64]
Document = dict[str, Any]
SURFACE = 3  # every third row and column of the surface is enough on a screen


def interactive_isoflop(points: Points, found: IsoFlopMinima, tolerance: float) -> Document:
    """Loss against N at each budget of several sizes, with its curve and minimum; hover shows a run."""
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
        x, y = valley(points.subset(members.tolist()), found.method)
        traces.append(
            line_trace(x, y, found.method, {"color": colour, "width": 1.5})
            | {"showlegend": False, "legendgroup": name}
        )
        i = least[flops]
        minimum, ends = found.minima[i], interval_of(found, i)
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
    layout["xaxis"] = log_axis_layout("Model size N (parameters)")
    layout["yaxis"] = log_axis_layout("Validation loss (nats per token)") | {
        "nticks": 8,
        "tickformat": ".3~f",
    }
    return {"data": traces, "layout": layout}


def interactive_exponents(found: Sequence[Approach]) -> Document:
    """The exponents a with their intervals, and those that papers print as lines."""
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
    layout["xaxis"] = _linear("a in N<sub>opt</sub> = k C<sup>a</sup>")
    layout["yaxis"] = {"type": "category", "automargin": True, "autorange": "reversed", "showgrid": False}
    dashes = ("dash", "dot")
    layout["shapes"] = [
        {
            "type": "line", "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": INK, "width": 1, "dash": dash}, "layer": "below",
        }
        for values, dash in zip(PAPERS.values(), dashes, strict=True)
        for value in values
    ]  # fmt: skip
    layout["annotations"] = [
        {
            "x": max(values), "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False, "text": name,
            "xanchor": "right" if len(values) > 1 else "center", "font": {"size": 11, "color": MUTED},
        }
        for name, values in PAPERS.items()
    ]  # fmt: skip
    return {"data": traces, "layout": layout}


def interactive_residuals(law: LawFit, points: Points) -> Document:
    """Log residuals against compute, coloured by size; hover shows a run."""
    residual, chosen = log_residuals(law, points)
    traces = []
    for size, colour in size_colours(points.params.tolist()).items():
        index = np.flatnonzero(chosen & (points.params == size))
        traces.append(
            point_trace(points, index, "flops", 100 * residual[index], f"N = {short(size)}", colour)
        )
    layout = base_layout()
    layout["xaxis"] = log_axis_layout(f"Training compute C (FLOPs: {points.counting['flops']})") | {
        "dtick": 1
    }
    layout["yaxis"] = _linear("Log of measured over predicted loss") | {
        "zeroline": True,
        "zerolinecolor": INK,
        "ticksuffix": "%",
    }
    return {"data": traces, "layout": layout}


def interactive_contours(law: LawFit, points: Points) -> Document:
    """The surface of a law of N and D, the runs on it and the compute-optimal path."""
    tokens, params, loss = surface(law, points)
    traces: list[Document] = [
        {
            "type": "contour",
            "x": _short(tokens[::SURFACE]),
            "y": _short(params[::SURFACE]),
            "z": [_short(row) for row in loss[::SURFACE, ::SURFACE]],
            "colorscale": [[0, "#9aa3af"], [1, "#ffffff"]],
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
    layout["xaxis"] = log_axis_layout("Training tokens D (tokens)")
    layout["yaxis"] = log_axis_layout("Model size N (parameters)")
    return {"data": traces, "layout": layout}


def interactive_profiles(law: LawFit, profiles: Sequence[Profile]) -> Document:
    """A panel a parameter: the objective over its least as the parameter is held at other values."""
    layout = base_layout() | {"showlegend": False, "annotations": [], "shapes": []}
    traces = []
    share = 1 / len(profiles)
    for i, profile in enumerate(profiles):
        number = "" if i == 0 else str(i + 1)
        place = [i * share + 0.02 * (i > 0), (i + 1) * share - 0.02]
        over = profile.objective - min(float(profile.objective.min()), law.objective.value)
        trace = line_trace(profile.grid, over, "profile", {"color": ENVELOPE, "width": 2})
        traces.append(
            trace
            | {
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "hovertemplate": "%{x:.4g}: %{y:.3g}<extra></extra>",
            }
        )
        wide = profile.grid[0] > 0 and profile.grid[-1] > WIDE * profile.grid[0]
        layout[f"xaxis{number}"] = (log_axis_layout if wide else _linear)(html.escape(profile.name)) | {
            "domain": place,
            "nticks": 4,
            "anchor": f"y{number}",
        }
        title = "Objective over its least" if i == 0 else ""
        layout[f"yaxis{number}"] = _linear(title) | {
            "anchor": f"x{number}",
            "nticks": 4,
            "tickfont": {"size": 10},
        }
        low = float(profile.grid[0]) if profile.low is None else profile.low
        high = float(profile.grid[-1]) if profile.high is None else profile.high
        layout["shapes"].append(
            {
                "type": "rect", "xref": f"x{number}", "yref": f"y{number} domain", "x0": low, "x1": high,
                "y0": 0, "y1": 1, "fillcolor": "rgba(213,94,0,0.15)", "line": {"width": 0}, "layer": "below",
            }
        )  # fmt: skip
        if not profile.identified:
            layout["annotations"].append(
                {
                    "x": sum(place) / 2, "y": 1, "xref": "paper", "yref": "paper", "yanchor": "bottom",
                    "text": "not identified", "showarrow": False, "font": {"size": 11, "color": MUTED},
                }
            )  # fmt: skip
    return {"data": traces, "layout": layout}


def _short(values: Floats) -> list[float]:
    return [float(f"{v:.5g}") for v in values]


def _linear(title: str) -> Document:
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 8},
        "gridcolor": GRID,
        "linecolor": MUTED,
        "zeroline": False,
        "ticks": "outside",
        "exponentformat": "power",
    }
