"""The report's colours on a dark background: each as light as reading needs."""

import json
import re
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from scaling.plots.style import GRID, INK, MUTED

PAPER = "#ffffff"
DARK_PAPER = "#14171c"
DARK_INK = "#e7e9ec"
DARK_MUTED = "#a3adba"
DARK_GRID = "#2c323b"
NEUTRAL = {PAPER: DARK_PAPER, INK: DARK_INK, MUTED: DARK_MUTED, GRID: DARK_GRID, "#9aa3af": "#4b5563"}
READABLE = 4.5  # least contrast: WCAG 2.2, success criterion 1.4.3
_COLOUR = re.compile(r'"(#[0-9a-f]{6}|rgba\([0-9., ]+\))"')


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def on_dark(colour: str) -> str:
    """The colour mixed with as much white as it needs to be readable on the dark background."""
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
    """Every colour in plain JSON documents, and what it is on a dark background."""
    return {colour: on_dark(colour) for colour in sorted(set(_COLOUR.findall(json.dumps(documents))))}


def _luminance(colour: str) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
