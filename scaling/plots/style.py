"""How every figure looks: colours for the colour-blind too, and numbers as people say them."""

from collections.abc import Sequence

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


def short(value: float) -> str:
    """A count in at most three figures with its unit: 124M, 1.5B, 870k."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit * 0.9995:
            return f"{value / limit:.3g}{unit}" if value < 999.5 * limit else f"{value / limit:,.0f}{unit}"
    return f"{value:.3g}"


def scientific(value: float) -> str:
    """`1.2 × 10¹⁸`, in characters that need no markup."""
    mantissa, exponent = f"{value:.1e}".split("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{power}" if mantissa == "1.0" else f"{mantissa} \N{MULTIPLICATION SIGN} 10{power}"
