"""Tables and paragraphs for the terminal: what the commands print for a person, within its columns."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from textwrap import wrap

from rich.cells import cell_len

from scaling.config.record import RunRecord
from scaling.sweep.directory import LedgerEntry
from scaling.sweep.planned_run import PlannedRun

_GAP = "  "
_NARROWEST = 40  # columns of a terminal that are respected


def seconds_in_words(seconds: float) -> str:
    """90 as 1.5 min."""
    for unit, name in ((365.25 * 86400.0, "years"), (86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * unit:
            value = seconds / unit
            return f"{float(f'{value:.3g}'):,.0f} {name}" if value >= 99.95 else f"{value:.1f} {name}"
    return f"{seconds:.0f} s"


def count_in_words(count: float) -> str:
    """174,604,259,328 as 175B: exact below 10,000, else three digits."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= max(9_999.5, 0.9995 * unit):
            value = count / unit
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            text = f"{value:,.{digits}f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) + letter
    return f"{count:,.0f}"


def terminal_width() -> int | None:
    """Columns of the terminal on stdout, or of $COLUMNS; None where neither is known: then nothing wraps."""
    if not (os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty()):
        return None
    return max(_NARROWEST, shutil.get_terminal_size().columns)


@dataclass(frozen=True)
class Table:
    """Rows of cells. The first `left` columns are words, and so is the last one with `words_last`; others are
    numbers, aligned on the right. The first `keys` columns tell rows apart."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    keys: int = 1
    words_last: bool = False

    def lines(self, width: int | None = None) -> list[str]:
        """The table within `width` columns; None is as wide as it needs to be.

        What is too wide has its headers and words wrapped at spaces; what still is has its columns in blocks
        below one another, each with the keys. Columns without any value are left out.
        """
        title = [] if not self.title else [self.title] if width is None else wrapped(self.title, width)
        shown = [i for i in range(len(self.columns)) if i < self.keys or self._has_values(i)]
        for texts in (False, True):
            widths = self._widths(shown, width if texts else None, heads=texts)
            if width is None or self._total(widths) <= width:
                return title + self._block(shown, widths)
        assert width is not None
        keys, others = shown[: self.keys], shown[self.keys :]
        widest = max(self._widths([i], width, heads=True)[0] for i in others)
        if self._total(self._widths(keys, None, heads=True)) + len(_GAP) + widest > width:
            return title + self._below_keys(keys, others, width)
        lines: list[str] = []
        for columns in self._split(keys, others, width):
            block = self._block(columns, self._widths(columns, width, heads=True))
            lines += [*([""] if lines else []), *block]
        return title + lines

    def _has_values(self, column: int) -> bool:
        return any(row[column] not in ("", "-") for row in self.rows)

    def _is_words(self, column: int) -> bool:
        return column < self.left or (self.words_last and column == len(self.columns) - 1)

    def _widths(self, columns: Sequence[int], limit: int | None, heads: bool) -> list[int]:
        """Widths of columns side by side; headers (`heads`) and words give way to the limit at spaces."""
        widths = []
        for i in columns:
            head = _longest_word(self.columns[i]) if heads else cell_len(self.columns[i])
            widths.append(max([head, *(cell_len(row[i]) for row in self.rows)]))
        if limit is None:
            return widths
        least = [
            max(map(_longest_word, (self.columns[i], *(row[i] for row in self.rows))))
            if self._is_words(i)
            else widths[at]
            for at, i in enumerate(columns)
        ]
        while self._total(widths) > limit:
            at = max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))
            if widths[at] == least[at]:
                break
            widths[at] -= 1
        return widths

    @staticmethod
    def _total(widths: Sequence[int]) -> int:
        return sum(widths) + len(_GAP) * (len(widths) - 1)

    def _split(self, keys: list[int], others: list[int], width: int) -> list[list[int]]:
        """Columns in as few blocks as fit, each beginning with the keys."""
        blocks = [list(keys)]
        for i in others:
            trial = [*blocks[-1], i]
            if len(trial) > len(keys) + 1 and self._total(self._widths(trial, width, heads=True)) > width:
                trial = [*keys, i]
                blocks.append(trial)
            blocks[-1] = trial
        return blocks

    def _block(self, columns: Sequence[int], widths: Sequence[int]) -> list[str]:
        rows = [[self.columns[i] for i in columns], *([row[i] for i in columns] for row in self.rows)]
        return [line for row in rows for line in self._line(columns, widths, row)]

    def _line(self, columns: Sequence[int], widths: Sequence[int], cells: Sequence[str]) -> list[str]:
        """The lines of one row, more than one where a cell wraps."""
        parts = [wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
        lines = []
        for pieces in zip_longest(*parts, fillvalue=""):
            padded = [
                piece + " " * (width - cell_len(piece))
                if self._is_words(i)
                else " " * (width - cell_len(piece)) + piece
                for i, width, piece in zip(columns, widths, pieces, strict=True)
            ]
            lines.append(_GAP.join(padded).rstrip())
        return lines

    def _below_keys(self, keys: Sequence[int], others: list[int], width: int) -> list[str]:
        """Each row as a line of its keys and its other cells indented below them."""
        blocks = self._split([], others, width - len(_GAP))
        widths = [self._widths(block, width - len(_GAP), heads=True) for block in blocks]
        lines = []
        for row in (self.columns, *self.rows):
            lines += wrapped(_GAP.join(row[i] for i in keys), width)
            for block, one in zip(blocks, widths, strict=True):
                lines += [_GAP + line for line in self._line(block, one, [row[i] for i in block])]
        return lines


def wrapped(text: str, width: int) -> list[str]:
    """Lines of a text of at most `width` columns where its words allow; words are never broken."""
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int = 1,
    *,
    keys: int = 1,
    words_last: bool = False,
) -> Table:
    """A plain table; the first `left` columns are words, the others numbers."""
    return Table(title, tuple(columns), tuple(map(tuple, rows)), left, keys, words_last)


def show(grid: Table) -> None:
    """Print a table to stdout within the columns of the terminal; elsewhere as wide as it is."""
    print("\n".join(grid.lines(terminal_width())))


def show_text(text: str, indent: str = "  ") -> None:
    """Print lines, wrapped at words on a terminal; `indent` begins the lines that follow by wrapping."""
    width = terminal_width()
    for line in text.split("\n"):
        parts = (
            []
            if width is None
            else wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        )
        print("\n".join(parts) or line)


def forecast_table(title: str, forecasts: Sequence[PlannedRun], total_seconds: float | None = None) -> Table:
    """The plan of a sweep: a row per run, and a row for the sum, which takes `total_seconds`."""
    rows = [
        (
            f.name,
            "-" if f.params is None else count_in_words(f.params),
            count_in_words(f.batch_tokens),
            f"{f.learning_rate:.2g}",
            count_in_words(f.steps),
            _budgets(f.budgets),
            f"{f.flops:.2e}",
            seconds_in_words(f.seconds),
        )
        for f in forecasts
    ]
    if len(forecasts) > 1:
        seconds = sum(f.seconds for f in forecasts) if total_seconds is None else total_seconds
        rows.append(
            (
                f"{len(forecasts)} runs",
                "",
                "",
                "",
                count_in_words(sum(f.steps for f in forecasts)),
                f"{sum(len(f.budgets) for f in forecasts)} budgets",
                f"{sum(f.flops for f in forecasts):.2e}",
                seconds_in_words(seconds),
            )
        )
    columns = ("run", "params", "batch tokens", "rate", "steps", "token budgets", "FLOPs", "time")
    return table(title, columns, rows)


def _budgets(tokens: Sequence[int]) -> str:
    words = [count_in_words(one) for one in tokens]
    return ", ".join(words) if len(words) < 3 else f"{words[0]} to {words[-1]}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def ledger_table(title: str, entries: Sequence[LedgerEntry]) -> Table:
    """A row per run: how far it is, what it reached, what it took."""
    rows = []
    for entry in entries:
        r = entry.record
        rows.append(
            (
                entry.name,
                entry.status,
                "-" if r is None else f"{r.tokens / max(1, r.budget_tokens):.0%}",
                "-" if r is None or r.params.total is None else count_in_words(r.params.total),
                "-" if r is None else count_in_words(r.tokens),
                _number(r.flops if r else None, ".2e"),
                _number(r.validation_loss if r else None, ".4f"),
                _number(r.bits_per_byte if r else None, ".4f"),
                "-" if r is None else seconds_in_words(r.seconds.get("total", 0.0)),
                "-" if r is None else str(len(r.points)),
                _number(r.tokens_per_second if r else None, ",.0f"),
                _number(r.mfu if r else None, ".1%"),
                _number(r.goodput.share if r and r.goodput else None, ".0%"),
                entry.note or _rewinds(r),
            )
        )
    words = "run status done params tokens FLOPs loss bits/byte time points tok/s MFU goodput note"
    return table(title, words.split(" "), rows, left=2, words_last=True)


def _rewinds(record: RunRecord | None) -> str:
    count = 0 if record is None else len(record.rewinds)
    return "" if count == 0 else f"{count} rewind{'s' if count > 1 else ''}"


def goodput_text(entries: Sequence[LedgerEntry]) -> str | None:
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
