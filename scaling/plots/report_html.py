"""HTML of the report: tables, embedded JSON, and colours on a dark background."""

import html
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from scaling.plots.style import GRID, INK, MUTED

Cell = tuple[str, str]  # escaped text or markup, and its CSS class


def maybe(value: float | None, form: str) -> str:
    """The formatted number, or a dash for None."""
    return "\N{EN DASH}" if value is None else format(value, form)


def text_cell(value: object) -> Cell:
    """A cell of text, escaped."""
    return html.escape(str(value)), "text"


def number_cell(value: str) -> Cell:
    """A cell of a number, aligned right."""
    return html.escape(value), "number"


def html_table(head: Sequence[str], rows: Sequence[Sequence[Cell]], foot: Sequence[Cell] = ()) -> str:
    """A table; the titles of `head` are escaped here."""
    row: Callable[[Sequence[Cell]], str] = lambda cells: (  # noqa: E731
        "<tr>" + "".join(f'<td class="{kind}">{text}</td>' for text, kind in cells) + "</tr>"
    )
    kinds = [kind for _, kind in rows[0]] if rows else []
    titles = "".join(
        f'<th class="{kind}">{html.escape(name)}</th>' for name, kind in zip(head, kinds, strict=False)
    )
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    bottom = f"<tfoot>{row(foot)}</tfoot>" if foot else ""
    return f'<div class="scroll"><table>{top}<tbody>{"".join(map(row, rows))}</tbody>{bottom}</table></div>'


PAPER = "#ffffff"
DARK_PAPER = "#14171c"
DARK_INK = "#e7e9ec"
DARK_MUTED = "#a3adba"
DARK_GRID = "#2c323b"
NEUTRAL = {PAPER: DARK_PAPER, INK: DARK_INK, MUTED: DARK_MUTED, GRID: DARK_GRID, "#9aa3af": "#4b5563"}
READABLE = 4.5  # minimum contrast: WCAG 2.2, success criterion 1.4.3
_COLOUR = re.compile(r'"(#[0-9a-f]{6}|rgba\([0-9., ]+\))"')


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def on_dark(colour: str) -> str:
    """The colour mixed with the least white that makes it readable on the dark background."""
    if colour in NEUTRAL:
        return NEUTRAL[colour]
    if colour.startswith("rgba"):
        red, green, blue, alpha = (float(v) for v in colour[5:-1].split(","))
        solid = on_dark(to_hex((red / 255, green / 255, blue / 255)))
        channels = ",".join(str(round(255 * c)) for c in to_rgb(solid))
        return f"rgba({channels},{min(1.0, 1.5 * alpha):g})"
    red, green, blue = to_rgb(colour)
    for white in np.linspace(0.0, 1.0, 41).tolist():
        mixed = to_hex((red + white * (1 - red), green + white * (1 - green), blue + white * (1 - blue)))
        if contrast(mixed, DARK_PAPER) >= READABLE:
            break
    return mixed


def dark_colours(documents: Any) -> dict[str, str]:
    """Every colour in the documents with its counterpart on a dark background."""
    return {colour: on_dark(colour) for colour in sorted(set(_COLOUR.findall(json.dumps(documents))))}


def _luminance(colour: str) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def embed(value: object) -> str:
    """JSON for a script element: `<`, `>` and `&` are escaped, so that no text can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
