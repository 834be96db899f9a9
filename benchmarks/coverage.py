"""How often 95% intervals contain the truth, and how wide they are, on data of a known law.

    python benchmarks/coverage.py                          # every law, approach and design
    python benchmarks/coverage.py chinchilla isoflop       # some of them
    python benchmarks/coverage.py --markdown               # the tables of docs/coverage.md

Each of 150 draws goes through the functions that `scaling fit` calls, from points to intervals. The tables give
the share of draws whose interval contains the truth: of every parameter; of `a`, the exponent of N_opt, if there
is an optimum; of `prediction`, the target at ten times the compute of the data; of the loss at 10 and 100 times
the compute for designs; of N_opt at a budget; and of the later runs of a rolled hold-out. A quantity or method
without an interval is left out.

The width is the median over the draws, relative to the ideal: that of generalised least squares by someone who
knows the law's form and the covariance of the noise (the Cramer-Rao bound).
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping
from multiprocessing import get_context

import numpy as np
from coverage_designs import CASES
from coverage_intervals import Outcome, Outcomes
from rich.console import Console
from rich.progress import Progress

CHUNK = 20  # draws that a process is given at once
LONG = ("broken-params-2",)  # only when it is named
DRAWS = 150  # an hour on two cores
# Cases whose draws take several times as long as those of others.
FEWER = {
    "farseer": 60,
    **dict.fromkeys(("repeated-data", "misfit-none", "misfit-coupled", "misfit-drift"), 100),
}

Table = dict[str, dict[str, dict[str, dict[str, float | int | None]]]]  # by case, method and quantity


def drawn(part: tuple[str, range, int]) -> tuple[str, list[dict[str, Outcomes]]]:
    """The name of a case and the outcomes of some of its draws: of (name, seeds, resamples); for a worker."""
    name, seeds, resamples = part
    return name, [CASES[name].draw(seed, resamples) for seed in seeds]


def summary(
    outcomes: list[dict[str, Outcomes]], ideal: Mapping[str, float]
) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """By method and quantity: the share that holds the truth, of how many intervals, and the relative width."""
    found: dict[str, dict[str, list[Outcome]]] = {}
    for by_name in outcomes:
        for method, quantities in by_name.items():
            for quantity, one in quantities.items():
                found.setdefault(method, {}).setdefault(quantity, []).append(one)
    return {
        method: {
            quantity: {
                "held": round(float(np.mean([one.held for one in ones])), 3),
                "intervals": len(ones),
                "width": _ratio(float(np.median([one.width for one in ones])), ideal.get(quantity)),
            }
            for quantity, ones in quantities.items()
        }
        for method, quantities in found.items()
    }


def _ratio(width: float, ideal: float | None) -> float | None:
    return None if ideal is None or not math.isfinite(width) else round(width / ideal, 2)


def measure(names: list[str], draws: int | None, resamples: int, jobs: int, progress: Progress) -> Table:
    """The table of some cases, drawn by `jobs` processes; None for the default number of draws."""
    outcomes: dict[str, list[dict[str, Outcomes]]] = {name: [] for name in names}
    seeds = {name: draws or FEWER.get(name, DRAWS) for name in names}
    tasks = {name: progress.add_task(name, total=seeds[name], visible=False) for name in names}
    parts = [
        (name, range(start, min(start + CHUNK, seeds[name])), resamples)
        for name in names
        for start in range(0, seeds[name], CHUNK)
    ]
    with get_context("spawn").Pool(jobs) as pool:
        for name, part in pool.imap_unordered(drawn, parts):
            outcomes[name] += part
            progress.update(tasks[name], completed=len(outcomes[name]), visible=True)
    ideals = {name: CASES[name].ideal for name in names}
    return {
        name: summary(outcomes[name], {} if (known := ideals[name]) is None else known()) for name in names
    }


def markdown(table: Table) -> str:
    """One row for each case and method."""
    lines = [
        "| case | intervals | share of draws whose 95% interval contains the truth, % | width / ideal |",
        "|---|---|---|---|",
    ]
    for name, methods in table.items():
        if not methods:
            lines.append(f"| {name} | none | no method gives an interval | |")
        for method, by in methods.items():
            most = max(int(cell["intervals"] or 0) for cell in by.values())
            shares = ", ".join(
                f"{q} {100 * float(cell['held'] or 0):g}"
                + (f" (of {cell['intervals']})" if int(cell["intervals"] or 0) < most else "")
                for q, cell in by.items()
            )
            widths = [f"{q} {cell['width']:.2f}" for q, cell in by.items() if cell["width"] is not None]
            lines.append(f"| {name} | {method} ({most}) | {shares} | {', '.join(widths)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; default: all")
    fewer = ", ".join(f"{n} of {name}" for name, n in FEWER.items())
    parser.add_argument("--draws", type=int, help=f"default: {DRAWS}; {fewer}")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: the cores")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    if unknown := set(args.names) - set(CASES):
        parser.error(f"not known: {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    names = args.names or [name for name in CASES if name not in LONG]
    with Progress(console=Console(stderr=True)) as progress:
        table = measure(names, args.draws, args.resamples, args.jobs, progress)
    print(markdown(table) if args.markdown else json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
