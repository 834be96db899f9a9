"""The estimator's step time against measured steps of public runs, and the constants fitted to them.

    python benchmarks/step_time.py              # prints JSON, in a few seconds
    python benchmarks/step_time.py --markdown   # and writes docs/step_time.md (a minute: it cross-validates)
    python benchmarks/step_time.py --fit        # prints the constants of scaling/estimate/time.py, fitted

Arithmetic only. The rows and their sources are in measured_steps.csv and measured_steps.yaml.
"""

import argparse
import dataclasses
import datetime
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from scaling.estimate.time import RATES, Rates, StepTime

sys.path.insert(0, str(Path(__file__).parent))
from measured_steps import SHARED, SOURCES, Measured, measured_steps

_DOC = Path(__file__).resolve().parents[1] / "docs" / "step_time.md"
# What is known before the fit: a value and the standard deviation of its logarithm. Each rate has a physical
# meaning, and few sources bear on it; without priors the fit follows the peculiarities of single trainers.
_PRIORS: dict[str, dict[str, tuple[float, float]]] = {
    "tpu": {
        "matmul": (0.95, 0.1),
        "attention": (0.40, 0.2),
        "passes": (2.0, 0.4),
        "logit_passes": (8.0, 0.4),
        "waited": (0.7, 0.4),
        "leaked": (0.15, 0.6),
        "layer": (50e-6, 0.8),
        "hosts": (50e-3, 0.8),
    },
    "gpu": {
        "matmul": (0.85, 0.1),
        "passes": (3.0, 0.4),
        "logit_passes": (8.0, 0.4),
        "waited": (1.0, 0.2),
        "leaked": (0.20, 0.6),
        "layer": (200e-6, 0.8),
    },
}
_NOISE = 0.15  # standard deviation of log seconds between trainers
_OUTLIER = 1.5  # standard deviations from which a residual counts linearly


def fit(rows: list[Measured], platform: str) -> Rates:
    """The rates of a platform: robust least squares of log seconds, with priors.

    A source counts as the square root of its rows: they share a trainer.
    """
    rows = [row for row in rows if row.platform == platform]
    priors, sizes = _PRIORS[platform], Counter(row.source for row in rows)
    weights = np.array([sizes[row.source] ** -0.5 for row in rows])

    def rates(x: Any) -> Rates:
        values = {
            name: value * math.exp(float(z) * width)
            for z, (name, (value, width)) in zip(x, priors.items(), strict=True)
        }
        return dataclasses.replace(RATES[platform], **values)

    def loss(x: Any) -> float:
        tried = rates(x)
        off = np.array([math.log(row.seconds / row.predicted(tried).seconds) for row in rows]) / _NOISE
        huber = np.where(abs(off) < _OUTLIER, off**2 / 2, _OUTLIER * abs(off) - _OUTLIER**2 / 2)
        return float(weights @ huber + x @ x / 2)

    start = np.zeros(len(priors))
    return rates(minimize(loss, start, method="L-BFGS-B", bounds=[(-4, 4)] * len(priors)).x)


@dataclasses.dataclass(frozen=True)
class Score:
    """How estimates agree with rows."""

    n: int
    median_error: float  # of |measured / predicted - 1|
    median_ratio: float
    lowest: float
    highest: float
    covered: float  # share of rows inside the interval

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _scored(pairs: list[tuple[Measured, StepTime]]) -> Score:
    ratios = np.array([row.seconds / ours.seconds for row, ours in pairs])
    return Score(
        len(pairs),
        float(np.median(abs(ratios - 1))),
        float(np.median(ratios)),
        float(ratios.min()),
        float(ratios.max()),
        float(np.mean([ours.low <= row.seconds <= ours.high for row, ours in pairs])),
    )


def score(rows: list[Measured]) -> Score:
    """Of all rows, under the product's own rates."""
    return _scored([(row, row.predicted()) for row in rows])


def without(rows: list[Measured]) -> dict[str, dict[str, Rates]]:
    """Per source, the rates of its platforms fitted to the rows of all other sources."""
    found: dict[str, dict[str, Rates]] = {}
    for source in dict.fromkeys(row.source for row in rows):
        others = [row for row in rows if row.source != source]
        platforms = sorted({row.platform for row in rows if row.source == source})
        found[source] = {platform: fit(others, platform) for platform in platforms}
    return found


def left_out(rows: list[Measured], rates: dict[str, dict[str, Rates]]) -> dict[str, Score]:
    """Each source scored by rates that were fitted without it."""
    return {
        source: _scored([(row, row.predicted(own[row.platform])) for row in rows if row.source == source])
        for source, own in rates.items()
    }


def left_out_total(rows: list[Measured], rates: dict[str, dict[str, Rates]]) -> dict[str, Score]:
    """The same over all rows of a platform."""
    return {
        platform: _scored(
            [(row, row.predicted(rates[row.source][platform])) for row in rows if row.platform == platform]
        )
        for platform in _PRIORS
    }


def _size(row: Measured) -> str:
    edges = ((3e8, "below 300M"), (2e9, "300M to 2B"), (2e10, "2B to 20B"), (math.inf, "20B and more"))
    return next(name for edge, name in edges if row.params < edge)


def _length(row: Measured) -> str:
    edges = ((1025, "1,024"), (2049, "2,048"), (4097, "4,096"), (8193, "8,192"))
    return next((name for edge, name in edges if row.layout.length < edge), "32,768 and 65,536")


GROUPS: dict[str, Callable[[Measured], str]] = {
    "device": lambda row: row.devices.hardware.name,
    "parameters": _size,
    "sequence length": _length,
}


def grouped(rows: list[Measured], by: str) -> dict[str, Score]:
    """Scores of the rows by device, parameters or sequence length."""
    names = sorted({GROUPS[by](row) for row in rows})
    return {name: score([row for row in rows if GROUPS[by](row) == name]) for name in names}


def _row(name: str, found: Score) -> str:
    return (
        f"| {name} | {found.n} | {found.median_error:.0%} | {found.median_ratio:.2f} "
        f"| {found.lowest:.2f} to {found.highest:.2f} | {found.covered:.0%} |"
    )


_HEAD = [
    "| rows | median error | median ratio | range of ratios | inside the interval |",
    "|---|---|---|---|---|",
]


def _table(title: str, scores: dict[str, Score]) -> list[str]:
    return ["", f"| {title} {_HEAD[0]}", f"|---{_HEAD[1]}", *(_row(*item) for item in scores.items())]


def markdown(rows: list[Measured]) -> str:
    """docs/step_time.md."""
    shared = [row for row in rows if row.source in SHARED]
    rates = without(rows)
    total, cross = left_out_total(rows, rates), left_out(rows, rates)
    lines = [
        "# Step time: estimates and measurements",
        "",
        "How far can you trust an estimated step time, and with it hours and price?",
        "",
        "```",
        "python benchmarks/step_time.py --markdown",
        "```",
        "",
        f"Computed on {datetime.date.today().isoformat()}; arithmetic only.",
        "",
        f"The estimator's constants were fitted to {len(rows)} measured steps from {len(cross)} public sources: 34M "
        "to 1T",
        "parameters, sequences of 1,024 to 65,536, 1 to 3,072 devices. A ratio is measured over predicted seconds.",
        "None of the runs used this lab's own code; where trainers differ, the estimate lies between them.",
        "",
        "## New sources",
        "",
        "The figure that matters for a run that is not in the table: every source is predicted by constants fitted",
        "without it.",
        *_table("platform", total),
        *_table("source left out", cross),
        "",
        "## Rows used in the fit",
        *_table("rows", {"shared tables": score(shared), "all": score(rows)}),
    ]
    for by in GROUPS:
        lines += _table(by, grouped(rows, by))
    lines += [
        "",
        "On H100s the trainers differ most: NVIDIA's own stacks are up to a quarter faster than the estimate, PyTorch",
        "FSDP without compilation a quarter to a third slower, llm.c with its fused loss 40% faster. The 90% interval",
        f"is {1 - math.exp(-RATES['gpu'].framework):.0%} to {math.exp(RATES['gpu'].framework) - 1:.0%} around the",
        f"estimate on GPUs and {1 - math.exp(-RATES['tpu'].framework):.0%} to "
        f"{math.exp(RATES['tpu'].framework) - 1:.0%} on TPUs, and wider where attention, links or",
        "overheads take a large share of the step.",
        "",
        "## All rows",
        "",
        "| source | run | devices | mesh | remat | measured, s | predicted, s | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.source} | {row.run} | {row.devices} | {row.mesh} | {row.remat} | {row.seconds:.3f} "
        f"| {row.predicted().seconds:.3f} | {row.ratio:.2f} |"
        for row in rows
    ]
    lines += ["", "## Sources", "", "| source | what | date | assumed |", "|---|---|---|---|"]
    lines += [
        f"| {name} | [{one['title']}]({one['url']}) | {one['date']} | {one.get('assumed', '')} |"
        for name, one in SOURCES.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help=f"write docs/{_DOC.name}")
    parser.add_argument("--fit", action="store_true", help="fit the constants and print them")
    arguments = parser.parse_args()
    rows = measured_steps()
    if arguments.markdown:
        _DOC.write_text(markdown(rows), encoding="utf-8")
    found: dict[str, Any] = {
        "benchmark": "step_time",
        "all": score(rows).as_dict(),
        "shared": score([row for row in rows if row.source in SHARED]).as_dict(),
        **{by: {name: one.as_dict() for name, one in grouped(rows, by).items()} for by in GROUPS},
        "rows": [row.as_dict() for row in rows],
    }
    if arguments.fit:
        found["fitted"] = {platform: dataclasses.asdict(fit(rows, platform)) for platform in _PRIORS}
        found["left_out"] = {
            platform: one.as_dict() for platform, one in left_out_total(rows, without(rows)).items()
        }
        del found["rows"]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
