"""Logarithmic axes whose ticks are few, distinct and written as people say them: 3M, 10¹⁸, 0.25."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from scaling.plots.style import plain, scientific, short

Unit = Literal["count", "flops", "plain"]
_WORDS: dict[str, tuple[Callable[[float, int], str], int]] = {  # with the fewest digits
    "count": (short, 3),
    "flops": (scientific, 2),
    "plain": (plain, 3),
}
MOST_DIGITS = 7
LEAST_PERCENT = 1e-3
LEAST_RANGE = 1.05  # highest over lowest limit of an axis whose values are all equal


class DistinctFormatter(Formatter):
    """Tick labels in the fewest digits that tell all ticks apart."""

    def __init__(self, unit: Unit) -> None:
        self._word, self._digits = _WORDS[unit]

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of one tick."""
        return self._word(x, self._digits)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """The labels of all ticks."""
        different = len(set(values))
        for digits in range(self._digits, MOST_DIGITS + 1):
            labels = [self._word(value, digits) for value in values]
            if len(set(labels)) == different:
                break
        return labels


def log_axis(axis: Axis, label: str, unit: Unit, ticks: int = 9) -> None:
    """A logarithmic axis with its label, over the limits that it has.

    Args:
        axis: of x or y.
        label: with the unit.
        unit: how a tick is written: `count` as 3M, `flops` as a power of ten, `plain` as a number.
        ticks: the most labelled decades.
    """
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log")
        low, high = sorted(axes.get_xlim())
    else:
        axes.set_yscale("log")
        low, high = sorted(axes.get_ylim())
    if low > 0 and high < low * LEAST_RANGE:
        centre = np.sqrt(low * high)
        low, high = centre / np.sqrt(LEAST_RANGE), centre * np.sqrt(LEAST_RANGE)
        (axes.set_xlim if axis is axes.xaxis else axes.set_ylim)(low, high)
    decades = np.log10(high / low) if low > 0 else 3.0
    minor: NullLocator | LogLocator = LogLocator(subs=tuple(range(2, 10)), numticks=40)
    if decades > 2 or (unit == "flops" and decades > 1.2):
        axis.set_major_locator(LogLocator(numticks=ticks))
    elif decades > 0.7:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=40))
    else:
        nbins = 3 if unit == "flops" else 5
        axis.set_major_locator(MaxNLocator(nbins=nbins, steps=[1, 2, 2.5, 5, 10]))
        minor = NullLocator()
    axis.set_minor_locator(minor)
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(DistinctFormatter(unit))
    axis.set_label_text(label)


def percent_axis(axis: Axis) -> None:
    """A linear axis of relative errors in percent; errors of rounding alone do not stretch it."""
    low, high = axis.get_view_interval()
    if max(abs(low), abs(high)) < LEAST_PERCENT:
        axis.set_view_interval(-LEAST_PERCENT, LEAST_PERCENT, ignore=True)
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v:+g}%".replace("-", "\N{MINUS SIGN}") if v else "0")
    )
