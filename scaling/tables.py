"""Tables for the terminal: what the commands print for a person."""

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from scaling.config.record import RunRecord
from scaling.sweep.forecast import Forecast
from scaling.sweep.ledger import Entry


def seconds_in_words(seconds: float) -> str:
    """90 as 1.5 min."""
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * unit:
            value = seconds / unit
            return f"{value:,.0f} {name}" if value >= 99.95 else f"{value:.1f} {name}"
    return f"{seconds:.0f} s"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    """A plain table; the first `left` columns are words, the others numbers."""
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    return grid


def show(grid: Table) -> None:
    """Print a table to stdout at its natural width: a narrow terminal wraps it, and nothing is cut off."""
    text = io.StringIO()
    Console(file=text, width=400).print(grid, markup=False)
    print("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def forecast_table(title: str, forecasts: Sequence[Forecast]) -> Table:
    """The plan of a sweep, a row a run and a row for the sum."""
    rows = [
        (
            f.name,
            _number(f.params, ",d"),
            f"{f.batch_tokens:,}",
            f"{f.learning_rate:.2e}",
            f"{f.steps:,}",
            ", ".join(f"{budget:,}" for budget in f.budgets),
            f"{f.flops:.2e}",
            seconds_in_words(f.seconds),
        )
        for f in forecasts
    ]
    total = (
        f"{len(forecasts)} runs",
        "",
        "",
        "",
        f"{sum(f.steps for f in forecasts):,}",
        f"{sum(len(f.budgets) for f in forecasts)} budgets",
        f"{sum(f.flops for f in forecasts):.2e}",
        seconds_in_words(sum(f.seconds for f in forecasts)),
    )
    columns = (
        "run",
        "parameters",
        "batch tokens",
        "learning rate",
        "steps",
        "token budgets",
        "FLOPs",
        "time",
    )
    return table(title, columns, [*rows, total])


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def ledger_table(title: str, entries: Sequence[Entry]) -> Table:
    """A row a run: how far it is, what it reached, what it took."""
    rows = []
    for entry in entries:
        r = entry.record
        rows.append(
            (
                entry.name,
                entry.status,
                _number(r.params.total if r else None, ",d"),
                "-" if r is None else f"{r.tokens / max(1, r.budget_tokens):.0%}",
                _number(r.tokens if r else None, ",d"),
                _number(r.flops if r else None, ".2e"),
                _number(r.validation_loss if r else None, ".4f"),
                _number(r.bits_per_byte if r else None, ".4f"),
                "-" if r is None else str(len(r.points)),
                _number(r.tokens_per_second if r else None, ",.0f"),
                _number(r.mfu if r else None, ".1%"),
                _number(r.goodput.share if r and r.goodput else None, ".0%"),
                "-" if r is None else seconds_in_words(r.seconds.get("total", 0.0)),
                (entry.note or _rewinds(r))[:60],
            )
        )
    words = "run status parameters done tokens FLOPs loss bits/byte points tok/s MFU goodput time note"
    return table(title, words.split(" "), rows, left=2)


def _rewinds(record: RunRecord | None) -> str:
    count = 0 if record is None else len(record.rewinds)
    return "" if count == 0 else f"{count} rewind{'s' if count > 1 else ''}"


def goodput_text(entries: Sequence[Entry]) -> str | None:
    """Where the wall time of all runs went, in one line; None where none has any."""
    found = [entry.record.goodput for entry in entries if entry.record and entry.record.goodput]
    wall = sum(one.wall for one in found)
    if wall <= 0:
        return None
    names = {
        "compile": "compiling",
        "data_wait": "waiting for data",
        "evaluation": "evaluation",
        "checkpoint": "checkpoints",
        "restart": "starts",
        "lost": "steps done again",
        "other": "other",
    }
    parts = [(name, sum(getattr(one, field) for one in found) / wall) for field, name in names.items()]
    rest = ", ".join(f"{name} {part:.1%}" for name, part in parts if part >= 0.0005)
    share = sum(one.productive for one in found) / wall
    return f"Goodput {share:.1%} of {seconds_in_words(wall)} wall time" + (f"; {rest}" if rest else "")
