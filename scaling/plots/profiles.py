"""Profiles of a law: how much worse the best fit gets when one parameter is held at other values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scaling.laws.forms.quantities import RATIO
from scaling.laws.law import Law
from scaling.laws.read.inputs import Sources
from scaling.plots.figures import footnote, legend_beside, line_handle, panels
from scaling.plots.kinds import Options
from scaling.plots.scales import DistinctFormatter, log_axis
from scaling.plots.style import ENVELOPE, INK, LAW, MUTED
from scaling.plots.words import greek, mathtext, quantity
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]
WIDE = 30.0  # a grid over more than this factor is drawn on a log axis
FLAT = 1e3  # by which factor a side that does not rise is drawn


@dataclass(frozen=True)
class Profile:
    """One parameter: (G,) values and the least objectives there; an open end of the interval is None."""

    name: str
    grid: Floats
    objective: Floats
    low: float | None
    high: float | None
    identified: bool


def profiles_of(law: Law) -> tuple[Profile, ...]:
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
    columns = min(4 if len(profiles) > 6 else 3, len(profiles))
    rows = -(-len(profiles) // columns)
    figure, axes = panels(
        f"Profiles of the {law.law} law", rows, columns, (2.7 * columns + 2.2, 2.5 * rows + 0.8)
    )
    for one in axes[len(profiles) :]:
        one.remove()
    for profile, one in zip(profiles, axes, strict=False):
        _panel(one, profile, law)
    figure.supylabel("Objective above its minimum", fontsize=10.5, color=INK)
    handles = [
        line_handle(ENVELOPE, "profile"),
        line_handle(LAW, "estimate", lw=1.2),
        line_handle(LAW, "95% interval", lw=7, alpha=0.16),
    ]
    legend_beside(figure, handles)
    footnote(
        figure,
        f"{greek(law.equation)}. Objective: {law.objective.name}, delta {law.objective.delta:g}. All other "
        "parameters are fitted again at each value.",
        f"N: {law.counting.get('params', '')}.",
    )
    return figure


def estimate_of(profile: Profile, law: Law) -> float | None:
    """The law's own value of what a profile is of."""
    if profile.name in law.parameters:
        return law.parameters[profile.name]
    frontier = law.frontier()
    if frontier is None:
        return None
    if profile.name == RATIO:
        flops = law.ranges["flops"][1]
        return float(frontier.tokens(flops) / frontier.params(flops))
    return frontier.a


def _panel(axes: Axes, profile: Profile, law: Law) -> None:
    least = min(float(profile.objective.min()), law.objective.value)
    axes.plot(profile.grid, profile.objective - least, color=ENVELOPE, lw=1.6, zorder=4)
    estimate = estimate_of(profile, law)
    left, right = shown_range(profile)
    low = left if profile.low is None else profile.low
    high = right if profile.high is None else profile.high
    axes.axvspan(low, high, color=LAW, alpha=0.16, lw=0, zorder=1)
    if estimate is not None and left <= estimate <= right:
        axes.axvline(estimate, color=LAW, lw=1.2, zorder=3)
    label = mathtext(quantity(profile.name, law.parameters))
    axes.set_xlim(left, right)
    if is_wide(profile):
        log_axis(axes.xaxis, label, "plain", ticks=4)
    else:
        # Powers of ten are wide.
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3 if abs(right) < 1e5 else 2, min_n_ticks=1))
        axes.xaxis.set_major_formatter(DistinctFormatter("plain"))
        axes.set_xlabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(DistinctFormatter("plain"))
    if not profile.identified:
        axes.set_title("not identified", fontsize=9, weight="normal", color=MUTED, pad=4)
    axes.axhline(0, color=INK, lw=0.6, zorder=2)


def is_wide(profile: Profile) -> bool:
    """Whether a profile is drawn on a log axis."""
    return bool(profile.grid[0] > 0 and profile.grid[-1] > WIDE * profile.grid[0])


def shown_range(profile: Profile) -> tuple[float, float]:
    """The part of the grid that is drawn: of a side that stays flat, a few decades."""
    left, right = float(profile.grid[0]), float(profile.grid[-1])
    if not is_wide(profile):
        return left, right
    if profile.low is None and profile.high is not None:
        left = max(left, profile.high / FLAT)
    if profile.high is None and profile.low is not None:
        right = min(right, profile.low * FLAT)
    return left, right
