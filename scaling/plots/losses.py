"""Losses against compute and tokens, with the envelope, the law and its held-out test; model families."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from scaling.config.record import RunRecord
from scaling.laws.forms.envelope import lower_envelope
from scaling.laws.law import LEVEL, Law
from scaling.laws.points import Points
from scaling.laws.read.comparable import mixed_line
from scaling.laws.read.curves import Curve
from scaling.laws.read.inputs import Sources
from scaling.laws.tuned import Tuned
from scaling.plots.kinds import Options
from scaling.plots.labels import (
    compute_label,
    counting_note,
    fitted_note,
    label_of,
    log_axis,
    short,
)
from scaling.plots.style import (
    ENVELOPE,
    INK,
    LAW,
    MUTED,
    canvas,
    footnote,
    legend_at_right,
    legend_sizes,
    line_handle,
    marker_handle,
    size_colours,
    size_handles,
    spots,
)
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]

BEYOND = 10.0  # the law is drawn up to this multiple of the largest compute
ROOM = 1.6  # a law at one size is drawn this factor beyond its runs
MANY_HELD = 40  # more held-out runs than this are drawn without their intervals
LEGEND_WIDTH = 33  # characters per line
FAINT = 0.35  # opacity of runs that were not fitted themselves
DOTTED = (0, (1, 1.2))


def loss_vs_compute(sources: Sources, options: Options) -> Figure:
    """Final losses against training compute, with the envelope, the fitted law and the held-out test."""
    law, found, curves = _law_of_loss("loss-vs-compute", sources.law), sources.fitted, sources.curves
    points = found.points
    figure, axes = canvas("Loss against training compute")
    colours = size_colours(points.params.tolist())
    held = held_out(points, law)
    low, high = points.flops.min(), points.flops.max()
    handles = _scatter(axes, points, points.flops, colours, held)
    handles += faint_runs(axes, found, "flops", "loss", colours)

    order = envelope_order(points.flops, points.loss)
    if len(order) > 1:
        style: Any = {"color": ENVELOPE, "lw": 1.3, "ls": (0, (4, 2))}
        axes.plot(points.flops[order], points.loss[order], zorder=3, **style)
        handles.append(
            Line2D([], [], label=f"lower envelope of the {'minima' if found.swept else 'runs'}", **style)
        )

    if law is not None and has_frontier(law):
        grid = np.append(np.geomspace(low, high, 120), np.geomspace(high, BEYOND * high, 40)[1:])
        mean, band = frontier_loss(law, grid)
        inside = grid <= high
        axes.plot(grid[inside], mean[inside], color=LAW, lw=2, zorder=4)
        axes.plot(grid[~inside], mean[~inside], color=LAW, lw=2, ls=DOTTED, zorder=4)
        at = ", at compute-optimal N and D" if law.frontier() is not None else ""
        fitted = f"{law.law} law, fitted to all runs{at}"
        handles.append(Line2D([], [], color=LAW, lw=2, label=textwrap.fill(fitted, LEGEND_WIDTH)))
        handles.append(Line2D([], [], color=LAW, lw=2, ls=DOTTED, label="extrapolated"))
        if band is not None:
            axes.fill_between(grid, *band, color=LAW, alpha=0.16, lw=0, zorder=1)
            handles.append(line_handle(LAW, band_name(law), lw=7, alpha=0.16))
    handles += _predictions(axes, law, "flops")
    handles += _trunks(axes, curves, colours, "flops")
    axes.set_ylim(loss_limits(points, law, beyond=True))
    log_axis(axes.yaxis, *label_of("loss", points))
    axes.set_xlim(compute_limits(points, law))
    log_axis(axes.xaxis, compute_label(points), "flops")
    legend_at_right(figure, handles)
    footnote(figure, fitted_note(found, faint=True), counting_note(points))
    return figure


def loss_vs_tokens(sources: Sources, options: Options) -> Figure:
    """Final losses against training tokens, one colour per model size, with the law at each size."""
    law, found, curves = _law_of_loss("loss-vs-tokens", sources.law), sources.fitted, sources.curves
    points = found.points
    figure, axes = canvas("Loss against training tokens")
    colours = size_colours(points.params.tolist())
    held = held_out(points, law)
    handles = _scatter(axes, points, points.tokens, colours, held)
    handles += faint_runs(axes, found, "tokens", "loss", colours)
    if law is not None and law.form.variables == ("params", "tokens") and law.form.target == "loss":
        for size, colour, (low, high) in sizes_in_tokens(points.params, points.tokens, colours):
            grid = np.geomspace(low, high, 80)
            axes.plot(grid, law.predict(params=size, tokens=grid), color=colour, lw=1.4, alpha=0.9, zorder=2)
        label = textwrap.fill(f"{law.law} law, fitted to all runs, at each N", LEGEND_WIDTH)
        handles.append(Line2D([], [], color=MUTED, lw=1.4, label=label))
    handles += _predictions(axes, law, "tokens")
    handles += _trunks(axes, curves, colours, "tokens")
    axes.set_ylim(loss_limits(points, law))
    log_axis(axes.yaxis, *label_of("loss", points))
    low, high = points.tokens.min(), points.tokens.max()
    reach = ROOM * (high / low) ** 0.02
    axes.set_xlim(low / reach, high * reach)
    log_axis(axes.xaxis, "Training tokens D (tokens)", "count")
    legend_at_right(figure, handles)
    footnote(figure, fitted_note(found, faint=True), f"N: {points.counting['params']}.")
    return figure


def envelope_order(x: Floats, y: Floats) -> NDArray[np.int64]:
    """Indices of the points on the lower envelope in log-log, by increasing x."""
    order = np.flatnonzero(lower_envelope(np.log(x), np.log(y)))
    return order[np.argsort(x[order])]


def sizes_in_tokens(
    params: Floats, x: Floats, colours: dict[float, str]
) -> Iterator[tuple[float, str, tuple[float, float]]]:
    """The sizes at which a law is drawn, each with its colour and range of x (for instance tokens).

    Of many sizes only those in the legend are drawn, each over the range of the runs nearest to it.
    """
    shown = legend_sizes(colours)
    sizes = np.log([size for size, _ in shown])
    nearest = np.abs(np.log(params)[:, None] - sizes).argmin(axis=1)
    for i, (size, colour) in enumerate(shown):
        own = x[nearest == i]
        yield size, colour, (own.min() / ROOM, own.max() * ROOM)


def has_frontier(law: Law) -> bool:
    """Whether the law predicts loss from compute, directly or by its frontier."""
    direct = law.form.variables == ("flops",) and law.form.target == "loss"
    return direct or law.frontier() is not None


def frontier_loss(law: Law, flops: Floats) -> tuple[Floats, tuple[Floats, Floats] | None]:
    """The loss at a compute, on the frontier or directly, and its interval."""
    frontier = law.frontier()
    if frontier is None:
        return law.predict(flops=flops), law.widened(flops=flops)
    sizes = {"params": frontier.params(flops), "tokens": frontier.tokens(flops)}
    return law.predict(**sizes), law.widened(**sizes)


def _law_of_loss(kind: str, law: Law | None) -> Law | None:
    if law is not None and law.form.target != "loss":
        raise BadInputError(f"{kind} shows losses; {law.law} predicts {law.form.target}: give a law of loss")
    return law


def _trunks(axes: Axes, curves: Sequence[Curve], colours: dict[float, str], x: str) -> list[Line2D]:
    """Draw smoothed training losses, faint, without their first steps; returns legend entries."""
    for curve in curves:
        colour = colours.get(curve.params, MUTED)
        kept = curve.after_start()
        axes.plot(getattr(curve, x)[kept], curve.smoothed()[kept], color=colour, lw=0.8, alpha=0.3, zorder=1)
    style: Any = {"color": MUTED, "lw": 0.8, "alpha": 0.6}
    return [Line2D([], [], label="training loss, smoothed", **style)] if curves else []


def held_out(points: Points, law: Law | None) -> NDArray[np.bool_]:
    """(n,) whether the test of the law held a point out; points are recognised by their numbers."""
    if law is None or law.holdout is None or getattr(points, law.form.target) is None:
        return np.zeros(len(points), bool)
    known = {(p.params, p.tokens, p.measured) for p in law.holdout.predictions}
    numbers = zip(points.params, points.tokens, points.column(law.form.target), strict=True)
    return np.array([row in known for row in numbers], bool)


def _scatter(
    axes: Axes, points: Points, x: Floats, colours: dict[float, str], out: NDArray[np.bool_]
) -> list[Line2D]:
    """Draw the measured points, hollow where held `out`; returns legend entries."""
    look = spots(len(points), 40)
    thick = 1.8 if look["lw"] else 0.7
    for size, colour in colours.items():
        of_size = points.params == size
        axes.scatter(x[of_size & ~out], points.loss[of_size & ~out], color=colour, zorder=5, **look)
        hollow = look | {"facecolor": "white", "edgecolor": colour, "lw": thick}
        axes.scatter(x[of_size & out], points.loss[of_size & out], zorder=5, **hollow)
    handles = size_handles(colours)
    if out.any():
        handles.append(marker_handle(MUTED, "held out, measured", hollow=True))
    return handles


def faint_runs(axes: Axes, found: Tuned, x: str, y: str, colours: dict[float, str]) -> list[Line2D]:
    """Draw the runs of sweeps of settings, small and faint, behind the minima; returns legend entries.

    The axes are those of the minima: runs far above a minimum may be outside.
    """
    if found.runs is None:
        return []
    look: Any = {"s": 10, "alpha": FAINT, "lw": 0, "zorder": 2}
    across, up = found.runs.column(x), found.runs.column(y)
    axes.scatter(across, up, c=[colours.get(size, MUTED) for size in found.runs.params], **look)
    style: Any = {"ls": "", "marker": "o", "ms": 3.5, "mew": 0, "color": MUTED, "alpha": 0.6}
    return [Line2D([], [], label="runs of sweeps", **style)]


def _predictions(axes: Axes, law: Law | None, x: str) -> list[Line2D]:
    """Draw the predictions for held-out runs with their intervals; returns legend entries."""
    if law is None or law.holdout is None:
        return []
    few = law.holdout.n <= MANY_HELD
    for p in law.holdout.predictions:
        at = getattr(p, x)
        if p.interval and few:
            axes.plot([at, at], p.interval, color=INK, lw=1.2, zorder=6, solid_capstyle="round")
        axes.scatter(
            at, p.predicted, s=110 if few else 8, color=INK, marker="_", lw=1.6 if few else 0.5, zorder=7
        )
    off = f"{100 * law.holdout.mean_abs_rel_error:.2g}%"
    label = textwrap.fill(f"predicted by the law fitted without them: mean error {off}", LEGEND_WIDTH)
    return [Line2D([], [], ls="", marker="_", ms=10, color=INK, mew=1.6, label=label)]


def level_of(law: Law) -> str:
    """The level of the law's intervals, for example 95%."""
    return f"{law.bootstrap.level if law.bootstrap else LEVEL:.0%}"


def band_name(law: Law) -> str:
    """What the band of a law is, for the legend."""
    return f"{level_of(law)} {law.method or 'Hessian'} interval"


def loss_limits(points: Points, law: Law | None, beyond: bool = False) -> tuple[float, float]:
    """The limits of a loss axis: those of final losses and predictions.

    Training curves start at the loss of an untrained model, far above, and are not considered. With `beyond`
    there is room for a law that is drawn to more compute than the runs have.
    """
    low, high = float(points.loss.min()), float(points.loss.max())
    if law is not None and law.holdout is not None:
        low = min(low, *(p.predicted for p in law.holdout.predictions))
    high = max(high, low * 1.02)
    room = (high / low) ** 0.12
    bottom = low / room
    if beyond and law is not None and has_frontier(law):
        farther, _ = frontier_loss(law, np.array([3 * points.flops.max()]))
        # An extrapolated law may fall far below every run; the runs keep most of the height.
        bottom = min(bottom, max(float(farther[0]), low / (high / low) ** 0.5))
    return bottom, high * room**1.5


def compute_limits(points: Points, law: Law | None) -> tuple[float, float]:
    """The limits of a compute axis: those of the runs, and of the law where it is drawn beyond them."""
    low, high = float(points.flops.min()), float(points.flops.max())
    beyond = BEYOND if law is not None and has_frontier(law) else 1.0
    room = (high / low) ** 0.06 * 1.02
    return low / room, beyond * high * room


# Okabe and Ito (2008), distinct under every colour blindness; n-grams are black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLES = tuple(zip(_COLOURS, "osD^vP", strict=True))
_DASHES = ((0, (1, 1.5)), (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 4)))
_ALIKE = ("causal", None)  # the loss of a language model: every byte of a text, given the bytes before it
_PREDICTED = {
    "causal": "each byte from the bytes before it",
    "continuation": "each byte from a source and the bytes before it",
    "prefix": "bytes after a prefix",
    "masked": "masked bytes from both sides",
    "spans": "dropped spans from both sides",
    "denoising": "dropped spans from both sides",
}


def _order(record: RunRecord) -> int:
    """The n of an n-gram model, which counts grams of all orders up to n."""
    return sum(name.startswith("grams_") for name in record.params.by_component)


def families_figure(sources: Sources, options: Options) -> Figure:
    """Final losses of every family and objective with their lower envelopes.

    Lines are solid for models that predict every byte of a text from the bytes before it, and dashed for
    models that predict something else, whose bits are not comparable. An n-gram model spends no FLOPs and is
    a horizontal line.

    Raises:
        BadInputError: no finished run has bits per byte, or the runs read different corpora and `force` is
            not set.
    """
    ends = [
        (record, point)
        for record in sources.records
        for point in record.points
        if point.bits_per_byte is not None and record.status == "finished"
    ]
    if not ends:
        raise BadInputError("families needs finished runs with bits per byte; the sources have none")
    corpora = [record.dataset or "" for record, _ in ends]
    if len(set(filter(None, corpora))) > 1 and not sources.force:
        raise BadInputError(mixed_line("families", {"dataset": corpora}, "bits per byte"))
    counted = sorted(((r, p) for r, p in ends if p.flops == 0), key=lambda end: end[1].bits_per_byte or 0)
    trained = [(r, p) for r, p in ends if p.flops > 0]
    groups = list(dict.fromkeys((r.family, r.objective) for r, _ in trained))
    several = len(groups) + bool(counted) > 1
    figure, axes = canvas("Families of models" if several else "Loss per byte against training compute")
    handles: list[Line2D] = []
    for (family, objective), (colour, marker) in zip(groups, cycle(_STYLES), strict=False):
        own = [p for r, p in trained if (r.family, r.objective) == (family, objective)]
        flops = np.array([p.flops for p in own])
        bits = np.array([p.bits_per_byte or np.nan for p in own])
        axes.scatter(flops, bits, color=colour, marker=marker, zorder=5, **spots(len(own), 40))
        hull = envelope_order(flops, bits)
        line: Any = {"color": colour, "lw": 1.6, "ls": "-" if objective in _ALIKE else (0, (4, 2))}
        axes.plot(flops[hull], bits[hull], zorder=4, **line)
        label = family.replace("_", "-")
        if objective is not None:
            label += f": {_PREDICTED.get(objective, objective.replace('_', ' '))}"
        handles.append(Line2D([], [], marker=marker, ms=6.5, mec="white", label=label, **line))
    for i, (record, point) in enumerate(counted):
        style: Any = {"color": INK, "lw": 1.1, "ls": _DASHES[i % len(_DASHES)]}
        axes.axhline(point.bits_per_byte or 0.0, zorder=1, **style)
        label = f"{_order(record)}-gram of {short(point.tokens)} tokens"
        handles.append(Line2D([], [], label=label, **style))
    axes.margins(x=0.06)
    if trained:
        log_axis(axes.xaxis, "Training compute C (FLOPs: matmul by matmul)", "flops")
    else:
        axes.set_xticks([])
    axes.set_ylabel("Held-out loss (bits per predicted byte)")
    figure.legend(handles=handles, loc="outside lower center", ncols=min(2, len(handles)))
    return figure
