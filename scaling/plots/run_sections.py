"""Sections of the report about the runs: the summary, every run and what it cost, and what is counted how."""

import html
from collections.abc import Sequence

from scaling.config.record import RunRecord
from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.plots.html_table import html_table, maybe, number_cell, text_cell
from scaling.plots.style import scientific, short


def summary(points: Points, law: LawFit | None, records: Sequence[RunRecord]) -> str:
    """The tiles at the top."""
    runs = len(records) or len(set(points.groups))
    tiles = [
        (f"{runs}", f"{'run' if runs == 1 else 'runs'}, {len(points)} finished token budgets"),
        (f"{short(points.params.min())} \N{EN DASH} {short(points.params.max())}", "parameters N"),
        (f"{points.loss.min():.3f}", "lowest validation loss, nats per token"),
    ]
    if law is not None and law.holdout is not None:
        n = law.holdout.n
        tiles.append(
            (f"{law.holdout.mean_abs_rel_error:.2%}", f"mean error on {n} held-out point{'s' * (n != 1)}")
        )
    if law is not None and law.unidentified:
        tiles.append((", ".join(law.unidentified), "unidentified: these runs do not determine it"))
    if law is not None and law.optimum is not None:
        row = next((b for b in law.optimum.budgets if b.flops >= points.flops.max()), law.optimum.budgets[-1])
        tiles.append(
            (f"{row.tokens_per_param:.3g}", f"tokens per parameter at {scientific(row.flops)} FLOPs")
        )
    cells = "".join(f"<div><b>{html.escape(a)}</b><span>{html.escape(b)}</span></div>" for a, b in tiles)
    return f'<section class="tiles">{cells}</section>'


def runs_section(records: Sequence[RunRecord], params: str) -> str:
    """Every run with its budgets, speed and cost."""
    head = [
        "run",
        "N",
        "tokens",
        "FLOPs",
        "loss",
        "bits per byte",
        "device s",
        "tokens/s",
        "device",
        "status",
    ]
    rows = []
    seconds = compute = 0.0
    for run in records:
        n = getattr(run.params, params)
        speed = "\N{EN DASH}" if run.tokens_per_second is None else f"{run.tokens_per_second:,.0f}"
        kind, count = run.device.get("kind"), run.device.get("count")
        device = (
            "\N{EN DASH}"
            if kind is None
            else f"{kind}"
            if count in (None, 1)
            else f"{kind} \N{MULTIPLICATION SIGN} {count}"
        )
        cost = _device_seconds(run)
        seconds += cost or 0.0
        status = run.status if run.error is None else f"{run.status}: {run.error}"
        done = sorted(run.points, key=lambda p: p.tokens)
        compute += _trained_flops(run)
        for i, point in enumerate(done):
            rows.append(
                [
                    text_cell(run.name if i == 0 else ""),
                    number_cell(short(n) if i == 0 else ""),
                    number_cell(short(point.tokens)),
                    number_cell(scientific(point.flops)),
                    number_cell(f"{point.loss:.4f}"),
                    number_cell(maybe(point.bits_per_byte, ".4f")),
                    number_cell(maybe(cost, ",.1f") if i == 0 else ""),
                    number_cell(speed if i == 0 else ""),
                    text_cell(device if i == 0 else ""),
                    text_cell(status if i == 0 else ""),
                ]
            )
        if not done:
            blank = [
                number_cell(maybe(v, f))
                for v, f in ((run.validation_loss, ".4f"), (run.bits_per_byte, ".4f"))
            ]
            start = [
                text_cell(run.name),
                number_cell(short(n)),
                number_cell(short(run.tokens)),
                number_cell(scientific(run.flops)),
            ]
            rows.append(
                [
                    *start,
                    *blank,
                    number_cell(maybe(cost, ",.1f")),
                    number_cell(speed),
                    text_cell(device),
                    text_cell(status),
                ]
            )
    total = [
        text_cell("all runs"),
        *[number_cell("")] * 2,
        number_cell(scientific(compute) if compute else "\N{EN DASH}"),
    ]
    total += [*[number_cell("")] * 2, number_cell(f"{seconds:,.1f}"), *[number_cell("")] * 3]
    return (
        f"<section><h2>Every run, and what it cost</h2>{html_table(head, rows, total)}"
        '<p class="note">One line a finished token budget. FLOPs are counted matmul by matmul with causal '
        "attention; device seconds are wall-clock seconds times devices, of the whole run; the total "
        "counts a trunk shared by several cooldown branches once.</p></section>"
    )


def _device_seconds(run: RunRecord) -> float | None:
    total = run.seconds.get("total")
    count = run.device.get("count")
    return None if total is None else total * (count if isinstance(count, int | float) else 1)


def _trained_flops(run: RunRecord) -> float:
    return max([run.flops, *(p.flops for p in run.points)])


def points_section(points: Points) -> str:
    """Every point, where there are no records."""
    head = ["run", "N", "tokens", "FLOPs", "loss"]
    rows = [
        [
            text_cell(points.labels[i]),
            number_cell(short(points.params[i])),
            number_cell(short(points.tokens[i])),
            number_cell(scientific(points.flops[i])),
            number_cell(f"{points.loss[i]:.4f}"),
        ]
        for i in range(len(points))
    ]
    return f"<section><h2>Every point</h2>{html_table(head, rows)}</section>"


def conventions_section(points: Points, law: LawFit | None, records: Sequence[RunRecord]) -> str:
    """What N, C and loss count, and the versions."""
    rows = [
        ("parameters N", points.counting["params"]),
        ("compute C of law and figures", points.counting["flops"]),
        ("loss", "validation, nats per token"),
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
    return f"<section><h2>What is counted, and how</h2>{table}</section>"
