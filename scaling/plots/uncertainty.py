"""How well the data determine the parameters of a law: profiles, and pairs of bootstrap resamples."""

import math
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
    legend_at_right,
    line_handle,
    panels,
)
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]
WIDE = 30.0  # a grid over more than this factor is drawn on a log axis
FLAT = 1e3  # a side that does not rise is drawn over this factor


@dataclass(frozen=True)
class ProfileCurve:
    """The profile of one quantity of a law, as it is drawn.

    `rise` (G,) is the objective above its minimum with the quantity held at `grid` (G,) and all parameters
    fitted again; `interval` ends at the edge of the drawn range where it is open.
    """

    name: str
    grid: Floats
    rise: Floats
    shown: tuple[float, float]  # the range of the grid that is drawn
    interval: tuple[float, float]
    estimate: float | None  # None outside the drawn range
    identified: bool

    @property
    def wide(self) -> bool:
        """Whether it is drawn on a log axis."""
        return _is_wide(self.grid)


def profiles_of(law: Law) -> tuple[ProfileCurve, ...]:
    """The profiles of a law; none if it was fitted without them."""
    out = []
    for name, profile in (law.profile or {}).items():
        pairs = [pair for pair in zip(profile.grid, profile.objective, strict=True) if math.isfinite(pair[1])]
        if not pairs:
            continue
        grid, objective = np.array(sorted(pairs), float).T
        rise = objective - min(float(objective.min()), law.objective.value)
        left, right = _shown(grid, *profile.interval)
        low, high = profile.interval
        interval = (left if low is None else low, right if high is None else high)
        estimate = _estimate_of(name, law)
        if estimate is not None and not left <= estimate <= right:
            estimate = None
        out.append(ProfileCurve(name, grid, rise, (left, right), interval, estimate, profile.identified))
    return tuple(out)


def _is_wide(grid: Floats) -> bool:
    return bool(grid[0] > 0 and grid[-1] > WIDE * grid[0])


def _shown(grid: Floats, low: float | None, high: float | None) -> tuple[float, float]:
    """The range that is drawn: of a side that stays flat, a few decades."""
    left, right = float(grid[0]), float(grid[-1])
    if not _is_wide(grid):
        return left, right
    if low is None and high is not None:
        left = max(left, high / FLAT)
    if high is None and low is not None:
        right = min(right, low * FLAT)
    return left, right


def _estimate_of(name: str, law: Law) -> float | None:
    """The value of a profiled quantity by the law itself."""
    if name in law.parameters:
        return law.parameters[name]
    frontier = law.frontier()
    if frontier is None:
        return None
    if name == RATIO:
        flops = law.ranges["flops"][1]
        return float(frontier.tokens(flops) / frontier.params(flops))
    return frontier.a


def profiles_figure(sources: Sources, options: Options) -> Figure:
    """A panel per quantity: the objective above its minimum, the estimate and the interval.

    Raises:
        BadInputError: no law, or one without profiles.
    """
    law = sources.need_law("profiles")
    profiles = profiles_of(law)
    if not profiles:
        raise BadInputError(
            f"profiles: the {law.law} law was fitted without profiles; use scaling fit SOURCE "
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
    legend_at_right(figure, handles)
    footnote(
        figure,
        f"{greek(law.equation)}. Objective: {law.objective.name}, delta {law.objective.delta:g}. All other "
        "parameters are fitted again at each value.",
        f"N: {law.counting.get('params', '')}.",
    )
    return figure


def _panel(axes: Axes, profile: ProfileCurve, law: Law) -> None:
    axes.plot(profile.grid, profile.rise, color=ENVELOPE, lw=1.6, zorder=4)
    axes.axvspan(*profile.interval, color=LAW, alpha=0.16, lw=0, zorder=1)
    if profile.estimate is not None:
        axes.axvline(profile.estimate, color=LAW, lw=1.2, zorder=3)
    label = mathtext(quantity(profile.name, law.parameters))
    axes.set_xlim(profile.shown)
    if profile.wide:
        log_axis(axes.xaxis, label, "plain", ticks=4)
    else:
        nbins = 3 if abs(profile.shown[1]) < LONG_TICKS else 2
        axes.xaxis.set_major_locator(MaxNLocator(nbins=nbins, min_n_ticks=1))
        axes.xaxis.set_major_formatter(DistinctFormatter("plain"))
        axes.set_xlabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(DistinctFormatter("plain"))
    if not profile.identified:
        axes.set_title("not identified", fontsize=9, weight="normal", color=MUTED, pad=4)
    axes.axhline(0, color=INK, lw=0.6, zorder=2)


DECADE = 10.0  # a parameter whose resamples span more than this factor is drawn as its log
LONG_TICKS = 1e5  # from here on ticks are powers of ten, too wide for three in a panel
LOG = "log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} "
INNER = (0.005, 0.995)  # quantiles of the resamples that the axes cover


def pair_samples(law: Law) -> dict[str, Floats]:
    """(S,) resamples of each parameter by label; a wide range, or large values, as log10.

    Parameters that a limiting form fixes are left out, as are resamples with an infinite parameter.

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
        low, high = np.quantile(drawn, (0.025, 0.975))
        as_log = drawn.min() > 0 and (high > DECADE * low or high >= LONG_TICKS)
        out[f"{LOG}{name}" if as_log else name] = np.log10(drawn) if as_log else drawn
    return out


def bootstrap_figure(sources: Sources, options: Options) -> Figure:
    """A scatter plot of every pair of parameters over the resamples, with histograms on the diagonal.

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
