"""The cells of a table: numbers as people write them (`1.4T`, `5,000`, `3 GFLOPs`), and states of runs.

A cell is read if it has only one reading. Whether a comma is a decimal mark is decided once for a table, from
all its numbers: see `decimal_mark`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

THOUSAND, MILLION, BILLION, TRILLION = 1e3, 1e6, 1e9, 1e12
PF_DAY = 1e15 * 86400  # a petaFLOP/s for a day, in FLOPs

SPACES = " \u00a0\u2009\u202f"
_BODY = re.compile(
    rf"(?P<sign>[+-]?)(?P<body>\d[\d.,_'’{SPACES}]*|[.,]\d+)"
    rf"(?:[eE](?P<exponent>[+-]?\d{{1,4}})|[{SPACES}]*[x×*·][{SPACES}]*10(?:\^|\*\*)(?P<power>[+-]?\d{{1,4}}))?"
    r"(?P<rest>.*)",
    re.DOTALL,
)
_COUNTS = {
    **dict.fromkeys(("", "x"), 1.0),
    **dict.fromkeys(("k", "thousand", "thousands"), THOUSAND),
    **dict.fromkeys(("m", "mio", "mn", "mega", "million", "millions"), MILLION),
    **dict.fromkeys(("b", "bn", "g", "giga", "billion", "billions"), BILLION),
    **dict.fromkeys(("t", "tn", "tera", "trillion", "trillions"), TRILLION),
}
_PREFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21, "y": 1e24}
_WORDS = dict(
    zip(("kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta"),
        (10.0**i for i in range(3, 25, 3)), strict=True)
)  # fmt: skip
_COUNTED = re.compile(r"(params?|parameters?|tokens?|toks?|steps?|weights?)$")
_FLOPS = re.compile(r"(?P<prefix>[kmgtpezy]|kilo|mega|giga|tera|peta|exa|zetta|yotta)?(flops?|fp|ops)$")
_PF_DAYS = re.compile(r"p(eta)?f?(flops?)?s?days?")


def count_unit(text: str) -> float | None:
    """The factor of a unit of parameters or tokens: M, billion, `1e6`, `10^9`; None for other text."""
    word = _COUNTED.sub("", text.strip().casefold().replace("-", " ").strip(SPACES + "'#.")).strip()
    word = re.sub(r"^in\s+|\s+of$", "", word).strip()
    return _COUNTS[word] if word in _COUNTS else _power(word)


def flops_unit(text: str) -> float | None:
    """The factor of a unit of compute: GFLOPs, `1e18`, PF-days, exaFLOP; None for other text."""
    word = re.sub(rf"[-/·.{SPACES}]", "", text.strip().casefold())
    if _PF_DAYS.fullmatch(word):
        return PF_DAY
    if found := _FLOPS.fullmatch(word):
        prefix = found["prefix"] or ""
        return 1.0 if not prefix else _PREFIXES.get(prefix) or _WORDS[prefix]
    if word in _WORDS:
        return _WORDS[word]
    # A bare E would be an exponent without its number.
    if word in _PREFIXES and word != "e":
        return _PREFIXES[word]
    return count_unit(text)


def _power(word: str) -> float | None:
    """`1e18`, `x1e18`, `10^18`, `×10^18`, `e18` as a factor."""
    found = re.fullmatch(r"[x×*]?\s*(?:1?(?:\.0)?e|10(?:\^|\*\*))\+?(\d{1,2})", word)
    return 10.0 ** int(found[1]) if found else None


def decimal_mark(cells: Iterable[tuple[str, bool]]) -> str | tuple[str, str]:
    """The decimal mark, `.` or `,`, of all numbers of a table: (text, whether it is a count).

    `1,5` and `0,123` have a decimal comma; `1.5`, `1,234,567` and a point after a comma, a decimal point.
    `5,000` alone is ambiguous: as a count it is five thousand, because counts are integers. Two numbers that
    contradict each other are returned as a pair.
    """
    evidence: dict[str, str] = {}
    weak: dict[str, str] = {}
    for text, counts in cells:
        found = _BODY.fullmatch(text.strip())
        if found is None or not ("," in found["body"] or "." in found["body"]):
            continue
        shown, sure = _shown_mark(found["body"].strip(), counts and not found["rest"].strip())
        if shown is not None:
            (evidence if sure else weak).setdefault(shown, text.strip())
    for seen in (evidence, weak):
        if len(seen) > 1:
            return seen["."], seen[","]
        if seen:
            return next(iter(seen))
    return "."


def _shown_mark(body: str, counts: bool) -> tuple[str | None, bool]:
    """The decimal mark of one number, and whether it has no other reading."""
    comma, point = body.count(","), body.count(".")
    if comma and point:
        last = "," if body.rindex(",") > body.rindex(".") else "."
        return last, True
    mark, other, n = (",", ".", comma) if comma else (".", ",", point)
    if n > 1:
        return other, True  # groups of thousands
    before, after = body.split(mark)
    if len(after) == 3 and 1 <= len(before) <= 3 and before.strip("0"):
        # 5,000 or 3.141
        if mark == ".":
            return ".", False
        return ("." if counts else ","), False
    return mark, True


def read_number(text: str, mark: str = ".") -> tuple[float, str]:
    """The number at the start of a cell, and the text after it: a unit, a percent sign, or nothing.

    Raises:
        ValueError: the cell does not start with a number, or its groups of thousands are not three digits.
    """
    found = _BODY.fullmatch(text.strip())
    if found is None:
        return float(text), ""  # words of float(): nan, inf
    body, rest = found["body"].strip(SPACES), found["rest"].strip(SPACES + "_")
    whole, _, fraction = body.partition(mark)
    group = "." if mark == "," else ","
    if re.fullmatch(r"\d{1,3}(_\d{3})+|\d+", whole) is None:
        marks = set(re.sub(r"\d", "", whole))
        pattern = r"\d{1,3}(?:[^\d]\d{3})+"
        if len(marks) > 1 or re.fullmatch(pattern, whole) is None:
            if whole or not fraction:
                raise ValueError(text)
        elif group not in marks and not marks <= set("_'’" + SPACES):
            raise ValueError(text)
    if fraction and not fraction.isdecimal():
        raise ValueError(text)
    digits = re.sub(r"\D", "", whole) or "0"
    exponent = found["exponent"] or found["power"] or "0"
    value = float(f"{found['sign']}{digits}.{fraction or '0'}e{exponent}")
    return value, rest


def finite_positive(value: float) -> bool:
    """Whether a value can be a measurement."""
    return math.isfinite(value) and value > 0


_STATES = {
    **dict.fromkeys(
        ("true", "yes", "y", "1", "final", "finished", "finish", "complete", "completed", "done", "ended",
         "ok", "success", "successful", "succeeded", "converged"),
        True,
    ),
    **dict.fromkeys(
        ("false", "no", "n", "0", "running", "interrupted", "intermediate", "partial", "crashed", "crash",
         "failed", "fail", "failure", "error", "errored", "killed", "preempted", "preempting", "evicted",
         "pending", "queued", "scheduled", "starting", "waiting", "paused", "suspended", "resuming",
         "requeued", "cancelled", "canceled", "aborted", "terminated", "unfinished", "incomplete",
         "in progress", "ongoing", "timeout", "timed out", "time out", "diverged", "nan", "oom",
         "out of memory", "node fail", "boot fail", "deadline", "dead", "lost", "stopped early", "early"),
        False,
    ),
}  # fmt: skip


def is_final(cell: str) -> bool | None:
    """Whether a state is that of a finished run; None if it is not known."""
    word = re.sub(r"[\s_-]+", " ", cell.strip().casefold()).rstrip("+!. ")
    if word not in _STATES:
        word = re.sub(r"\bby \S+$", "", word).strip()  # SLURM: CANCELLED by 1000
    return _STATES.get(word)


def unknown_words(cells: Sequence[str]) -> Counter[str]:
    """The states of a column that are not known, and the number of rows of each."""
    return Counter(cell.strip() for cell in cells if is_final(cell) is None)
