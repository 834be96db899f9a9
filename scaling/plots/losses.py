"""Losses of runs against compute and tokens, with the envelope, the law and its held-out test."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.laws.envelope import lower_envelope
from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.plots.curves import Curve
from scaling.plots.figures import (
    canvas,
    compute_label,
    counting_note,
    footnote,
    legend_beside,
    log_axis,
    marker_handle,
    size_handles,
)
from scaling.plots.sources import Options, Sources
from scaling.plots.style import ENVELOPE, INK, LAW, MUTED, size_colours

Floats = NDArray[np.float64]


def loss_vs_compute(sources: Sources, options: Options) -> Figure:
    """Final losses against training compute, with the envelope, the fitted law and the held-out test."""
    points, law, curves = sources.points, _law_of_loss("loss-vs-compute", sources.law), sources.curves
    figure, axes = canvas("Loss against training compute")
    colours = size_colours(points.params.tolist())
    _trunks(axes, curves, colours, "flops")
    held = held_out(points, law)
    low, high = points.flops.min(), points.flops.max()
    handles = _scatter(axes, points, points.flops, colours, held)

    order = np.flatnonzero(lower_envelope(np.log(points.flops), np.log(points.loss)))
    order = order[np.argsort(points.flops[order])]
    axes.plot(points.flops[order], points.loss[order], color=ENVELOPE, lw=1.3, ls=(0, (4, 2)), zorder=3)
    handles.append(Line2D([], [], color=ENVELOPE, lw=1.3, ls=(0, (4, 2)), label="lower envelope"))

    if law is not None and has_frontier(law):
        grid = np.geomspace(low, 10 * high, 160)
        inside = grid <= high
        mean, band = frontier_loss(law, grid)
        axes.plot(grid[inside], mean[inside], color=LAW, lw=2, zorder=4)
        axes.plot(grid[~inside], mean[~inside], color=LAW, lw=2, ls=(0, (1, 1.2)), zorder=4)
        what = "compute-optimal loss" if law.frontier() is not None else "law"
        handles.append(Line2D([], [], color=LAW, lw=2, label=f"{law.law}: {what}"))
        if band is not None:
            axes.fill_between(grid, *band, color=LAW, alpha=0.16, lw=0, zorder=1)
        handles += _predictions(axes, law, "flops")
    handles += _curve_handle(curves)
    _loss_axis(axes, points, law)
    axes.set_xlim(low / 4, 12 * high)
    log_axis(axes.xaxis, compute_label(points), "flops")
    legend_beside(figure, handles)
    footnote(figure, counting_note(points))
    return figure


def loss_vs_tokens(sources: Sources, options: Options) -> Figure:
    """Final losses against training tokens, one colour a model size, with the law at each size."""
    points, law, curves = sources.points, _law_of_loss("loss-vs-tokens", sources.law), sources.curves
    figure, axes = canvas("Loss against training tokens")
    colours = size_colours(points.params.tolist())
    _trunks(axes, curves, colours, "tokens")
    held = held_out(points, law)
    handles = _scatter(axes, points, points.tokens, colours, held)
    if law is not None and law.form.variables == ("params", "tokens") and law.form.target == "loss":
        for size, colour in colours.items():
            of_size = points.tokens[points.params == size]
            grid = np.geomspace(of_size.min() / 1.6, of_size.max() * 1.6, 80)
            axes.plot(grid, law.predict(params=size, tokens=grid), color=colour, lw=1.4, alpha=0.9, zorder=2)
        handles.append(Line2D([], [], color=MUTED, lw=1.4, label=f"{law.law}, at each N"))
        handles += _predictions(axes, law, "tokens")
    handles += _curve_handle(curves)
    _loss_axis(axes, points, law)
    axes.set_xlim(points.tokens.min() / 4, points.tokens.max() * 2)
    log_axis(axes.xaxis, "Training tokens D (tokens)", "count")
    legend_beside(figure, handles)
    footnote(figure, f"N: {points.counting['params']}.")
    return figure


def predicted_vs_measured(sources: Sources, options: Options) -> Figure:
    """Predicted over measured loss against compute; held-out points by the law fitted without them."""
    points, law = sources.points, sources.need_law("predicted-vs-measured")
    figure, axes = canvas("Prediction error of the law")
    colours = size_colours(points.params.tolist())
    variables = {name: points.column(name) for name in law.form.variables}
    error = 100 * (law.predict(**variables) / points.column(law.form.target) - 1)
    held = law.holdout.predictions if law.holdout else ()
    fitted = ~held_out(points, law)
    axes.axhline(0, color=INK, lw=0.8)
    for size, colour in colours.items():
        mask = fitted & (points.params == size)
        axes.scatter(points.flops[mask], error[mask], s=34, color=colour, edgecolor="white", lw=0.6, zorder=5)
    handles = size_handles(colours)
    for p in held:
        colour = colours.get(p.params, LAW)
        off = 100 * p.rel_error
        if p.interval:
            ends = [100 * (end / p.measured - 1) for end in p.interval]
            axes.plot([p.flops] * 2, ends, color=colour, lw=1.4, zorder=4, solid_capstyle="round")
        axes.scatter(p.flops, off, s=46, facecolor="white", edgecolor=colour, lw=1.6, zorder=6)
    if law.holdout:
        handles.append(marker_handle(MUTED, "held out, predicted", hollow=True))
        if law.holdout.predictions[0].interval:
            handles.append(Line2D([], [], color=MUTED, lw=1.4, label=f"{_level(law)} interval of the law"))
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    axes.set_xscale("log")
    log_axis(axes.xaxis, compute_label(points), "flops")
    legend_beside(figure, handles)
    footnote(figure, counting_note(points))
    axes.set_ylabel("Predicted over measured loss \N{MINUS SIGN} 1")
    return figure


def has_frontier(law: LawFit) -> bool:
    """Whether the law gives a loss at a compute: by a frontier, or directly."""
    direct = law.form.variables == ("flops",) and law.form.target == "loss"
    return direct or law.frontier() is not None


def frontier_loss(law: LawFit, flops: Floats) -> tuple[Floats, tuple[Floats, Floats] | None]:
    """Loss on the compute-optimal frontier (or of a law of compute), with its bootstrap band."""
    frontier = law.frontier()
    if frontier is None:
        return law.predict(flops=flops), law.interval(flops=flops)
    sizes = {"params": frontier.params(flops), "tokens": frontier.tokens(flops)}
    return law.predict(**sizes), law.interval(**sizes)


def percent(value: float, _: object = None) -> str:
    """A tick of an axis of relative errors in percent."""
    return f"{value:+g}%" if value else "0"


def _law_of_loss(kind: str, law: LawFit | None) -> LawFit | None:
    if law is not None and law.form.target != "loss":
        raise BadInputError(f"{kind} shows losses; {law.law} predicts {law.form.target}: give a law of loss")
    return law


def _curve_handle(curves: Sequence[Curve]) -> list[Line2D]:
    return [Line2D([], [], color=MUTED, lw=0.8, alpha=0.6, label="training loss")] if curves else []


def _trunks(axes: Axes, curves: Sequence[Curve], colours: dict[float, str], x: str) -> None:
    for curve in curves:
        colour = colours.get(curve.params, MUTED)
        axes.plot(getattr(curve, x), curve.smoothed(), color=colour, lw=0.8, alpha=0.35, zorder=1)


def held_out(points: Points, law: LawFit | None) -> NDArray[np.bool_]:
    """(n,) which points the law's test held out, recognised by their numbers."""
    if law is None or law.holdout is None or getattr(points, law.form.target) is None:
        return np.zeros(len(points), bool)
    known = {(p.params, p.tokens, p.measured) for p in law.holdout.predictions}
    numbers = zip(points.params, points.tokens, points.column(law.form.target), strict=True)
    return np.array([row in known for row in numbers], bool)


def _scatter(
    axes: Axes, points: Points, x: Floats, colours: dict[float, str], out: NDArray[np.bool_]
) -> list[Line2D]:
    """The measured points, hollow where held `out`; returns the legend's entries."""
    for size, colour in colours.items():
        of_size = points.params == size
        for mask, face, edge, width in (
            (of_size & ~out, colour, "white", 0.6),
            (of_size & out, "white", colour, 1.8),
        ):
            axes.scatter(x[mask], points.loss[mask], s=40, facecolor=face, edgecolor=edge, lw=width, zorder=5)
    handles = size_handles(colours)
    if out.any():
        handles.append(marker_handle(MUTED, "held out, measured", hollow=True))
    return handles


def _predictions(axes: Axes, law: LawFit, x: str) -> list[Line2D]:
    """What the law fitted without the held-out runs says of them: a bar across its interval."""
    if law.holdout is None:
        return []
    for p in law.holdout.predictions:
        at = getattr(p, x)
        if p.interval:
            axes.plot([at, at], p.interval, color=INK, lw=1.2, zorder=6, solid_capstyle="round")
        axes.scatter(at, p.predicted, s=110, color=INK, marker="_", lw=1.6, zorder=7)
    label = f"predicted, {law.holdout.mean_abs_rel_error:.2%} off on average"
    return [Line2D([], [], ls="", marker="_", ms=10, color=INK, mew=1.6, label=label)]


def _level(law: LawFit) -> str:
    return f"{law.bootstrap.level:.0%}" if law.bootstrap else ""


def _loss_axis(axes: Axes, points: Points, law: LawFit | None) -> None:
    axes.set_yscale("log")
    # Curves begin at the loss of an untrained model, far above what the figure is about.
    low, high = float(points.loss.min()), float(points.loss.max())
    if law is not None and law.holdout is not None:
        low = min(low, *(p.predicted for p in law.holdout.predictions))
    room = (high / low) ** 0.12
    bottom = low / room
    if law is not None and has_frontier(law):
        beyond, _ = frontier_loss(law, np.array([3 * points.flops.max()]))
        # A law extrapolated may fall far below every run: the runs keep most of the height.
        bottom = min(bottom, max(float(beyond[0]), low / (high / low) ** 0.5))
    axes.set_ylim(bottom, high * room**1.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_locator(MaxNLocator(nbins=1))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
    axes.set_ylabel("Validation loss (nats per token)")
