"""Sections of the report about the data: the headline, every point of a table, and the conventions."""

import html
from collections.abc import Sequence

import numpy as np

from scaling.config.record import RunRecord
from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.plots.html_table import html_table, number_cell, text_cell
from scaling.plots.law_sections import between, rounded
from scaling.plots.style import scientific, short
from scaling.plots.words import greek


def summary(points: Points, law: Law | None, records: Sequence[RunRecord]) -> str:
    """The headline numbers at the top."""
    runs = len(records) or len(set(points.groups))
    tiles = [
        (f"{runs}", f"run{'s' * (runs != 1)}, {len(points)} finished token budget{'s' * (len(points) != 1)}"),
        (f"{short(points.params.min())} \N{EN DASH} {short(points.params.max())}", "parameters N"),
        (f"{points.loss.min():.3f}", f"lowest validation loss, {points.loss_unit}"),
    ]
    if law is not None and law.holdout is not None:
        n = law.holdout.n
        tiles.append(
            (
                f"{100 * law.holdout.mean_abs_rel_error:.2g}%",
                f"mean error on {n} held-out point{'s' * (n != 1)}",
            )
        )
    if law is not None and law.optimum is not None:
        within = [row for row in law.optimum.budgets if row.flops <= points.flops.max()]
        row = within[-1] if within else law.optimum.budgets[0]
        ends = row.tokens_per_param_interval
        said = f"tokens per parameter at {scientific(row.flops)} FLOPs"
        said += "" if ends is None else f" ({between(ends)})"
        tiles.append((rounded(row.tokens_per_param, ends), said))
    if law is not None and law.unidentified:
        free = ", ".join(map(greek, law.unidentified))
        tiles.append((free, f"of the {law.law} law: not identified by these runs"))
    cells = "".join(f"<div><b>{html.escape(a)}</b><span>{html.escape(b)}</span></div>" for a, b in tiles)
    return f'<section class="tiles">{cells}</section>'


def points_section(points: Points) -> str:
    """Every point by size and tokens, where there are no records."""
    head = ["run", "N", "tokens", "FLOPs", "loss"]
    order = np.lexsort((np.array(points.labels), points.tokens, points.params))
    rows = [
        [
            text_cell(points.labels[i]),
            number_cell(short(points.params[i])),
            number_cell(short(points.tokens[i])),
            number_cell(scientific(points.flops[i])),
            number_cell(f"{points.loss[i]:.4f}"),
        ]
        for i in order
    ]
    return f"<section><h2>Points</h2>{html_table(head, rows)}</section>"


def conventions_section(points: Points, law: Law | None, records: Sequence[RunRecord]) -> str:
    """What N, C and loss count, and the versions."""
    rows = [
        ("parameters N", points.counting["params"]),
        ("compute C of law and figures", points.counting["flops"]),
        ("loss", f"validation, {points.loss_unit}"),
        ("source", points.source),
        ("data", ", ".join(sorted({d for d in points.dataset if d})) or "not named"),
    ]
    versions = dict(law.versions) if law is not None else {}
    ran: dict[str, set[str]] = {}
    for run in records:
        for name, number in run.versions.items():
            ran.setdefault(name, set()).add(number)
        if run.git_commit:
            ran.setdefault("git commit", set()).add(run.git_commit[:12])
    if ran:
        text = ", ".join(f"{name} {' and '.join(sorted(numbers))}" for name, numbers in sorted(ran.items()))
        rows.append(("trained with", text))
    if versions:
        rows.append(
            ("fitted with", ", ".join(f"{name} {number}" for name, number in sorted(versions.items())))
        )
    table = html_table([], [[text_cell(a), text_cell(b)] for a, b in rows])
    return f"<section><h2>Conventions</h2>{table}</section>"
