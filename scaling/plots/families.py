"""Families of models on one figure: bits per byte against training compute."""

from itertools import cycle

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scaling.config.errors import BadInputError
from scaling.config.record import Point, RunRecord
from scaling.plots.figures import canvas
from scaling.plots.sources import Options, Sources
from scaling.plots.style import INK, short

# Okabe and Ito (2008), far apart under every colour blindness; grey is the n-grams'.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = "osD^vP"
_ALIKE = "causal"  # the loss of language models: every byte of a row, given those before it
_PREDICTED = {
    "causal": "each byte from those before it",
    "continuation": "each byte from a source and those before it",
    "prefix": "bytes after a prefix",
    "masked": "masked bytes, from both sides",
    "spans": "dropped spans, from both sides",
    "denoising": "dropped spans, from both sides",
}


def _order(record: RunRecord) -> int:
    """Of an n-gram: it has grams of every order up to it."""
    return sum(name.startswith("grams_") for name in record.params.by_component)


def families_figure(sources: Sources, options: Options) -> Figure:
    """The ends of runs of every family and objective, joined from budget to budget.

    Lines are solid where the loss is of every byte of a row given those before it, and dashed where the model
    is asked another question: bits of dashed lines compare with none but their own. An n-gram multiplies
    nothing, and is a horizontal line.

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
        raise BadInputError("plot families needs finished runs with bits per byte; there are none")
    figure, axes = canvas("Families of models at equal compute")
    handles: list[Line2D] = []
    counted = sorted(((r, p) for r, p in ends if p.flops == 0), key=lambda end: end[1].bits_per_byte or 0)
    trained = [(r, p) for r, p in ends if p.flops > 0]
    styles = cycle(zip(_COLOURS, _MARKERS, strict=True))
    groups = list(dict.fromkeys((r.family, r.objective) for r, _ in trained))
    for (family, objective), (colour, marker) in zip(groups, styles, strict=False):
        own: list[tuple[RunRecord, Point]] = sorted(
            (end for end in trained if (end[0].family, end[0].objective) == (family, objective)),
            key=lambda end: end[1].flops,
        )
        line = Line2D(
            [p.flops for _, p in own],
            [p.bits_per_byte or 0.0 for _, p in own],
            color=colour,
            marker=marker,
            ms=6.5,
            mec="white",
            lw=1.8,
            ls="-" if objective == _ALIKE else (0, (4, 2)),
            label=f"{family.replace('_', '-')}: {_PREDICTED.get(str(objective), objective)}",
            zorder=5,
        )
        axes.add_line(line)
        handles.append(line)
    axes.set_xscale("log")
    axes.autoscale_view()
    low, high = axes.get_xlim()
    for record, point in counted:
        bits = point.bits_per_byte or 0.0
        axes.axhline(bits, color=INK, lw=0.9, ls=(0, (1, 1.5)), zorder=1)
        axes.annotate(
            f"{_order(record)}-gram,\n{short(point.tokens)} tokens",
            (1.0, bits),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    axes.set_xlim(low / 1.2, high * 1.2)
    axes.autoscale_view(scalex=False)
    axes.set_xlabel("Training compute (FLOPs, matmul by matmul)")
    axes.set_ylabel("Held-out loss (bits per predicted byte)")
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
