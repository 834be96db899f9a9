"""Whether the numbers of a table can be in the units that its columns name, and the likely units if not."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.read.cells import PF_DAY

Floats = NDArray[np.float64]

LEAST = 1000.0  # parameters, tokens
MOST = {"params": 1e15, "tokens": 1e18}
RATIO = (0.1, 10.0)  # median of FLOPs / 6ND
OUTLIER = 30.0  # a row's FLOPs / 6ND over the median's
TOKENS_PER_PARAM = (1e-3, 1e7)  # median of D / N
UNTRAINED = math.log(2**18)  # nats per token of guessing among 262,144 tokens, the largest vocabulary in use
BARELY_TRAINED = 9.0  # a median of losses, in nats per token
COUNTS = {1.0: "", 1e3: "thousands", 1e6: "millions", 1e9: "billions", 1e12: "trillions"}
FLOPS = {1.0: "", 1e9: "GFLOPs", 1e12: "TFLOPs", 1e15: "PFLOPs", 1e18: "EFLOPs", 1e21: "ZFLOPs",
         PF_DAY: "petaFLOP/s-days", 1e6: "MFLOPs", 1e3: "thousands of FLOPs"}  # fmt: skip
HEADER_UNITS = {1e3: "k", 1e6: "M", 1e9: "B", 1e12: "T"}  # of counts
USUAL_RATIO = 20.0  # tokens per parameter
USUAL_PARAMS = (3e5, 3e11)


@dataclass(frozen=True)
class Measurements:
    """(n,) the columns of a table with their names in it, and the number of each row's line (or row).

    `flops` is NaN if the table has none. `derived` means that tokens were computed from FLOPs.
    """

    names: dict[str, str]
    rows: list[Any]
    params: Floats
    tokens: Floats
    flops: Floats
    loss: Floats
    per_token: bool  # loss in nats per token
    vocab_size: Floats
    derived: bool = False
    unit: str = "line"


def questions(table: Measurements) -> Iterator[str]:
    """One line for each implausible column, with its likely unit."""
    if len(table.rows) == 0:
        return
    yield from list(_sizes(table)) or list(_compute(table)) or list(_proportion(table))
    yield from _losses(table)


def _sizes(table: Measurements) -> Iterator[str]:
    wrong, beyond = [], np.zeros(len(table.rows), bool)
    for field, values in (("params", table.params), ("tokens", table.tokens)):
        off = (values < LEAST) | (values > MOST[field])
        if off.any():
            size = "small" if values[off].min() < LEAST else "large"
            wrong.append(f"{_named(table, field)}: {_range(values[off])}{_where(table, off)}, too {size}")
            beyond |= off
    if wrong and 2 * beyond.sum() < len(beyond):
        some = _rows(table, beyond)
        units = " or ".join(_in_words(table, one) for one in likely_units(some)) or "another unit"
        yield f"{' and '.join(wrong)} for a count; likely {units}: write these rows in the unit of the others"
    elif wrong:
        yield f"{' and '.join(wrong)} for a count{_likely(table)}"


def _rows(table: Measurements, mask: NDArray[np.bool_]) -> Measurements:
    chosen = {
        name: getattr(table, name)[mask] for name in ("params", "tokens", "flops", "loss", "vocab_size")
    }
    return replace(table, rows=[table.rows[i] for i in np.flatnonzero(mask)], **chosen)


def _compute(table: Measurements) -> Iterator[str]:
    ratio = table.flops / (6 * table.params * table.tokens)
    given = np.isfinite(ratio)
    if not given.any() or table.derived:
        return
    median = float(np.median(ratio[given]))
    if not RATIO[0] <= median <= RATIO[1]:
        yield (
            f"{_named(table, 'flops')}: the median of FLOPs / 6ND is {median:.2g}, not 0.1 to 10"
            f"{_likely(table)}"
        )
        return
    off = given & ((ratio > OUTLIER * median) | (ratio < median / OUTLIER))
    if off.any():
        yield (
            f"{_named(table, 'flops')}: FLOPs / 6ND is {_range(ratio[off])}{_where(table, off)}, and its "
            f"median is {median:.2g}: these rows are probably in another unit than the others"
        )


def _proportion(table: Measurements) -> Iterator[str]:
    ratio = float(np.median(table.tokens / table.params))
    if not TOKENS_PER_PARAM[0] <= ratio <= TOKENS_PER_PARAM[1]:
        yield f"a median of {ratio:.2g} tokens per parameter is implausible{_likely(table)}"


def _losses(table: Measurements) -> Iterator[str]:
    loss, name = table.loss, _named(table, "loss")
    if not table.per_token:
        if loss.max() > 2 * UNTRAINED:
            yield f"{name} reaches {loss.max():.4g}, more than any untrained model has: check its unit"
        return
    guess = np.log(table.vocab_size)
    above = loss > 1.1 * guess  # False where the vocabulary is not known
    if loss.max() > UNTRAINED or np.median(loss) > BARELY_TRAINED:
        yield (
            f"{name} reaches {loss.max():.4g} nats per token, but guessing among 262,144 tokens costs "
            f"{UNTRAINED:.1f}: likely perplexities; name the column ppl, or give --columns perplexity=COLUMN"
        )
    elif above.any():
        size = table.vocab_size[above][0]
        yield (
            f"{name} reaches {loss[above].max():.4g} nats per token{_where(table, above)}, above the "
            f"{math.log(size):.2f} of guessing among {size:,.0f} tokens: check its unit, or the vocabulary"
        )
    if len(loss) >= 8 and np.ptp(loss) > 0:
        compute = np.log(6 * table.params * table.tokens)
        if np.ptp(compute) > math.log(10) and _rank_correlation(compute, loss) > 0.6:
            yield f"{name} rises with compute, as scores do and losses do not: name the column of losses"


def _rank_correlation(x: Floats, y: Floats) -> float:
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (x, y))
    return float(np.corrcoef(first, second)[0, 1])


def _likely(table: Measurements) -> str:
    """The units in which the numbers would be plausible, and how to name them."""
    found = likely_units(table)
    if not found:
        return "; check the units"
    many = [_in_words(table, one) for one in found]
    best = found[0]
    headers = ", ".join(
        f"'{table.names[field]} ({FLOPS[factor] if field == 'flops' else HEADER_UNITS[factor]})'"
        for field, factor in best.items()
    )
    factors = (f"{factor:.3g}".replace("e+0", "e").replace("e+", "e") for factor in best.values())
    named = ",".join(
        f"{field}={table.names[field]}*{factor}" for field, factor in zip(best, factors, strict=True)
    )
    return (
        f"; likely {' or '.join(many)}: write the unit in the header, as {headers}, or give it by --columns "
        f"{named}"
    )


def _in_words(table: Measurements, factors: Mapping[str, float]) -> str:
    return " and ".join(
        f"{_named(table, field)} in {_unit(field, factor)}" for field, factor in factors.items()
    )


def _unit(field: str, factor: float) -> str:
    return FLOPS[factor] if field == "flops" else COUNTS[factor]


def likely_units(table: Measurements) -> list[dict[str, float]]:
    """The units by field, as factors, that make the numbers plausible, most likely first; at most two.

    A choice of units costs more the more columns it changes, the more unusual the sizes are, the further
    tokens per parameter are from 20, and the further compute is from 6ND.
    """
    given = np.isfinite(table.flops)
    n, d = (float(np.median(np.log10(values))) for values in (table.params, table.tokens))
    c = float(np.median(np.log10(table.flops[given]))) if given.any() and not table.derived else None
    product = float(np.median(np.log10((6 * table.params * table.tokens)[given]))) if c is not None else 0.0
    costs: list[tuple[float, dict[str, float]]] = []
    scales = (list(COUNTS)[:-1], COUNTS, FLOPS if c is not None else (1.0,))  # an N of trillions is rare
    for scale_n, scale_d, scale_c in itertools.product(*scales):
        scales_of = {"params": scale_n, "tokens": scale_d, "flops": scale_c}
        changed = {field: factor for field, factor in scales_of.items() if factor != 1}
        if not changed or (table.derived and "tokens" in changed):
            continue
        low, high = n + math.log10(scale_n), d + math.log10(scale_d)
        if min(table.params.min() * scale_n, table.tokens.min() * scale_d) < LEAST:
            continue
        cost = 0.6 * len(changed)
        # One unit for both sizes is more usual than two.
        cost += 0.5 * (scale_n != scale_d and "params" in changed and "tokens" in changed)
        cost += 0.5 * sum(factor == 1e3 for factor in changed.values()) + 0.5 * (scale_c == 1e6)
        cost += 2 * max(0.0, math.log10(USUAL_PARAMS[0]) - low, low - math.log10(USUAL_PARAMS[1]))
        cost += 0.5 * max(0.0, abs(high - low - math.log10(USUAL_RATIO)) - 1)
        if c is not None:
            away = abs(c + math.log10(scale_c) - product - math.log10(scale_n) - math.log10(scale_d))
            if away > 1:
                continue
            cost += 2 * away
        costs.append((cost, changed))
    costs.sort(key=lambda one: one[0])
    return [changed for cost, changed in costs if cost <= costs[0][0] + 0.3][:2]


def _named(table: Measurements, field: str) -> str:
    name = table.names.get(field, field)
    return field if name == field else f"{name} ({field})"


def _range(values: Floats) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if low == high else f"values from {low:.4g} to {high:.4g}"


def _where(table: Measurements, mask: NDArray[np.bool_]) -> str:
    """Where the rows are; nothing for all rows."""
    if mask.all():
        return ""
    rows = [table.rows[i] for i in np.flatnonzero(mask)]
    shown = ", ".join(map(str, rows[:3])) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
    return f" in {table.unit}{'s' * (len(rows) > 1)} {shown}"
