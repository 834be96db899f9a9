"""How every figure looks: colours, fonts, axes, legends and notes, and how it is saved."""

import io
import textwrap
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from scaling.plots.labels import short
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically

INK = "#1a1a1a"
MUTED = "#6b7280"
GRID = "#e5e7eb"
LAW = "#d55e00"  # vermillion and blue of Okabe and Ito (2008), distinct under every colour blindness
ENVELOPE = "#0072b2"
SUFFIXES = (".png", ".svg", ".pdf")
SIZE = (8.4, 5.0)  # inches; at 160 dots per inch about twice the width of a README's column
# Fonts for characters that DejaVu Sans lacks; those that are installed are used.
_FALLBACK = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
)
STYLE: Any = {  # matplotlib types its keys one by one
    "font.family": ["DejaVu Sans", *(name for name in _FALLBACK if name in get_font_names())],
    "font.size": 10.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "scaling",  # makes files reproducible
}
MAX_LEGEND_SIZES = 10
NOTE_SIZE = 8.5
_LINE = NOTE_SIZE * 1.35 / 72  # inches per line of the footnote
_CHARACTERS = 14.2  # of the footnote per inch


def size_colours(sizes: Sequence[float]) -> dict[float, str]:
    """A colour for each model size from viridis, dark to light with size."""
    distinct = sorted(set(sizes))
    places = np.linspace(0.0, 0.86, len(distinct)) if len(distinct) > 1 else [0.35]
    return {size: to_hex(colormaps["viridis"](place)) for size, place in zip(distinct, places, strict=True)}


def spots(n: int, area: float = 36.0) -> dict[str, Any]:
    """The style of n markers: many are smaller and have no edge."""
    crowded = n > 300
    size = area * float(np.clip(60 / n, 0.15, 1.0)) if n else area
    return {"s": size, "edgecolor": "none" if crowded else "white", "lw": 0.0 if crowded else 0.6}


def check_path(path: Path) -> None:
    """Raises BadInputError if the suffix is not PNG, SVG or PDF, or the directory does not exist."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInputError(
            f"{path}: suffix {suffix or '(none)'!r} is not accepted; use {', '.join(SUFFIXES)}"
        )
    if not path.parent.is_dir():
        raise BadInputError(
            f"{path}: the directory {path.parent} does not exist; make it, or give another path"
        )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, chosen by the suffix; a failed write leaves no file.

    Raises:
        BadInputError: another suffix, a missing directory, or a path that cannot be written.
    """
    path = Path(path)
    check_path(path)
    suffix = path.suffix.lower()
    buffer = io.BytesIO()
    metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
    with rc_context(STYLE), warnings.catch_warnings():
        # A character that no installed font has becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=suffix[1:], dpi=160, metadata=metadata)
    write_atomically(path, buffer.getvalue())


def canvas(title: str) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    dress(axes)
    return figure, axes


def panels(
    title: str, rows: int, columns: int, size: tuple[float, float], pad: float = 0.08
) -> tuple[Figure, list[Axes]]:
    """A figure of several pairs of axes under one title; `size` in inches."""
    figure = Figure(figsize=size, layout="constrained")
    _layout(figure).set(w_pad=pad, h_pad=pad)
    figure.suptitle(title, x=0.015, ha="left")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for one in axes:
        dress(one)
    return figure, axes


def _layout(figure: Figure) -> ConstrainedLayoutEngine:
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    return engine


def dress(axes: Axes) -> None:
    """The frame and grid of all figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, lw=0.7)
    axes.set_axisbelow(True)


def footnote(figure: Figure, *parts: str) -> None:
    """Add conventions and remarks below the axes, one paragraph each; the figure grows by their height."""
    width, height = figure.get_size_inches()
    lines = [line for part in parts if part for line in _wrapped(part, (width - 0.3) * _CHARACTERS)]
    strip = len(lines) * _LINE + 0.1
    figure.set_size_inches(width, height + strip)
    share = strip / (height + strip)
    _layout(figure).set(rect=(0, share, 1, 1 - share))
    figure.text(
        0.15 / width,
        0.05 / (height + strip),
        "\n".join(lines),
        fontsize=NOTE_SIZE,
        color=MUTED,
        va="bottom",
        linespacing=1.35,
        parse_math=False,
    )


def _wrapped(text: str, characters: float) -> list[str]:
    """Lines of at most `characters` characters; East Asian ones count twice."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return textwrap.wrap(text, int(characters * len(text) / (len(text) + wide)))


def marker_handle(colour: str, label: str, hollow: bool = False, marker: str = "o") -> Line2D:
    """The legend entry for points of one colour."""
    face = "white" if hollow else colour
    edge, width = (colour, 1.6) if hollow else ("white", 0.6)
    return Line2D([], [], ls="", marker=marker, ms=6.5, mfc=face, mec=edge, mew=width, label=label)


def line_handle(colour: str, label: str, **style: Any) -> Line2D:
    """The legend entry for a line."""
    return Line2D([], [], color=colour, label=label, **{"lw": 1.6, **style})


def legend_sizes(colours: dict[float, str]) -> list[tuple[float, str]]:
    """The sizes named in a legend: all, or an evenly spaced selection."""
    items = list(colours.items())
    if len(items) <= MAX_LEGEND_SIZES:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, MAX_LEGEND_SIZES).round().astype(int)]


def size_handles(colours: dict[float, str]) -> list[Line2D]:
    """The legend entries for model sizes."""
    return [marker_handle(colour, f"N = {short(size)}") for size, colour in legend_sizes(colours)]


def legend_at_right(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put the legend to the right of the axes, where it hides no data."""
    figure.legend(
        handles=list(handles),
        loc="outside right upper",
        handlelength=1.6,
        labelspacing=0.55,
        borderaxespad=0.3,
    )
