"""Progress of a run for the user: a bar on a terminal, occasional lines elsewhere, or nothing."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Status:
    """The state of a run at one of its steps; `loss` in nats per token."""

    step: int
    loss: float
    tokens_per_second: float | None
    mfu: float | None

    def __str__(self) -> str:
        rate = f"{self.tokens_per_second:,.0f} tok/s" if self.tokens_per_second else "compiling"
        mfu = f" {self.mfu:5.1%} MFU" if self.mfu else ""
        return f"loss {self.loss:.4f}  {rate}{mfu}"

    def short(self) -> str:
        """The state in at most 29 columns."""
        rate = self.tokens_per_second
        if not rate:
            return f"loss {self.loss:.3f} compiling"
        unit, letter = next((one for one in _UNITS if rate >= one[0]), (1.0, ""))
        mfu = f" {self.mfu:.0%} MFU" if self.mfu else ""
        return f"loss {self.loss:.3f} {rate / unit:.3g}{letter} tok/s{mfu}"


def _ending(text: str, width: int) -> str:
    """The end of a text: names of runs often begin the same way."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _bar_width(console: Console) -> int:
    """Columns of a bar, so that a line of progress fits a terminal of 80."""
    return max(4, min(24, console.width - 76))


class Reporter(AbstractContextManager["Reporter"], Protocol):
    """Receives the progress of a run while it trains."""

    def start(self, name: str, total: int, done: int) -> None:
        """A run of `total` units of work begins, `done` of them complete."""

    def advance(self, units: int, status: Status) -> None:
        """`units` more are done."""

    def message(self, text: str) -> None:
        """A message to the user."""

    def finish(self) -> None:
        """The run that started has ended."""

    def another(self) -> "Reporter":
        """A reporter for a run that trains at the same time, shown in the same place."""
        return self


class Silent(Reporter):
    """Reports nothing: for tests and benchmarks."""

    def start(self, name: str, total: int, done: int) -> None: ...  # noqa: D102
    def advance(self, units: int, status: Status) -> None: ...  # noqa: D102
    def message(self, text: str) -> None: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102
    def __exit__(self, *_: object) -> None: ...


def every_tenth(reporter: Reporter, what: str, quiet_below: int = 100_000_000) -> Callable[[int, int], None]:
    """A `progress(done, total)` callable that reports each tenth of a long job through `reporter`."""
    said = 0

    def report(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(1, total)
        if total >= quiet_below and tenth > said:
            said = tenth
            reporter.message(f"{what}: {10 * tenth}%")

    return report


class Terminal(Reporter):
    """A bar on stderr where it is a terminal; otherwise a line at most every `interval` seconds."""

    def __init__(self, console: Console | None = None, interval: float = 10.0) -> None:
        self.console = console or Console(stderr=True)
        self.interval = interval
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._done, self._said = "", 0, 0, 0.0

    def __enter__(self) -> "Terminal":
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", style="bold"),
                BarColumn(_bar_width(self.console)),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, name: str, total: int, done: int) -> None:
        """Begin a bar."""
        self._name, self._total, self._done, self._said = name, total, done, time.monotonic()
        if self._bar is not None:
            shown = _ending(name, max(12, self.console.width - _bar_width(self.console) - 58))
            self._task = self._bar.add_task(shown, total=total, completed=done, status="compiling")

    def advance(self, units: int, status: Status) -> None:
        """Move the bar on."""
        self._done += units
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=units, status=status.short())
        elif time.monotonic() - self._said > self.interval:
            self._said = time.monotonic()
            self.console.print(f"{self._name}  step {self._done:,}/{self._total:,}  {status}", soft_wrap=True)

    def message(self, text: str) -> None:
        """Print above the bar."""
        self.console.print(text, soft_wrap=not self.console.is_terminal, markup=False)

    def finish(self) -> None:
        """Remove the bar of the run that ended."""
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def another(self) -> "Terminal":
        """A bar below this one."""
        terminal = Terminal(self.console, self.interval)
        terminal._bar = self._bar
        return terminal


class Counter(AbstractContextManager["Counter"]):
    """Counts items of a known total: a bar on a terminal, elsewhere a line every `interval` seconds."""

    def __init__(self, total: int, console: Console | None = None, interval: float = 10.0) -> None:
        self.console = console or Console(stderr=True)
        self.total, self.done, self.interval = total, 0, interval
        self._name, self._said = "", time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", style="bold"),
            BarColumn(_bar_width(self.console)),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[what]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, what="")

    def __enter__(self) -> "Counter":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _text_width(self) -> int:
        """Columns of each of the two texts next to the bar."""
        return max(12, (self.console.width - _bar_width(self.console) - 28) // 2)

    def name(self, text: str) -> None:
        """Name the group of the next items."""
        self._name = text
        self._bar.update(self._task, description=_ending(text, self._text_width()))

    def advance(self, what: str) -> None:
        """The next item, `what`, begins."""
        self.done += 1
        self._bar.update(self._task, completed=self.done - 1, what=what[: self._text_width()])
        if not self.console.is_terminal and time.monotonic() - self._said > self.interval:
            self._said = time.monotonic()
            self.console.print(f"{self._name}  {self.done:,}/{self.total:,}  {what}", soft_wrap=True)

    def reach(self, done: int) -> None:
        """Set the number of items done."""
        self.done = done
        self._bar.update(self._task, completed=done)

    def message(self, text: str) -> None:
        """Print above the bar."""
        self.console.print(text, soft_wrap=not self.console.is_terminal, markup=False)
