"""Families of models on one figure: bits per byte against training compute."""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling.config.record import RunRecord
from scaling.laws.forms.envelope import lower_envelope
from scaling.laws.read.inputs import Sources
from scaling.plots.figures import canvas
from scaling.plots.kinds import Options
from scaling.plots.scales import log_axis
from scaling.plots.style import INK, short, spots
from scaling.runtime.errors import BadInputError

# Okabe and Ito (2008), far apart under every colour blindness; n-grams are black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLES = tuple(zip(_COLOURS, "osD^vP", strict=True))
_DASHES = ((0, (1, 1.5)), (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 4)))
_ALIKE = ("causal", None)  # the loss of language models: every byte of a text, given those before it
_PREDICTED = {
    "causal": "each byte from those before it",
    "continuation": "each byte from a source and those before it",
    "prefix": "bytes after a prefix",
    "masked": "masked bytes, from both sides",
    "spans": "dropped spans, from both sides",
    "denoising": "dropped spans, from both sides",
}


def _order(record: RunRecord) -> int:
    """The n of an n-gram, which counts grams of every order up to it."""
    return sum(name.startswith("grams_") for name in record.params.by_component)


def families_figure(sources: Sources, options: Options) -> Figure:
    """Final losses of the runs of every family and objective, with the lower envelope of each.

    Lines are solid where the loss is of every byte of a text given those before it, and dashed where the
    model predicts something else: bits of dashed lines compare only with each other's. An n-gram spends no
    FLOPs, and is a horizontal line.

    Raises:
        BadInputError: no finished run has bits per byte.
    """
    ends = [
        (record, point)
        for record in sources.records
        for point in record.points
        if point.bits_per_byte is not None and record.status == "finished"
    ]
    if not ends:
        raise BadInputError("families needs finished runs with bits per byte; these sources have none")
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
        hull = np.flatnonzero(lower_envelope(np.log(flops), np.log(bits)))
        hull = hull[np.argsort(flops[hull])]
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
