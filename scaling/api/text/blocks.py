"""What results show: tables, sections and paragraphs, as text within a width and as HTML."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from math import floor, log10
from textwrap import wrap
from typing import Protocol

from rich.cells import cell_len

_GAP = "  "
_NARROWEST = 40  # columns of a terminal that are respected
PAGE = 80  # columns of a section


class Block(Protocol):
    """A part of what a result shows."""

    def lines(self, width: int | None = None) -> list[str]:
        """Lines of text of at most `width` columns where words allow; None is as wide as needed."""

    def html(self) -> str:
        """The same as an HTML element."""


def text_of(blocks: Sequence[Block], width: int | None = None) -> str:
    """Blocks below one another, within `width` columns."""
    return "\n".join(line for block in blocks for line in block.lines(width))


def html_of(blocks: Sequence[Block]) -> str:
    """Blocks as one HTML element, for a notebook."""
    return "<div>" + "\n".join(block.html() for block in blocks) + "</div>"


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


def decimals(ends: Sequence[float] | None, value: float) -> int:
    """Decimals that leave the width of an interval two digits; of a value without one, four digits."""
    width = abs(value) / 100 if ends is None else ends[1] - ends[0]
    return 4 if width <= 0 else min(8, max(0, 1 - floor(log10(width))))


def significant(value: float) -> str:
    """Three significant digits, without an exponent; two decimals below 10."""
    if value < 10:
        return f"{value:,.2f}"
    unit = 10 ** (floor(log10(value)) - 2)
    return f"{round(value / unit) * unit:,.10g}"


def terminal_width() -> int | None:
    """Columns of the terminal on stdout, or of $COLUMNS; None where neither is known: then nothing wraps."""
    if not (os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty()):
        return None
    return max(_NARROWEST, shutil.get_terminal_size().columns)


@dataclass(frozen=True)
class Text:
    """Paragraphs, one per line of `text`. Continuation lines start with `indent`."""

    text: str
    indent: str = "  "

    def lines(self, width: int | None = None) -> list[str]:
        """Lines wrapped at words; without a width each paragraph is one line."""
        if width is None:
            return self.text.split("\n")
        lines = []
        for line in self.text.split("\n"):
            options = {"break_long_words": False, "break_on_hyphens": False}
            lines += wrap(line, width, subsequent_indent=self.indent, **options) or [line]  # type: ignore[arg-type]
        return lines

    def html(self) -> str:
        """A paragraph."""
        return f"<p style='margin:.3em 0;white-space:pre-wrap'>{escape(self.text.strip(chr(10)))}</p>"


@dataclass(frozen=True)
class Section:
    """A title and its rows of a name and a value, below an empty line, in the columns of a page."""

    title: str
    rows: Sequence[tuple[str, str]]

    def lines(self, width: int | None = None) -> list[str]:
        """The section; values wrap below themselves."""
        columns = PAGE if width is None else min(width, PAGE)
        names = max(len(name) for name, _ in self.rows)
        lines = ["", *wrap(self.title, columns, subsequent_indent="  ", break_long_words=False)]
        for name, value in self.rows:
            first = f"  {name:{names}}  "
            lines += wrap(
                value,
                columns,
                initial_indent=first,
                subsequent_indent=" " * len(first),
                break_long_words=False,
                break_on_hyphens=False,
                drop_whitespace=len(value) + len(first) > columns,
            ) or [first]
        return lines

    def html(self) -> str:
        """A table of two columns."""
        return _html_table(self.title, (), [(name, value.strip()) for name, value in self.rows], (True, True))


@dataclass(frozen=True)
class Bullets:
    """A title and items on lines of their own, below an empty line, in the columns of a page."""

    title: str
    items: Sequence[str]

    def lines(self, width: int | None = None) -> list[str]:
        """The title and the items; their words wrap below themselves."""
        columns = PAGE if width is None else min(width, PAGE)
        indents = {"initial_indent": "  ", "subsequent_indent": "    "}
        items = [wrap(item, columns, break_on_hyphens=False, **indents) for item in self.items]  # type: ignore[arg-type]
        return ["", *wrapped(self.title, columns), *(line for item in items for line in item)]

    def html(self) -> str:
        """A list."""
        items = "".join(f"<li>{escape(item)}</li>" for item in self.items)
        return f"<p>{escape(self.title)}</p><ul>{items}</ul>"


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

    def html(self) -> str:
        """The table without its empty columns."""
        shown = [i for i in range(len(self.columns)) if i < self.keys or self._has_values(i)]
        return _html_table(
            self.title,
            [self.columns[i] for i in shown],
            [[row[i] for i in shown] for row in self.rows],
            [self._is_words(i) for i in shown],
        )

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


def _html_table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[bool]
) -> str:
    """A plain table; columns of words are aligned on the left, columns of numbers on the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(
                f"<{tag} style='text-align:{'left' if left else 'right'}'>{escape(cell)}</{tag}>"
                for cell, left in zip(cells, words, strict=True)
            )
            + "</tr>"
        )

    caption = f"<caption style='text-align:left;font-weight:bold'>{escape(title)}</caption>" if title else ""
    head = f"<thead>{line(heads, 'th')}</thead>" if heads else ""
    return f"<table>{caption}{head}<tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"
