"""Profiles of a law: how much worse the best fit gets when one parameter is held at other values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.laws.law import LawFit
from scaling.plots.figures import footnote, legend_beside, line_handle, log_axis, panels
from scaling.plots.sources import Options, Sources
from scaling.plots.style import ENVELOPE, INK, LAW, MUTED

Floats = NDArray[np.float64]
WIDE = 30.0  # a grid over more than this factor is drawn on a log axis


@dataclass(frozen=True)
class Profile:
    """One parameter: (G,) values and the least objectives there; an open end of the interval is None."""

    name: str
    grid: Floats
    objective: Floats
    low: float | None
    high: float | None
    identified: bool


def profiles_of(law: LawFit) -> tuple[Profile, ...]:
    """The profiles a law carries; none where it was fitted without them."""
    given = getattr(law, "profile", None) or {}
    out = []
    for name, one in given.items():
        read = one.get if isinstance(one, Mapping) else lambda key, one=one: getattr(one, key, None)
        pairs = [
            (g, o) for g, o in zip(read("grid") or (), read("objective") or (), strict=True) if _finite(o)
        ]
        low, high = read("interval") or (None, None)
        if pairs:
            grid, objective = np.array(sorted(pairs), float).T
            out.append(Profile(name, grid, objective, low, high, bool(read("identified"))))
    return tuple(out)


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def profiles_figure(sources: Sources, options: Options) -> Figure:
    """A panel a parameter: the objective over its least, the estimate and the interval.

    Raises:
        BadInputError: no law, or one without profiles.
    """
    law = sources.need_law("profiles")
    profiles = profiles_of(law)
    if not profiles:
        raise BadInputError(
            f"profiles: the law {law.law} was fitted without; fit it with them: scaling fit SOURCE "
            f"--law {law.law} --profile"
        )
    columns = min(3, len(profiles))
    rows = -(-len(profiles) // columns)
    figure, axes = panels(
        f"Profiles of the law {law.law}", rows, columns, (3.1 * columns + 1.4, 2.7 * rows + 1.1)
    )
    for one in axes[len(profiles) :]:
        one.remove()
    for i, (profile, one) in enumerate(zip(profiles, axes, strict=False)):
        _panel(one, profile, law)
        if i % columns == 0:
            one.set_ylabel("Objective over its least")
    handles = [
        line_handle(ENVELOPE, "profile"),
        line_handle(LAW, "estimate", lw=1.2),
        line_handle(LAW, "interval", lw=7, alpha=0.16),
    ]
    legend_beside(figure, handles)
    footnote(
        figure,
        f"{law.equation}; {law.objective.name}, delta {law.objective.delta:g}; all other parameters are "
        f"fitted anew at each value. N: {law.counting.get('params', '')}.",
    )
    return figure


def _panel(axes: Axes, profile: Profile, law: LawFit) -> None:
    least = min(float(profile.objective.min()), law.objective.value)
    axes.plot(profile.grid, profile.objective - least, color=ENVELOPE, lw=1.6, zorder=4)
    estimate = law.parameters.get(profile.name)
    low = profile.grid[0] if profile.low is None else profile.low
    high = profile.grid[-1] if profile.high is None else profile.high
    axes.axvspan(low, high, color=LAW, alpha=0.16, lw=0, zorder=1)
    if estimate is not None and profile.grid[0] <= estimate <= profile.grid[-1]:
        axes.axvline(estimate, color=LAW, lw=1.2, zorder=3)
    if profile.grid[0] > 0 and profile.grid[-1] / profile.grid[0] > WIDE:
        log_axis(axes.xaxis, profile.name, "plain", ticks=5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.set_xlabel(profile.name)
    axes.set_xlim(profile.grid[0], profile.grid[-1])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.2g}"))
    if not profile.identified:
        axes.set_title("not identified", fontsize=9, weight="normal", color=MUTED, pad=4)
    axes.axhline(0, color=INK, lw=0.6, zorder=2)
