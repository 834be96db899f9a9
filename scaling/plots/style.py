"""How every figure looks: colours for the colour-blind too, and numbers as people say them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

INK = "#1a1a1a"
MUTED = "#6b7280"
GRID = "#e5e7eb"
LAW = "#d55e00"  # vermillion and blue of Okabe and Ito (2008), far apart under every colour blindness
ENVELOPE = "#0072b2"


def size_colours(sizes: Sequence[float]) -> dict[float, str]:
    """A colour for each model size, dark to light with size; viridis is even in lightness, and so ordered."""
    distinct = sorted(set(sizes))
    places = np.linspace(0.0, 0.86, len(distinct)) if len(distinct) > 1 else [0.35]
    return {size: to_hex(colormaps["viridis"](place)) for size, place in zip(distinct, places, strict=True)}


def short(value: float, digits: int = 3) -> str:
    """A count with its unit, in at most so many digits: 124M, 1.5B, 870k; beyond trillions a power of ten."""
    if value >= 999.5e12:
        return scientific(value, digits)
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit * 0.9995:
            return f"{value / limit:.{digits}g}{unit}"
    return f"{value:.{digits}g}"


def scientific(value: float, digits: int = 2) -> str:
    """`1.2 × 10¹⁸`, in characters that need no markup."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"10{power}" if mantissa == "1" else f"{mantissa} \N{MULTIPLICATION SIGN} 10{power}"


def plain(value: float, digits: int = 3) -> str:
    """A number of ordinary size in so many digits; others as a power of ten."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return scientific(value, digits)
    return f"{float(f'{value:.{digits}g}'):,.15g}"


def fixed(value: float, step: float) -> str:
    """A number rounded to the decimal place of a step, trailing zeros included."""
    place = math.floor(math.log10(step))
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        digits = math.floor(math.log10(abs(value))) - place + 1
        return scientific(value, min(max(digits, 1), 7))
    return f"{round(value, -place):,.{max(-place, 0)}f}"


def spots(n: int, area: float = 36.0) -> dict[str, Any]:
    """How the markers of n points are drawn: smaller and without an edge where there are many."""
    crowded = n > 300
    size = area * float(np.clip(60 / n, 0.15, 1.0)) if n else area
    return {"s": size, "edgecolor": "none" if crowded else "white", "lw": 0.0 if crowded else 0.6}
