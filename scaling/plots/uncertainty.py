"""Profiles of a law: how much worse the best fit gets when one parameter is held at other values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from scaling.laws.forms.quantities import RATIO
from scaling.laws.law import Law
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import Options
from scaling.plots.labels import DistinctFormatter, greek, log_axis, mathtext, quantity
from scaling.plots.style import (
    ENVELOPE,
    INK,
    LAW,
    MUTED,
    footnote,
    legend_beside,
    line_handle,
    panels,
)
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


WIDE_SAMPLES = 10.0  # a parameter that spans more than this factor is shown by its log
LOG = "log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} "
INNER = (0.005, 0.995)  # of the resamples, on the axes


def pair_samples(law: Law) -> dict[str, Floats]:
    """(S,) resamples of each parameter under its label; a scale that spans decades as log10.

    What a limiting form holds is left out, as are resamples in which a parameter is infinite.

    Raises:
        BadInputError: the law has no resamples.
    """
    if law.bootstrap is None:
        raise BadInputError(f"bootstrap: the {law.law} law has no resamples; fit it with --bootstrap 1000")
    drawn_of = {name: np.asarray(values, float) for name, values in law.bootstrap.samples.items()}
    known = np.all([np.isfinite(drawn) for drawn in drawn_of.values()], axis=0)
    out = {}
    for name, drawn in drawn_of.items():
        drawn = drawn[known]
        if len(drawn) and np.ptp(drawn) == 0:
            continue
        wide = drawn.min() > 0 and np.quantile(drawn, 0.975) > WIDE_SAMPLES * np.quantile(drawn, 0.025)
        out[f"{LOG}{name}" if wide else name] = np.log10(drawn) if wide else drawn
    return out


def bootstrap_figure(sources: Sources, options: Options) -> Figure:
    """Every pair of parameters over the resamples, and each one's histogram on the diagonal.

    Raises:
        BadInputError: no law, or one without resamples.
    """
    law = sources.need_law("bootstrap")
    samples = pair_samples(law)
    names = list(samples)
    n = len(names)
    side = max(5.0, 1.75 * n)
    figure, axes = panels(f"Bootstrap of the {law.law} law", n, n, (side, side * 0.92 + 0.4), pad=0.02)
    limits = {name: _limits(values) for name, values in samples.items()}
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            one = axes[i * n + j]
            if j > i:
                one.remove()
                continue
            one.axvline(_estimate(law, column), color=LAW, lw=0.9, zorder=3)
            if i == j:
                one.hist(samples[column], bins=30, range=limits[column], color=ENVELOPE, alpha=0.75)
                one.yaxis.set_major_locator(NullLocator())
            else:
                size = float(np.clip(900 / len(samples[column]), 2, 9))
                style: Any = {"s": size, "color": ENVELOPE, "alpha": 0.35, "lw": 0, "rasterized": True}
                one.scatter(samples[column], samples[row], **style)
                one.axhline(_estimate(law, row), color=LAW, lw=0.9, zorder=3)
                one.set_ylim(limits[row])
                one.yaxis.set_major_locator(MaxNLocator(nbins=3, prune="both"))
            one.set_xlim(limits[column])
            one.xaxis.set_major_locator(MaxNLocator(nbins=3, prune="both"))
            one.tick_params(labelsize=8, labelbottom=i == n - 1, labelleft=j == 0 and i > 0)
            one.xaxis.set_major_formatter(DistinctFormatter("plain"))
            one.yaxis.set_major_formatter(DistinctFormatter("plain"))
            one.set_xlabel(_symbol(column) if i == n - 1 else "")
            one.set_ylabel(_symbol(row) if j == 0 and i > 0 else "")
    unit = "runs" if law.bootstrap is not None and law.bootstrap.unit == "run" else "points"
    footnote(
        figure,
        f"{len(next(iter(samples.values()))):,} resamples of {unit}; lines: the estimate from all data. "
        f"{greek(law.equation)}. N: {law.counting.get('params', '')}.",
    )
    return figure


def _limits(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, INNER)
    room = max(0.08 * (high - low), 1e-9 * max(abs(high), 1.0))
    return float(low - room), float(high + room)


def _symbol(label: str) -> str:
    name = label.removeprefix(LOG)
    return label.removesuffix(name) + mathtext(name)


def _estimate(law: Law, label: str) -> float:
    name = label.removeprefix(LOG)
    value = law.values()[name]
    return float(np.log10(value)) if name != label else value
