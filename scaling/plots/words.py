"""Names for readers: labels of the variables of laws, and parameters with Greek letters and subscripts."""

import html
import re
from collections.abc import Collection

from scaling.laws.points import NATS_PER_TOKEN, Points
from scaling.plots.scales import Unit

WORDS: dict[str, tuple[str, Unit]] = {  # the label of an axis, and how its ticks are written
    "params": ("Model size N (parameters)", "count"),
    "tokens": ("Training tokens D (tokens)", "count"),
    "flops": ("Training compute C (FLOPs)", "flops"),
    "loss": (f"Validation loss ({NATS_PER_TOKEN})", "plain"),
    "error": ("Average error of tasks (share of answers)", "plain"),
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
    rf"(?<![A-Za-z0-9_])({_LETTER}|[A-Z]|[A-Zcdf](?=[c0-9]))(?:_([A-Za-z0-9]+)|([c0-9]))?(?![A-Za-z0-9_])"
)
_POWER = re.compile(r"\^(?:\(([^()]*)\)|(-?[A-Za-z0-9_']+))")


def label_of(name: str, points: Points) -> tuple[str, Unit]:
    """The label of an axis, with the unit of these points' losses, and how its ticks are written."""
    label, unit = WORDS[name]
    return label.replace(NATS_PER_TOKEN, points.loss_unit), unit


def greek(text: str) -> str:
    """An equation or a name with Greek letters, otherwise as it is: A / N^α."""
    return _SYMBOL.sub(lambda m: m.group(0).replace(m.group(1), _GREEK.get(m.group(1), m.group(1)), 1), text)


def markup(text: str) -> str:
    """An equation or a name as HTML, with Greek letters, subscripts and superscripts; the rest escaped."""

    def symbol(m: re.Match[str]) -> str:
        letter, below = _GREEK.get(m.group(1), m.group(1)), m.group(2) or m.group(3)
        return letter + (f"<sub>{below}</sub>" if below else "")

    def power(m: re.Match[str]) -> str:
        raised = (m.group(1) or m.group(2)).replace("-", "\N{MINUS SIGN}")
        return f"<sup>{raised}</sup>"

    return _SYMBOL.sub(symbol, _POWER.sub(power, html.escape(text, quote=False)))


def mathtext(name: str) -> str:
    """A parameter's name for a label of a figure; a name that is no symbol stays text."""
    found = _SYMBOL.fullmatch(name)
    if found is None:
        return f"${name}$" if len(name) == 1 else name.replace("_", " ")
    letter, below = found.group(1), found.group(2) or found.group(3)
    letter = f"\\{'epsilon' if letter == 'eps' else letter}" if letter in _GREEK else letter
    return f"${letter}_{{{below}}}$" if below else f"${letter}$"


def quantity(name: str, parameters: Collection[str]) -> str:
    """What a profile is of, in words where it is no parameter of the law."""
    if name in parameters:
        return name
    return {
        "a": "exponent a of optimal N",
        "optimum a": "exponent of optimal N",
        "tokens_per_param": "optimal tokens per parameter",
    }.get(name, name.replace("_", " "))
