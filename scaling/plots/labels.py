"""How numbers, variables and parameters are written: 124M, 10¹⁸, tick labels, axis labels, Greek letters."""

import html
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from scaling.laws.points import NATS_PER_TOKEN, Points
from scaling.laws.tuned import Tuned
from scaling.runtime.suggest import plural

Unit = Literal["count", "flops", "plain"]


def short(value: float, digits: int = 3) -> str:
    """A count as 124M, 1.5B or 870k, in at most `digits` digits; a power of ten beyond trillions."""
    if value >= 999.5e12:
        return scientific(value, digits)
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit * 0.9995:
            return f"{value / limit:.{digits}g}{unit}"
    return f"{value:.{digits}g}"


def scientific(value: float, digits: int = 2) -> str:
    """A number as `1.2 × 10¹⁸`, without markup."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"10{power}" if mantissa == "1" else f"{mantissa} \N{MULTIPLICATION SIGN} 10{power}"


def plain(value: float, digits: int = 3) -> str:
    """A number in `digits` digits; a power of ten outside 10⁻⁴ to 10⁵."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return scientific(value, digits)
    return f"{float(f'{value:.{digits}g}'):,.15g}"


def fixed(value: float, step: float) -> str:
    """A number rounded to the decimal place of `step`, with trailing zeros."""
    place = math.floor(math.log10(step))
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        digits = math.floor(math.log10(abs(value))) - place + 1
        return scientific(value, min(max(digits, 1), 7))
    return f"{round(value, -place):,.{max(-place, 0)}f}"


_WRITERS: dict[str, tuple[Callable[[float, int], str], int]] = {  # with the fewest digits
    "count": (short, 3),
    "flops": (scientific, 2),
    "plain": (plain, 3),
}
MOST_DIGITS = 7
LEAST_PERCENT = 1e-3  # half the range of an axis of errors that are rounding alone
LEAST_RANGE = 1.05  # upper over lower limit of an axis whose values are all equal


class DistinctFormatter(Formatter):
    """Tick labels in the fewest digits that distinguish all ticks."""

    def __init__(self, unit: Unit) -> None:
        self._word, self._digits = _WRITERS[unit]

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
    """Make an axis logarithmic within its present limits, with few and distinct tick labels.

    Args:
        axis: `axes.xaxis` or `axes.yaxis`.
        label: includes the unit.
        unit: how ticks are written: `count` as 3M, `flops` as a power of ten, `plain` as a number.
        ticks: the largest number of labelled decades.
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
    """Make an axis linear in percent, with signs; rounding errors alone do not stretch it."""
    low, high = axis.get_view_interval()
    if max(abs(low), abs(high)) < LEAST_PERCENT:
        axis.set_view_interval(-LEAST_PERCENT, LEAST_PERCENT, ignore=True)
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v:+g}%".replace("-", "\N{MINUS SIGN}") if v else "0")
    )


VARIABLES: dict[str, tuple[str, Unit]] = {  # axis label, and how ticks are written
    "params": ("Model size N (parameters)", "count"),
    "tokens": ("Training tokens D (tokens)", "count"),
    "flops": ("Training compute C (FLOPs)", "flops"),
    "loss": (f"Validation loss ({NATS_PER_TOKEN})", "plain"),
    "error": ("Average task error (share of answers)", "plain"),
    "learning_rate": ("Learning rate", "plain"),
    "batch_tokens": ("Batch size (tokens)", "count"),
    "min_steps": ("Minimum steps $S_{min}$ (steps)", "count"),
    "unique_tokens": ("Unique tokens (tokens)", "count"),
}
_GREEK = {
    "alpha": "\N{GREEK SMALL LETTER ALPHA}",
    "beta": "\N{GREEK SMALL LETTER BETA}",
    "gamma": "\N{GREEK SMALL LETTER GAMMA}",
    "delta": "\N{GREEK SMALL LETTER DELTA}",
    "eps": "\N{GREEK SMALL LETTER EPSILON}",
    "eta": "\N{GREEK SMALL LETTER ETA}",
}
_LETTER = "|".join(_GREEK)
# A Greek or Latin letter with a subscript, with or without an underscore: alpha_N, R_N, S_min, Nc, C0, d1.
_SYMBOL = re.compile(
    rf"(?<![A-Za-z0-9_])({_LETTER}|[A-Z]|[A-Zcdf](?=[c0-9])|[ab](?=[0-9]))(?:_([A-Za-z0-9]+)|([c0-9]))?(?![A-Za-z0-9_])"
)
_POWER = re.compile(r"\^(?:\(([^()]*)\)|(-?[A-Za-z0-9_']+))")


def label_of(name: str, points: Points) -> tuple[str, Unit]:
    """The axis label of a variable, with the loss unit of `points`, and how its ticks are written."""
    label, unit = VARIABLES[name]
    return label.replace(NATS_PER_TOKEN, points.loss_unit), unit


def variable_name(name: str) -> str:
    """A variable without its unit, in lower case: `validation loss`."""
    return VARIABLES[name][0].split(" (")[0].lower()


def greek(text: str) -> str:
    """An equation or name with Greek letters: A / N^α."""
    return _SYMBOL.sub(lambda m: m.group(0).replace(m.group(1), _GREEK.get(m.group(1), m.group(1)), 1), text)


def markup(text: str) -> str:
    """An equation or name as HTML with Greek letters, subscripts and superscripts; other text is escaped."""

    def symbol(m: re.Match[str]) -> str:
        letter, below = _GREEK.get(m.group(1), m.group(1)), m.group(2) or m.group(3)
        return letter + (f"<sub>{below}</sub>" if below else "")

    def power(m: re.Match[str]) -> str:
        raised = (m.group(1) or m.group(2)).replace("-", "\N{MINUS SIGN}")
        return f"<sup>{raised}</sup>"

    return _SYMBOL.sub(symbol, _POWER.sub(power, html.escape(text, quote=False)))


def mathtext(name: str) -> str:
    """A parameter name as mathtext for figures; a name that is not a symbol stays text."""
    found = _SYMBOL.fullmatch(name)
    if found is None:
        return f"${name}$" if len(name) == 1 else name.replace("_", " ")
    letter, below = found.group(1), found.group(2) or found.group(3)
    letter = f"\\{'epsilon' if letter == 'eps' else letter}" if letter in _GREEK else letter
    return f"${letter}_{{{below}}}$" if below else f"${letter}$"


def quantity(name: str, parameters: Collection[str]) -> str:
    """The quantity of a profile: a parameter of the law by name, others in words."""
    if name in parameters:
        return name
    return {
        "a": "exponent a of optimal N",
        "optimum a": "exponent of optimal N",
        "tokens_per_param": "optimal tokens per parameter",
    }.get(name, name.replace("_", " "))


def counting_note(points: Points) -> str:
    """The note that says how N and C are counted."""
    return f"N: {points.counting['params']}. C: {points.counting['flops']}."


def fitted_note(found: Tuned, faint: bool = False) -> str:
    """The note that says how many minima of sweeps the points are, and whether their runs are faint."""
    if found.swept is None:
        return ""
    minima, others = found.swept.n_bowls, len(found.points) - found.swept.n_bowls
    more = f" and {plural(others, 'other run')}" if others else ""
    runs = f"; faint: their {found.swept.n_points} runs" if faint else f" ({found.swept.n_points} runs)"
    return f"Fitted: the minima of {plural(minima, 'sweep')} of settings{more}{runs}."


def compute_label(points: Points) -> str:
    """The axis label of training compute, with the counting convention if it is short."""
    counted = points.counting["flops"]
    return f"Training compute C (FLOPs: {counted})" if len(counted) < 12 else "Training compute C (FLOPs)"
